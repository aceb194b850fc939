"""What an operator may choose, and how mistakes are told."""

from pathlib import Path
from typing import Any

import pytest

from mlcommons_py.errors import IllegalArgument
from mlcommons_py.plugin_settings import SETTINGS
from mlcommons_py.settings import Operator, read

MODELS = "plugins.ml_commons.max_model_on_node"
LOCAL = "plugins.ml_commons.local_model.enabled"


def test_nothing_chosen() -> None:
    """Without any choice the defaults hold, with the home filled in; variables of other programs do not matter."""
    operator = read({}, (), {"PATH": "/bin", "PORT": "1"}, None)

    assert operator == Operator(data=Path("~/.local/share/mlcommons-py").expanduser())
    assert operator.data.is_absolute()


def test_closed_by_default() -> None:
    """The service listens on the loopback address, and opens no directory for file: URLs."""
    assert (Operator().host, Operator().model_root, dict(Operator().plugin)) == ("127.0.0.1", None, {})


def test_which_choice_wins(tmp_path: Path) -> None:
    """A flag wins over a variable, a variable over the file; flags without a value are none."""
    file = tmp_path / "settings.toml"
    file.write_text('port = 1\nhost = "file"\nlog_level = "error"\n')

    operator = read({"port": 3, "data": None}, (), {"MLCOMMONS_PORT": "2", "MLCOMMONS_HOST": "variable"}, file)

    assert (operator.port, operator.host, operator.log_level) == (3, "variable", "error")
    assert operator.data == Operator().data.expanduser()


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ('[settings]\n"plugins.ml_commons.max_model_on_node" = 3', {MODELS: 3}),
        ("[settings]\nplugins.ml_commons.max_model_on_node = 3", {MODELS: 3}),
        (
            "[settings.plugins.ml_commons]\nmax_model_on_node = 3\nlocal_model.enabled = false",
            {MODELS: 3, LOCAL: False},
        ),
    ],
)
def test_plugin_keys_of_a_file(tmp_path: Path, table: str, expected: dict[str, Any]) -> None:
    """A file has the plugin's keys in a table, quoted or as TOML's own trees."""
    file = tmp_path / "settings.toml"
    file.write_text(table)

    assert read({}, (), {}, file).plugin == expected


def test_plugin_keys(tmp_path: Path) -> None:
    """--set wins over a variable, a variable over the file; values are JSON or plain strings."""
    file = tmp_path / "settings.toml"
    file.write_text('[settings]\n"plugins.ml_commons.max_model_on_node" = 3\n"plugins.ml_commons.max_json_size" = 5\n')
    variables = {"MLCOMMONS_MAX_MODEL_ON_NODE": "4", "MLCOMMONS_LOCAL_MODEL_ENABLED": "false"}
    endpoints = "plugins.ml_commons.trusted_connector_endpoints_regex"

    operator = read(
        {},
        (f"{MODELS}=5", f'{endpoints}=["^a$", "^b=c$"]', "plugins.ml_commons.exclude_nodes._name=x"),
        variables,
        file,
    )

    assert operator.plugin == {
        MODELS: 5,
        "plugins.ml_commons.max_json_size": 5,
        LOCAL: False,
        endpoints: ["^a$", "^b=c$"],
        "plugins.ml_commons.exclude_nodes._name": "x",
    }


def test_keys_that_hold_only_from_the_start() -> None:
    """A key that the settings API refuses can be given at start."""
    key = "plugins.ml_commons.multi_tenancy_enabled"

    assert not SETTINGS[key].dynamic
    assert read({}, (f"{key}=true",), {}, None).plugin == {key: True}


