"""How the weights of the `unet` segmenter were made; each step is a command of its own."""
