"""Masks of a folder of images by a model, without servers and without a store of one's own."""
