"""Registration of images in the catalogue, with given or automatic masks."""
