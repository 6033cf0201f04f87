"""Descriptions of hardware, models, drafts and engines, and the catalog of named ones."""
