"""What the flows share: runners, the lock of the store, crashed runs, artifacts."""
