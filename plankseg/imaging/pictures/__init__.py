"""Pictures for people: outlines over images, curves, animations."""
