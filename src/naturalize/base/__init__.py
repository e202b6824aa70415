"""What every other room stands on: images, artifacts, the engine, randomness, errors, console."""
