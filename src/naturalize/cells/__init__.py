"""Cells out of images: segmenters, masks, stain, and the bank of cells that may be composed."""
