"""The table of routes as a whole."""

import re

from mlcommons_py.rest.routes import TABLE


def test_no_route_twice() -> None:
    """No method of a path has two rows."""
    rows = [(method, re.sub(r"\{\w+\}", "{}", route.path)) for route in TABLE for method in route.methods.split(",")]

    assert len(rows) == len(set(rows))


def test_handlers_name_their_routes() -> None:
    """The docstring of a handler begins with its method, and ends as its paths do."""
    for route in TABLE:
        text = route.handler.__doc__ or ""
        assert text.startswith(route.methods.replace(",", ", ")), route
