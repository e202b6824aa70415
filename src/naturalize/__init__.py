"""naturalize: from a few, imbalanced images of cells to a classifier that can be trusted."""

__version__ = "0.1.0"
