"""Wildcards and Lucene's regular expressions, run by RE2 in time that grows with the text alone."""

from collections.abc import Callable

import re2

from mlcommons_py.errors import ParsingFailed

_MEMORY = 1 << 20


def compile_pattern(query: str, expression: str, *, folded: bool) -> Callable[[str], bool]:
    """Return the function that says whether a whole text is what an expression of RE2 describes.

    Raises:
        ParsingFailed: the expression is malformed, or too large.
    """
    options = re2.Options()
    options.case_sensitive = not folded
    options.log_errors = False
    options.dot_nl = True
    options.max_mem = _MEMORY
    try:
        compiled = re2.compile(expression, options=options)
    except re2.error as fault:
        raise ParsingFailed(f"[{query}] cannot use the pattern [{expression[:200]}]: {fault}") from fault
    return lambda text: compiled.fullmatch(text) is not None


def prefix_expression(prefix: str) -> str:
    """Return the regular expression of texts that begin so."""
    return f"{re2.escape(prefix)}.*"


def wildcard_expression(pattern: str) -> str:
    r"""Return the regular expression of a wildcard pattern.

    >>> wildcard_expression("a*b?\\*")
    'a.*b.\\*'
    """
    made, escaped = [], False
    for character in pattern:
        if escaped or character not in "*?\\":
            made.append(re2.escape(character))
            escaped = False
        elif character == "\\":
            escaped = True
        else:
            made.append(".*" if character == "*" else ".")
    return "".join(made) + ("\\\\" if escaped else "")


def lucene_expression(pattern: str) -> str:
    r"""Return the expression of RE2 that stands for one of Lucene's, which are always anchored.

    ``^`` and ``$`` are plain characters there, ``@`` is any text, and ``"..."`` is taken literally.

    >>> lucene_expression('a$@"b.c"')
    'a\\$.*b\\.c'

    Raises:
        ParsingFailed: it uses an operator that RE2 has none for: complement, intersection, a range of numbers, the
            empty language.
    """
    made, at = [], 0
    while at < len(pattern):
        character = pattern[at]
        if character in "~&<#":
            raise ParsingFailed(f"[regexp] query does not support the operator [{character}]; escape it to mean itself")
        if character == "(" and pattern[at + 1 : at + 2] == "?":
            raise ParsingFailed("[regexp] query does not support groups that begin with [(?]")
        if character == "\\":
            piece, at = _escaped(pattern, at)
        elif character == "[":
            piece, at = _class(pattern, at)
        elif character == '"':
            end = pattern.find('"', at + 1)
            if end < 0:
                raise ParsingFailed(f"[regexp] has no closing quote in the pattern [{pattern[:200]}]")
            piece, at = re2.escape(pattern[at + 1 : end]), end + 1
        else:
            piece, at = {"^": "\\^", "$": "\\$", "@": ".*"}.get(character, character), at + 1
        made.append(piece)
    return "".join(made)


def _escaped(pattern: str, at: int) -> tuple[str, int]:
    escaped = pattern[at + 1 : at + 2]
    if not escaped:
        raise ParsingFailed(f"[regexp] ends with a backslash in the pattern [{pattern[:200]}]")
    return (f"\\{escaped}" if escaped in "dDwWsS" else re2.escape(escaped)), at + 2


def _class(pattern: str, at: int) -> tuple[str, int]:
    made, at = ["["], at + 1
    if pattern[at : at + 1] == "^":
        made.append("^")
        at += 1
    while at < len(pattern) and pattern[at] != "]":
        if pattern[at] == "\\":
            piece, at = _escaped(pattern, at)
        else:
            # RE2 would read [[:alpha:]] as a class of its own.
            piece, at = ("\\[" if pattern[at] == "[" else pattern[at]), at + 1
        made.append(piece)
    if at >= len(pattern):
        raise ParsingFailed(f"[regexp] has no closing bracket in the pattern [{pattern[:200]}]")
    return "".join(made) + "]", at + 1
