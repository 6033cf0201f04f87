"""Planning: deployments, draft lengths per batch, and drafts to train."""
