"""Fitting a model to one laboratory, from its images alone or with a few labelled cells."""
