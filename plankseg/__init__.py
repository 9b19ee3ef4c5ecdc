"""plankseg turns an hour of mask correction into a segmentation model for plankton images."""

__version__ = "0.1.0"
