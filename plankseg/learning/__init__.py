"""Networks, augmentation, sampling, training and metrics. Opens no file: images come through `load(image_id)`."""
