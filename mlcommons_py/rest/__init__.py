"""The /_plugins/_ml door."""
