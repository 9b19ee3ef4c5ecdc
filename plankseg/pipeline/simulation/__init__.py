"""Simulation of rounds on images whose masks are known: does asking for chosen images pay, and which way is best?"""
