"""Training of round models, candidates of a comparison, and the final model."""
