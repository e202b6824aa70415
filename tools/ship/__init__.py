"""Put a trained model into the package, with a card whose figures come from its evaluations."""
