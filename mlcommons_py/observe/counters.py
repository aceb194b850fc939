"""How often what was asked for, and how often it failed: the numbers of the stats API."""

from collections import Counter

from mlcommons_py.observe.elsewhere import Elsewhere
from mlcommons_py.observe.numbers import COUNTS


class Counters:
    """Requests and failures by algorithm and action, and by model and action."""

    def __init__(self, elsewhere: Elsewhere | None = None) -> None:
        """Count from zero; ``elsewhere`` has what other processes of the service count."""
        self._elsewhere = elsewhere
        self.requests: Counter[tuple[str, str]] = Counter()
        self.failures: Counter[tuple[str, str]] = Counter()
        self.model_requests: Counter[tuple[str, str]] = Counter()
        self.model_failures: Counter[tuple[str, str]] = Counter()
        self.executing = 0

    def begin(self, algorithm: str, action: str, model_id: str | None = None) -> None:
        """Count a request that begins; names are lower-cased, as the API shows them."""
        self.executing += 1
        self.requests[algorithm.lower(), action] += 1
        if model_id is not None:
            self.model_requests[model_id, action] += 1

    def end(self, algorithm: str, action: str, model_id: str | None = None, *, failed: bool) -> None:
        """Count a request that ended."""
        self.executing -= 1
        if failed:
            self.failures[algorithm.lower(), action] += 1
            if model_id is not None:
                self.model_failures[model_id, action] += 1

    def counted(self, algorithm: str, action: str, model_id: str | None = None) -> "Counted":
        """Count a request that is carried out in this block, as failed if the block raises."""
        return Counted(self, algorithm, action, model_id)

    def counts(self) -> dict[str, dict[tuple[str, str], int]]:
        """Return what this process counted, by :data:`~mlcommons_py.observe.numbers.COUNTS`."""
        return {name: dict(getattr(self, name)) for name in COUNTS}

    def total(self) -> "Counters":
        """Return what all processes of the service counted."""
        if self._elsewhere is None:
            return self
        others, whole = self._elsewhere.total(), Counters()
        whole.executing = self.executing + others.executing
        for name in COUNTS:
            getattr(whole, name).update(getattr(self, name))
            getattr(whole, name).update(others.counts[name])
        return whole

    def by_algorithm(self) -> dict[str, dict[str, dict[str, int]]]:
        """Return the counts by algorithm and action."""
        return _tree(self.requests, self.failures)

    def by_model(self) -> dict[str, dict[str, dict[str, int]]]:
        """Return the counts by model and action."""
        return _tree(self.model_requests, self.model_failures)


class Counted:
    """A block that carries out a request; a class, for a generator would cost each request twice as much."""

    __slots__ = ("_counters", "_request")

    def __init__(self, counters: Counters, algorithm: str, action: str, model_id: str | None) -> None:
        self._counters = counters
        self._request = (algorithm, action, model_id)

    def __enter__(self) -> None:
        self._counters.begin(*self._request)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._counters.end(*self._request, failed=kind is not None)


def _tree(
    requests: Counter[tuple[str, str]], failures: Counter[tuple[str, str]]
) -> dict[str, dict[str, dict[str, int]]]:
    tree: dict[str, dict[str, dict[str, int]]] = {}
    for (name, action), count in requests.items():
        counts = {"ml_action_request_count": count}
        if failed := failures[name, action]:
            counts["ml_action_failure_count"] = failed
        tree.setdefault(name, {})[action] = counts
    return tree
