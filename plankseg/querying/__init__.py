"""Which images teach most: views, uncertainty, scoring, selectors, manifest."""
