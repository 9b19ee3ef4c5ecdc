"""Segmentation of the whole archive in shards, and export of masks and measures."""
