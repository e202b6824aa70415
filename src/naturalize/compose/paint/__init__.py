"""From a recipe to pixels: pure functions, no randomness."""
