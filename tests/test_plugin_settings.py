"""The ``plugins.ml_commons.*`` keys and their values."""

import math
import re
from typing import Any

import pytest

from mlcommons_py.cluster_settings import nest, shown
from mlcommons_py.errors import IllegalArgument
from mlcommons_py.plugin_settings import PREFIX, SETTINGS, PluginSettings, flatten, parse, size_in_bytes

MODELS = PREFIX + "max_model_on_node"
LOCAL = PREFIX + "local_model.enabled"
RATIO = PREFIX + "model_auto_redeploy_success_ratio"
ENDPOINTS = PREFIX + "trusted_connector_endpoints_regex"
DISK = PREFIX + "disk_free_space_threshold"
URLS = PREFIX + "trusted_url_regex"
RETRIES = PREFIX + "model_auto_redeploy.lifetime_retry_times"


@pytest.mark.parametrize("key", sorted(SETTINGS))
def test_default_is_allowed(key: str) -> None:
    """Each default is a value that its own setting takes, as itself and as it is shown."""
    default = SETTINGS[key].default

    assert parse(key, default) == default
    assert parse(key, shown(default)) == default


def test_no_key_begins_another() -> None:
    """No key is the beginning of another: each has its own leaf in the tree."""
    assert not [(one, other) for one in SETTINGS for other in SETTINGS if other.startswith(one + ".")]
    flat: dict[str, Any] = dict.fromkeys(SETTINGS, 1)
    assert flatten(nest(flat)) == flat


def test_only_at_start() -> None:
    """Exactly these keys cannot be changed while the service runs."""
    assert {key.removeprefix(PREFIX) for key, setting in SETTINGS.items() if not setting.dynamic} == {
        "connector.restricted_ip_patterns",
        "multi_tenancy_enabled",
        "master_key_cache_ttl_minutes",
        "remote_metadata_type",
        "remote_metadata_endpoint",
        "remote_metadata_region",
        "remote_metadata_service_name",
        "metrics_collection_enabled",
    }


@pytest.mark.parametrize(
    ("key", "given", "value"),
    [
        (MODELS, "3", 3),
        (MODELS, 0, 0),
        (MODELS, 10_000, 10_000),
        (RETRIES, "-1", -1),
        (LOCAL, "false", False),
        (LOCAL, True, True),
        (RATIO, "0.25", 0.25),
        (RATIO, 1, 1.0),
        (ENDPOINTS, "^https://a$", ["^https://a$"]),
        (ENDPOINTS, [], []),
        (DISK, "500MB", "500MB"),
        (DISK, -1, "-1"),
        (DISK, "-1", "-1"),
        (URLS, "^https://.*", "^https://.*"),
    ],
)
def test_parse(key: str, given: Any, value: Any) -> None:
    """Numbers and truth values may come as strings; one string may stand for a list."""
    assert parse(key, given) == value


