"""Arrays in, arrays out: reading, masks, letterbox, automatic masks, pictures, the synthetic domains."""
