"""What may be done to a review, without a page or a route: changes, readings, differentials."""
