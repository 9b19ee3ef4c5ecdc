"""Measures of a body from its outline: hull, volume, surface, and the slim features of ifcb-features."""
