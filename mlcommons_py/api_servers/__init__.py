"""Further processes that serve HTTP beside the one that keeps the state."""