def test_every_key_has_its_variable() -> None:
    """No two settings share a variable, so each can be set from the environment."""
    names = ["MLCOMMONS_" + key.removeprefix("plugins.ml_commons.").upper().replace(".", "_") for key in SETTINGS]
    names += ["MLCOMMONS_" + name.upper() for name in Operator.__dataclass_fields__ if name != "plugin"]

    assert len(names) == len(set(names))
    for key, name in zip(SETTINGS, names, strict=False):
        default = SETTINGS[key].default
        if isinstance(default, str):
            assert read({}, (), {name: default}, None).plugin == {key: default}


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("port", "http", "[port] must be a whole number, not [http]"),
        ("port", "", "[port] must be a whole number, not []"),
        ("port", 1.5, "[port] must be a whole number, not [1.5]"),
        ("port", True, "[port] must be a whole number, not [True]"),
        ("port", "1_0", "[port] must be a whole number, not [1_0]"),
        ("port", 65_536, "[port] must be at most 65535, not [65536]"),
        ("port", -1, "[port] must be at least 0, not [-1]"),
        ("threads", 0, "[threads] must be more than 0, not [0]"),
        ("threads", "9" * 5000, "[threads] must be a whole number, not [" + "9" * 5000 + "]"),
        ("batch_tokens", "-5", "[batch_tokens] must be more than 0, not [-5]"),
        ("max_body_bytes", 0, "[max_body_bytes] must be more than 0, not [0]"),
        ("predict_timeout", 0, "[predict_timeout] must be more than 0, not [0]"),
        ("predict_timeout", "nan", "[predict_timeout] must be a number, not [nan]"),
        ("predict_timeout", "soon", "[predict_timeout] must be a number, not [soon]"),
        ("shutdown_seconds", -0.5, "[shutdown_seconds] must be at least 0, not [-0.5]"),
        ("log_level", "loud", "[log_level] must be one of debug, info, warning, error, not [loud]"),
        ("host", "", "[host] must be a text, not []"),
        ("host", 5, "[host] must be a text, not [5]"),
        (
            "store",
            "elsewhere",
            "[store] must be embedded, or addresses like https://host:9200 with commas between, not [elsewhere]",
        ),
    ],
)
def test_refused(key: str, value: Any, said: str) -> None:
    """A wrong value is refused in a text that names the setting and what it takes."""
    with pytest.raises(IllegalArgument) as caught:
        read({key: value}, (), {}, None)

    assert caught.value.reason == said


@pytest.mark.parametrize("value", [0, "0", 9201, "9201"])
def test_port(value: Any) -> None:
    """A port may come as a number or as its digits; 0 takes a free one."""
    assert read({"port": value}, (), {}, None).port == int(value)


def test_no_time_to_shut_down() -> None:
    """A shutdown may be told not to wait."""
    assert read({"shutdown_seconds": 0}, (), {}, None).shutdown_seconds == 0


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"MLCOMMONS_PROT": "1"}, "unknown environment variable [MLCOMMONS_PROT]; did you mean MLCOMMONS_PORT?"),
        ({"MLCOMMONS_QQQQQQQQQQ": "1"}, "unknown environment variable [MLCOMMONS_QQQQQQQQQQ]; unset it"),
        ({"MLCOMMONS_PORT": "x"}, "[port] must be a whole number, not [x]"),
        (
            {"MLCOMMONS_MAX_MODEL_ON_NODE": "x"},
            f"Failed to parse value [x] for setting [{MODELS}]: a whole number is expected",
        ),
    ],
)
def test_wrong_variable(variables: dict[str, str], said: str) -> None:
    """A variable that is misspelled or has a wrong value is told, never ignored."""
    with pytest.raises(IllegalArgument) as caught:
        read({}, (), variables, None)

    assert caught.value.reason == said


