"""Content-addressed objects: masks, weights, bundles, and the bytes of images."""
