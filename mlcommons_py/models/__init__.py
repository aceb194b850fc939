"""Groups, models and their chunks, as documents with states."""
