"""Masks in the formats of other programs, one module a format; what a format loses is stated there."""
