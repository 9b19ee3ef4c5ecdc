"""State of the active-learning loop, the next step, and the effort of each round."""
