"""Network architecture, encoder weights, preprocessing, number format and the forward pass."""
