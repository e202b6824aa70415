"""Networks by name, their weights, the one preprocessing, model folders and the predictor."""
