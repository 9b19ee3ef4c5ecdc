"""Interactive segmentation: what a person's clicks and boxes make of a mask."""
