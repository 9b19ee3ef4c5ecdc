"""A Label Studio in memory, and a simulated annotator for the demo and the tests."""
