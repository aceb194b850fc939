"""Guardrails: what refuses texts on their way into a model and out of it."""
