"""Acceptance of drafted tokens: profiles, laws over draft positions, trees, and speculative configurations."""
