"""Proposal of a round: scoring of the pool, choice of the images, replacement of skipped ones."""
