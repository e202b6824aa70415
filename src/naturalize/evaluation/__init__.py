"""Scores with intervals, paired comparisons, calibration and mistakes, from real images."""
