"""Projects of an EcoTaxa server by its HTTP API: a project as a folder, and measures back into it."""
