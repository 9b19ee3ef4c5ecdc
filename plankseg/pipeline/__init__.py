"""The steps of the loop on a label store; its sub-packages mirror the flows."""