@pytest.mark.parametrize(
    ("key", "given", "said"),
    [
        (MODELS, "many", f"Failed to parse value [many] for setting [{MODELS}]: a whole number is expected"),
        (MODELS, -1, f"Failed to parse value [-1] for setting [{MODELS}] must be >= 0"),
        (MODELS, 10_001, f"Failed to parse value [10001] for setting [{MODELS}] must be <= 10000"),
        (RETRIES, 1 << 31, f"Failed to parse value [2147483648] for setting [{RETRIES}] must be <= 2147483647"),
        (RATIO, 1.01, f"Failed to parse value [1.01] for setting [{RATIO}] must be <= 1"),
        (RATIO, "nan", f"Failed to parse value [nan] for setting [{RATIO}]: a number is expected"),
        (LOCAL, "yes", f"Failed to parse value [yes] as only [true] or [false] are allowed. The setting is {LOCAL}."),
        (LOCAL, 1, f"Failed to parse value [1] as only [true] or [false] are allowed. The setting is {LOCAL}."),
        (URLS, 5, f"Failed to parse value [5] for setting [{URLS}]: a string is expected"),
        (URLS, "(", f"[{URLS}] is not a regular expression: missing ), unterminated subpattern at position 0"),
        (ENDPOINTS, [1], f"Failed to parse value [[1]] for setting [{ENDPOINTS}]: a list of strings is expected"),
        (
            ENDPOINTS,
            ["(a+)+b"],
            "Regex pattern contains nested quantifiers or backreferences that may cause ReDoS: (a+)+b",
        ),
        (ENDPOINTS, ["x" * 257], "Regex pattern too long (max 256 chars): " + "x" * 257),
        (DISK, "5 cats", f"Failed to parse value [5 cats] for setting [{DISK}]: a size such as 5gb is expected"),
        (DISK, 5, f"Failed to parse value [5] for setting [{DISK}]: a size such as 5gb is expected"),
        (
            PREFIX + "task_dispatch_policy",
            "best",
            f"[{PREFIX}task_dispatch_policy] must be round_robin or least_load, not [best]",
        ),
        ("max_model_on_node", 1, "setting [max_model_on_node], not recognized"),
    ],
)
def test_refused(key: str, given: Any, said: str) -> None:
    """A wrong value is refused in a text that names the setting and says what it takes."""
    with pytest.raises(IllegalArgument) as caught:
        parse(key, given)

    assert caught.value.reason == said


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("^https://(?!evil).*$", "look-around is not supported"),
        ("^https://a++.*$", "possessive and atomic groups are not supported"),
        ("^https://[a-z&&[^b]].*$", "a class within a class, and &&, are Java's and not RE2's"),
        ("^https://(.*$", r"missing \): .*; the syntax is that of RE2"),
    ],
)
def test_a_pattern_that_runs_otherwise_or_not_at_all_is_refused(pattern: str, said: str) -> None:
    """Patterns of endpoints run on RE2; what it has not, or takes for something else, is refused when it is set."""
    with pytest.raises(IllegalArgument, match=said):
        parse(ENDPOINTS, [pattern])


@pytest.mark.parametrize("given", [True, 1.5, None, [], {}, "1_0", "٣", "1.0", "0x1", "", "9" * 5000])
def test_no_whole_number(given: Any) -> None:
    """Nothing but a whole number, or its plain digits, is one."""
    with pytest.raises(IllegalArgument, match="a whole number is expected"):
        parse(MODELS, given)


@pytest.mark.parametrize(
    ("text", "size"), [("0b", 0), ("5gb", 5 << 30), ("500MB", 500 << 20), ("1kb", 1024), ("-1", -1)]
)
def test_size(text: str, size: int) -> None:
    """Sizes are read in powers of 1024, in any case."""
    assert size_in_bytes(text) == size


@pytest.mark.parametrize("text", ["", "5", "gb", "-5gb", "1.5gb", "5 gb"])
def test_no_size(text: str) -> None:
    """A size has a unit."""
    with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
        size_in_bytes(text)


def test_given_twice() -> None:
    """A key that comes dotted and as a tree is refused."""
    with pytest.raises(IllegalArgument, match=r"setting \[a\.b\] is given twice"):
        flatten({"a.b": 1, "a": {"b": 2}})


def test_which_value_holds() -> None:
    """Transient goes over persistent, over what was given at start, over the default."""
    settings = PluginSettings({MODELS: 4})
    assert settings["max_model_on_node"] == 4
    assert settings["max_ml_task_per_node"] == 10

    settings.persistent = {MODELS: 5}
    assert settings["max_model_on_node"] == 5
    settings.transient = {MODELS: 6}
    assert settings["max_model_on_node"] == 6


def test_defaults() -> None:
    """What was given at start shows as a default; keys that a scope sets do not show."""
    settings = PluginSettings({MODELS: 4})
    assert settings.defaults()[MODELS] == 4

    settings.transient = {MODELS: 6}
    assert set(settings.defaults()) == set(SETTINGS) - {MODELS}


def test_unknown_name() -> None:
    """A name that is no setting is a mistake of the program."""
    with pytest.raises(KeyError):
        PluginSettings()["no_such_setting"]


def test_bounds_are_ordered() -> None:
    """Each setting's bounds leave room for a value."""
    assert all(setting.low < setting.high and not math.isnan(setting.low) for setting in SETTINGS.values())
