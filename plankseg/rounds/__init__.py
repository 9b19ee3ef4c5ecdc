"""Where each round stands, what is due next, and the steps themselves. Everything is derived from the tables."""
