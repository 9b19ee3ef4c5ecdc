"""The label store: append-only Delta tables and content-addressed objects under one root."""
