"""The printed code of a traced module: Python's syntax, straight-line, each name assigned once. It is never run."""

import ast
import re
from collections.abc import Set

from mlcommons_py.artifacts.torchscript.pickle import Malformed


def operations(source: str) -> set[str]:
    """Return the names of the ``torch`` functions that a module's code calls.

    >>> sorted(operations("y = torch.mul(torch.relu(x), 2)"))
    ['mul', 'relu']
    """
    return set(re.findall(r"\btorch\.(\w+)\(", source))


def joined(source: str) -> int:
    """Return how many tensors the longest list that a module joins to one has.

    >>> joined("y = torch.cat([torch.to(a, 6), b], 1)")
    2

    Raises:
        Malformed: the code does not parse.
    """
    lists = [
        call.args[0] for call in ast.walk(_parse(source)) if isinstance(call, ast.Call) and _operation(call) == "cat"
    ]
    return max((len(one.elts) for one in lists if isinstance(one, ast.List)), default=0)


def meddling(source: str) -> set[str]:
    """Return the operations that a module applies to what its parts return; looking at its size does not count.

    A module that only passes on what its parts return has none, whatever it computes to call them.

    >>> meddling("y = (part).forward(torch.neg(x), ); z = torch.ones(torch.size(y, 0)); w = (other).forward(y, z)")
    set()
    >>> meddling("y = (part).forward(x, ); _0, _1, = y; z = torch.slice(_1, 0, 0, 64)")
    {'slice'}

    Raises:
        Malformed: the code does not parse.
    """
    returned: set[str] = set()
    found: set[str] = set()
    for node in ast.walk(_parse(source)):
        if not isinstance(node, ast.Assign | ast.Return) or node.value is None:
            continue
        for call in ast.walk(node.value):
            name = _operation(call)
            if name not in (None, "size") and any(_is_returned(part, returned) for part in ast.iter_child_nodes(call)):
                found.add(str(name))
        if isinstance(node, ast.Assign) and _is_returned(node.value, returned):
            returned.update(
                name.id for target in node.targets for name in ast.walk(target) if isinstance(name, ast.Name)
            )
    return found


def _parse(source: str) -> ast.Module:
    try:
        return ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as fault:
        raise Malformed(f"its code does not parse: {fault}") from fault


def _operation(node: ast.AST) -> str | None:
    """Return ``x`` for a call of ``torch.x``."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and isinstance(node.func.value, ast.Name):
        return node.func.attr if node.func.value.id == "torch" else None
    return None


def _is_returned(node: ast.AST, returned: Set[str]) -> bool:
    """Return whether an expression is made of what a part returned."""
    if isinstance(node, ast.Name):
        return node.id in returned
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "forward":
        return True
    return _operation(node) != "size" and any(_is_returned(part, returned) for part in ast.iter_child_nodes(node))