@pytest.mark.parametrize(
    ("assignment", "said"),
    [
        ("max_model_on_node", "--set takes KEY=VALUE, not [max_model_on_node]"),
        ("max_model_on_node=3", "setting [max_model_on_node], not recognized"),
        (f"{MODELS}=x", f"Failed to parse value [x] for setting [{MODELS}]: a whole number is expected"),
    ],
)
def test_wrong_assignment(assignment: str, said: str) -> None:
    """--set with a wrong form, key or value says which."""
    with pytest.raises(IllegalArgument) as caught:
        read({}, (assignment,), {}, None)

    assert caught.value.reason == said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"port = ", "cannot read the settings file"),
        (b"\xff", "cannot read the settings file"),
        (b"prot = 1", "unknown setting [prot]"),
        (b"settings = 1", "[settings] must be a table of plugins.ml_commons.* keys"),
        (b"[settings]\nx = 1", "setting [x], not recognized"),
        (b"port = 1.5", "[port] must be a whole number, not [1.5]"),
    ],
)
def test_wrong_file(tmp_path: Path, text: bytes, said: str) -> None:
    """A file that cannot be read, or says what cannot be, is refused with the place."""
    file = tmp_path / "settings.toml"
    file.write_bytes(text)

    with pytest.raises(IllegalArgument) as caught:
        read({}, (), {}, file)

    assert said in caught.value.reason


def test_missing_file(tmp_path: Path) -> None:
    """A file that is not there is named."""
    with pytest.raises(IllegalArgument, match=r"cannot read the settings file .*nowhere\.toml"):
        read({}, (), {}, tmp_path / "nowhere.toml")


@pytest.mark.parametrize(
    ("given", "read_as"),
    [
        ("embedded", "embedded"),
        ("http://127.0.0.1:9200", "http://127.0.0.1:9200"),
        ("https://a.example/", "https://a.example:443"),
        ("http://a", "http://a:80"),
        ("https://A:9200, https://[::1]:9201", "https://a:9200,https://[::1]:9201"),
    ],
)
def test_addresses_of_the_cluster(given: str, read_as: str) -> None:
    """The store is the embedded one, or one or several addresses, which are brought into one form."""
    assert read({"store": given}, (), {}, None).store == read_as


@pytest.mark.parametrize(
    "given",
    [
        "ftp://a:9200",
        "a:9200",
        "https://",
        "https://a:9200/path",
        "https://a:9200?x=1",
        "https://a:99999",
        "https://a:9200,",
        "embedded,http://a:9200",
    ],
)
def test_wrong_addresses_of_the_cluster(given: str) -> None:
    """What is no address is refused in a text that names the setting."""
    with pytest.raises(IllegalArgument, match=r"^\[store\] "):
        read({"store": given}, (), {}, None)


def test_no_password_in_an_address() -> None:
    """A user in an address is refused without being shown, for its password would be in lists of processes."""
    with pytest.raises(IllegalArgument, match="store_password_file") as caught:
        read({"store": "https://admin:secret@a:9200"}, (), {}, None)
    assert "secret" not in caught.value.reason


def test_secrets(tmp_path: Path) -> None:
    """Secrets come from variables or the file, are in no text of the settings, nor in what is said of a wrong one."""
    file = tmp_path / "settings.toml"
    file.write_text('store_token = "from-file"\n')
    operator = read({}, (), {"MLCOMMONS_STORE_PASSWORD": "from-variable"}, file)
    assert (operator.store_password, operator.store_token) == ("from-variable", "from-file")
    assert "from-" not in repr(operator)
    file.write_text("store_password = 12345\n")
    with pytest.raises(IllegalArgument) as caught:
        read({}, (), {}, file)
    assert caught.value.reason == "[store_password] must be a text"


@pytest.mark.parametrize(("given", "value"), [(True, True), ("true", True), ("FALSE", False)])
def test_truth_values(given: Any, value: bool) -> None:
    """A truth value may be spelled."""
    assert read({"store_insecure": given}, (), {}, None).store_insecure is value


def test_files_of_the_link() -> None:
    """Files are paths, with the home filled in."""
    operator = read({"store_ca": "~/ca.pem"}, (), {"MLCOMMONS_STORE_PASSWORD_FILE": "p"}, None)
    assert (operator.store_ca, operator.store_password_file) == (Path("~/ca.pem").expanduser(), Path("p"))
    with pytest.raises(IllegalArgument, match="store_insecure"):
        read({"store_insecure": "perhaps"}, (), {}, None)
