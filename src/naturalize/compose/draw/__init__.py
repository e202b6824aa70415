"""Drawing recipes: all the randomness of composites is spent here."""
