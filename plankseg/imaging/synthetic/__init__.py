"""Synthetic vignettes with exact masks: generator, taxa, rasterization, clutter, and the two domains of the demo."""
