"""Audit of a harvest: a person judges a random sample of its masks, and intervals state how good all of them are."""
