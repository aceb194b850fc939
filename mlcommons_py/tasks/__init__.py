"""Work in the background, each with an owner and a final state."""
