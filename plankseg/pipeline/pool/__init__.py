"""Subsets of the catalogue: candidates, near duplicates, the validation split, style references."""
