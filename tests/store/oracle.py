"""What documents are made of in property tests, and a naive reading of queries over them."""

from typing import Any

from hypothesis import strategies as st

Json = dict[str, Any]

names = st.sampled_from(["a", "b", "c.d", "e"])
scalars = st.one_of(
    st.sampled_from(["x", "y", "xy", "X", "1", "true", ""]),
    st.integers(-2, 3),
    st.booleans(),
    st.sampled_from([0.5, 1.0]),
)
values = st.recursive(
    st.one_of(scalars, st.none()),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.sampled_from("cd"), inner, max_size=2)),
    max_leaves=4,
)
sources = st.dictionaries(st.sampled_from("abcde"), values, max_size=4)
doc_ids = st.sampled_from(["1", "2", "3", "-_"])
contents = st.one_of(st.none(), st.binary(max_size=40))


def leaves(source: Any, path: str, *, below: bool = False) -> list[Any]:
    """Return every scalar of a document whose dotted path is the one asked for, or begins with it."""
    found: list[Any] = []

    def walk(value: Any, at: str) -> None:
        if isinstance(value, dict):
            for key, inner in value.items():
                walk(inner, f"{at}.{key}" if at else key)
        elif isinstance(value, list):
            for inner in value:
                walk(inner, at)
        elif value is not None and (at == path or (below and at.startswith(f"{path}."))):
            found.append(value)

    walk(source, "")
    return found


def text(value: Any) -> str:
    """Return a value as a keyword."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def number(value: Any) -> float | None:
    """Return a value as a number, if it is or spells one."""
    if isinstance(value, bool):
        return None
    try:
        return float(value)
    except ValueError:
        return None


def is_number(value: Any) -> bool:
    """Return whether a stored value is a number."""
    return type(value) in (int, float)


def equal(stored: Any, asked: Any) -> bool:
    """Return whether a stored value is the one asked for."""
    return stored == number(asked) if is_number(stored) else text(stored) == text(asked)


def glob(pattern: str, value: str) -> bool:
    """Return whether a text fits a pattern of ``*``, ``?`` and plain characters, by trying everything."""
    if not pattern:
        return not value
    if pattern[0] == "*":
        return any(glob(pattern[1:], value[at:]) for at in range(len(value) + 1))
    return bool(value) and pattern[0] in ("?", value[0]) and glob(pattern[1:], value[1:])


def within(stored: Any, bounds: Json) -> bool:
    """Return whether a value lies in a range."""
    return all(
        {
            "gt": lambda one, bound: one > bound,
            "gte": lambda one, bound: one >= bound,
            "lt": lambda one, bound: one < bound,
            "lte": lambda one, bound: one <= bound,
        }[name](*((stored, number(bound)) if is_number(stored) else (text(stored), text(bound))))
        for name, bound in bounds.items()
    )


def oracle(query: Json, source: Json, doc_id: str) -> bool:
    """Return whether a document fits a query, read as the reference describes it."""
    ((name, body),) = query.items()
    if name == "match_all":
        return True
    if name == "ids":
        return doc_id in body["values"]
    if name == "exists":
        return bool(leaves(source, body["field"], below=True))
    if name == "bool":
        if not any(body[key] for key in ("must", "filter", "should", "must_not")):
            return True
        must = [oracle(one, source, doc_id) for one in body["must"] + body["filter"]]
        should = [oracle(one, source, doc_id) for one in body["should"]]
        needed = body.get("minimum_should_match", 0)
        if not should and not must:
            needed = 0
        if should and not must:
            needed = max(1, needed)
        return all(must) and sum(should) >= needed and not any(oracle(one, source, doc_id) for one in body["must_not"])
    ((field, asked),) = body.items()
    there = [doc_id] if field == "_id" else leaves(source, field)
    reads: dict[str, Any] = {
        "term": lambda stored: equal(stored, asked),
        "terms": lambda stored: any(equal(stored, one) for one in asked),
        "prefix": lambda stored: text(stored).startswith(asked),
        "wildcard": lambda stored: bool(asked) and glob(asked, text(stored)),
        "range": lambda stored: within(stored, asked),
    }
    return any(map(reads[name], there))
