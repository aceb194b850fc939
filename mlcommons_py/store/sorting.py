"""In what order hits come."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mlcommons_py.errors import IllegalArgument, ParsingFailed
from mlcommons_py.store.fields import Candidate, comparable, refuse_text

Place = tuple[int, Any]
"""Where a document stands by one key: those with a value among themselves, those without before or after them all."""

_MISSING = 2


@dataclass(frozen=True, slots=True)
class Key:
    """One key of a sort.

    Attributes:
        downwards: the greatest comes first.
        missing: ``_last``, ``_first``, or the value that stands in for a missing one.
    """

    field: str
    downwards: bool = False
    missing: Any = "_last"

    def place(self, score: float, one: Candidate) -> Place:
        """Return where a document stands; of several values the one that comes first counts."""
        if self.field == "_score":
            return 1, (0, score)
        if self.field == "_doc":
            return 1, (0, one.seq_no)
        values = list(map(_by_size, one.values(self.field)))
        return self.place_of((max if self.downwards else min)(values) if values else None)

    def place_of(self, value: tuple[int, Any] | None) -> Place:
        """Return where a comparable value stands; None is a missing one."""
        if value is not None:
            return 1, value
        if self.missing not in ("_last", "_first"):
            return 1, _by_size(self.missing)
        return (_MISSING if (self.missing == "_last") != self.downwards else 0), ()


class Order:
    """How hits are sorted: by several keys, and by the order of their writing where all are equal."""

    def __init__(self, keys: Sequence[Key]) -> None:
        self.keys = keys

    @property
    def by_score(self) -> bool:
        """Whether scores matter to it."""
        return any(key.field == "_score" for key in self.keys)

    def places(self, score: float, one: Candidate) -> list[Place]:
        """Return where a document stands by each key."""
        return [key.place(score, one) for key in self.keys]

    def comes_after(self, places: Sequence[Place], other: Sequence[Place]) -> bool:
        """Return whether a document stands behind certain places."""
        for key, one, another in zip(self.keys, places, other, strict=True):
            if one != another:
                return (one > another) != key.downwards
        return False

    def after(self, given: object, start: int) -> list[Place] | None:
        """Return the places that ``search_after`` names.

        Raises:
            IllegalArgument: it does not fit the sort, or ``from`` is used with it.
        """
        if given is None:
            return None
        if start:
            raise IllegalArgument("`from` parameter must be set to 0 when `search_after` is used.")
        if not isinstance(given, list | tuple) or len(given) != len(self.keys):
            raise IllegalArgument(f"search_after must be an array of {len(self.keys)} value(s), one a key of [sort]")
        if any(isinstance(value, list | tuple | Mapping) for value in given):
            raise IllegalArgument("search_after takes strings, numbers, truth values and null")
        return [
            key.place_of(None if value is None else _by_size(value))
            for key, value in zip(self.keys, given, strict=True)
        ]


def _by_size(value: Any) -> tuple[int, Any]:
    """Return a value in a form to sort by; truth values are 0 and 1, and a hit shows them so."""
    return comparable(int(value) if isinstance(value, bool) else value)


def shown(place: Place) -> Any:
    """Return what a hit's ``sort`` says of a place."""
    return place[1][1] if place[0] == 1 else None


def read_sort(given: object) -> list[Key]:
    """Return the keys that ``sort`` stands for.

    Raises:
        ParsingFailed: it is of the wrong form.
        IllegalArgument: a field is a text.
    """
    listed = given if isinstance(given, list | tuple) else [] if given is None else [given]
    pairs = [pair for one in listed for pair in (one.items() if isinstance(one, Mapping) else [(one, {})])]
    return [_key(field, options) for field, options in pairs]


def _key(field: object, options: object) -> Key:
    if not isinstance(field, str):
        raise ParsingFailed(f"[sort] takes field names, not [{field}]")
    refuse_text(field, "sort")
    if not isinstance(options, str | Mapping):
        raise ParsingFailed(f"[sort] on [{field}] must be an order or an object")
    rest = {"order": options} if isinstance(options, str) else dict(options)
    order = rest.pop("order", "desc" if field == "_score" else "asc")
    missing = rest.pop("missing", "_last")
    rest.pop("unmapped_type", None)  # here no field needs a mapping to be sorted by
    for name in rest:
        raise ParsingFailed(f"[sort] on [{field}] does not support [{name}]")
    if not isinstance(order, str) or order.lower() not in ("asc", "desc"):
        raise ParsingFailed(f"[sort] on [{field}] must have an [order] of asc or desc, not [{order}]")
    if not isinstance(missing, str | int | float):
        raise ParsingFailed(f"[sort] on [{field}] must have a [missing] of _last, _first or a value")
    return Key(field, downwards=order.lower() == "desc", missing=missing)
