"""Simulation of rounds on images whose masks are known, to compare ways of choosing images without a person."""
