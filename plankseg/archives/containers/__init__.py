"""Readers of folders, tars, zips and buckets: the entries of each, one after the other, without unpacking."""
