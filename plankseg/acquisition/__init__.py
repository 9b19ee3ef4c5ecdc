"""Selection of the images of a round, and the manifest from which the choice can be replayed."""
