"""Fitting a network: settings, the data path, augmentation, imbalance, the loop, its speed."""
