"""Running models: the worker processes, the queue before them, and predict, the one way in."""
