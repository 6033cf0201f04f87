"""Specifications of hardware, models, drafts and engines, the catalog, and Hugging Face configs."""
