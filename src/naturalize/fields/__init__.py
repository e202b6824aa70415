"""Whole fields: every cell found, the white ones named, counts and a differential."""
