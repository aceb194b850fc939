"""How a model comes from registered to deployed, and stays there."""
