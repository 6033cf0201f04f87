"""Acceptance of drafted tokens: profiles, laws over positions, draft trees and speculative configurations."""
