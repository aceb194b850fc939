"""The name that models' modules know :mod:`mlcommons_py.fields` by."""

from mlcommons_py.fields import boolean, integer, mapping, text, texts

__all__ = ["boolean", "integer", "mapping", "text", "texts"]
