"""Connectors: models that live at a provider, and the calls to them."""
