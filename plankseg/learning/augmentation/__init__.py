"""Augmentation of training squares: compositions, grey-level transforms, contact sheet."""
