"""Comparison of predicted with measured rows."""
