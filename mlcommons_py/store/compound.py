"""What clauses that must, should or must not match make together."""

from collections.abc import Sequence
from dataclasses import dataclass

from mlcommons_py.store.fields import Candidate
from mlcommons_py.store.parameters import Match


@dataclass(frozen=True, slots=True)
class Clauses:
    """The clauses of a boolean query.

    Attributes:
        minimum: how many of ``should`` must match; None for the usual: one, if nothing else has to.
    """

    must: Sequence[Match] = ()
    filters: Sequence[Match] = ()
    should: Sequence[Match] = ()
    must_not: Sequence[Match] = ()
    minimum: int | None = None

    def match(self) -> Match:
        """Return the match of them all; scores of ``must`` and ``should`` add up."""
        if not (self.must or self.filters or self.should or self.must_not):
            return lambda _: 1.0
        least = self.minimum or 0
        if not (self.must or self.filters or self.should):  # OpenSearch forgets the minimum where all is negative
            least = 0
        if self.should and not (self.must or self.filters):
            least = max(1, least)

        def match(candidate: Candidate) -> float | None:
            if any(one(candidate) is None for one in self.filters):
                return None
            if any(one(candidate) is not None for one in self.must_not):
                return None
            score = 0.0
            for one in self.must:
                if (part := one(candidate)) is None:
                    return None
                score += part
            parts = [part for one in self.should if (part := one(candidate)) is not None]
            return score + sum(parts) if len(parts) >= least else None

        return match
