"""Inference on many images: backends, test-time augmentation, uncertainty, and the choice of the fastest backend."""
