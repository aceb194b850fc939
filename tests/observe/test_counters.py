"""The numbers of the stats API."""

from mlcommons_py.observe.counters import Counters


def test_counts() -> None:
    """Requests and failures are counted by algorithm and by model; what runs is counted until it ends."""
    counters = Counters()
    counters.begin("TEXT_EMBEDDING", "predict", "m")
    counters.begin("TEXT_EMBEDDING", "predict", "m")
    counters.begin("TEXT_EMBEDDING", "register")
    assert counters.executing == 3

    counters.end("TEXT_EMBEDDING", "predict", "m", failed=True)
    counters.end("TEXT_EMBEDDING", "predict", "m", failed=False)
    counters.end("TEXT_EMBEDDING", "register", failed=True)

    assert counters.executing == 0
    predicted = {"ml_action_request_count": 2, "ml_action_failure_count": 1}
    assert counters.by_algorithm() == {
        "text_embedding": {
            "predict": predicted,
            "register": {"ml_action_request_count": 1, "ml_action_failure_count": 1},
        }
    }
    assert counters.by_model() == {"m": {"predict": predicted}}


def test_no_failures() -> None:
    """Where nothing failed there is no count of failures, as upstream has it."""
    counters = Counters()
    counters.begin("TEXT_EMBEDDING", "predict", "m")

    assert counters.by_model() == {"m": {"predict": {"ml_action_request_count": 1}}}
