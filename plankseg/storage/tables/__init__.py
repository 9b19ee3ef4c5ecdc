"""One module for each Delta table of the store, and the indexes over the catalogue."""
