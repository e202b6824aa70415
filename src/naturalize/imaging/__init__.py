"""Pixels without meaning: stain, slide, shapes, run-lengths, JPEG; no cell has a name here."""
