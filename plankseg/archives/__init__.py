"""What users have: folders, tars and zips of images, with or without tables, read without unpacking."""
