"""What an operator may choose when the service starts: flags, then ``MLCOMMONS_*`` variables, then a TOML file.

Nothing here reads the environment by itself: ``__main__`` passes it in, once.
"""

import difflib
import math
import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import orjson

from mlcommons_py.errors import IllegalArgument
from mlcommons_py.plugin_settings import PREFIX, SETTINGS, flatten, parse

STORE = "store.db"
"""The embedded store's file in the data directory."""

EMBEDDED = "embedded"
"""What ``store`` is without a cluster."""

DEFAULT_DATA = "~/.local/share/mlcommons-py"


def available_cpus() -> int:
    """Return how many CPUs this process may use."""
    return len(os.sched_getaffinity(0))


@dataclass(frozen=True, slots=True)
class Operator:
    """What the operator chose; it holds as long as the service runs."""

    host: str = "127.0.0.1"
    """Address to listen on."""

    port: int = 9201
    """Port to listen on; 0 takes a free one."""

    api_servers: int = 1
    """Processes that serve HTTP, the one that keeps the state among them; more of them for many calls of remote models,
    or much that goes through to the cluster."""

    tls_cert: Path | None = None
    """Certificate that the service shows its clients, in PEM; without one it speaks ``http``."""

    tls_key: Path | None = None
    """Its key, if that is not in the same file."""

    insecure: bool = False
    """Listen for other machines although there is no TLS, or nobody who knows who calls."""

    data: Path = Path(DEFAULT_DATA)
    """Directory of the embedded store, of converted models and of the node's id."""

    store: str = "embedded"
    """``embedded``, a SQLite file in the data directory, or addresses of an OpenSearch cluster, with commas between."""

    store_user: str = ""
    """The service's user in the cluster."""

    store_password: str = field(default="", repr=False)
    """Its password."""

    store_password_file: Path | None = None
    """File that the password is read from."""

    store_token: str = field(default="", repr=False)
    """Token that the service shows the cluster, as a bearer, in place of a user."""

    store_token_file: Path | None = None
    """File that the token is read from, again when the cluster refuses it."""

    store_ca: Path | None = None
    """File of the authorities, in PEM, that the cluster's certificate may be from; without one, those of the system."""

    store_client_cert: Path | None = None
    """Certificate that the service shows the cluster, in PEM."""

    store_client_key: Path | None = None
    """Its key, if that is not in the same file."""

    master_key: str = field(default="", repr=False)
    """Keys that credentials are encrypted with, in base64 with commas between, the first to encrypt; empty for the
    cluster's."""

    master_key_file: Path | None = None
    """File with further such keys, one a line."""

    private_endpoints: str = ""
    """Hosts and address ranges (CIDR), with commas between, that connectors may call although they are not public."""

    remote_ca: Path | None = None
    """File of authorities, in PEM, that certificates of providers may be from, beside those of the system."""

    publish_url: str = ""
    """URL at which other services on the same cluster reach this one; empty for that of ``host`` and ``port``."""

    store_insecure: bool = False
    """Believe any certificate of the cluster, and send credentials over ``http``."""

    model_root: Path | None = None
    """Directory from which ``file://`` URLs may be registered; without one they are refused."""

    log_level: str = "info"
    """``debug``, ``info``, ``warning`` or ``error``."""

    threads: int = field(default_factory=available_cpus)
    """Batches that a deployed model computes at once, one thread each."""

    batch_tokens: int = 512
    """Most tokens, padding included, that one batch holds; a longer text runs alone."""

    max_queued_texts: int = 4096
    """Texts that may wait for one model before more are refused with 429; also the most of one request."""

    max_body_bytes: int = 32 << 20
    """Longest JSON body, after decompression; longer ones are refused with 413."""

    max_text_chars: int = 1_000_000
    """Longest text to embed, in characters; longer ones are refused."""

    predict_timeout: float = 60.0
    """Seconds after which a predict gives up, waiting for a restarting worker included; a worker that computes one
    batch for longer is replaced."""

    conversion_memory_bytes: int = 8 << 30
    """Address space of the child that unpacks and converts a model."""

    conversion_seconds: int = 600
    """CPU time of that child."""

    heartbeat_seconds: float = 2.0
    """How often a service that shares its store tells the others that it lives, and looks what there is to do."""

    shutdown_seconds: float = 30.0
    """How long requests under way may go on after SIGTERM."""

    plugin: Mapping[str, Any] = field(default_factory=dict)
    """Values of ``plugins.ml_commons.*`` keys that hold until the settings API says otherwise."""


def read(
    flags: Mapping[str, Any], assignments: tuple[str, ...], environ: Mapping[str, str], file: Path | None
) -> Operator:
    """Put together what the operator chose; a flag wins over a variable, a variable over the file.

    ``assignments`` are ``KEY=VALUE`` pairs of ``plugins.ml_commons.*`` keys, the value as JSON or a plain string. A
    variable is named after the field (``MLCOMMONS_PORT``) or after the plugin's key
    (``MLCOMMONS_REMOTE_INFERENCE_ENABLED``); the file has the fields as top-level keys and the plugin's keys, in full,
    in a table ``[settings]``.

    Raises:
        IllegalArgument: a value or a name is wrong; the text names it.
    """
    chosen: dict[str, Any] = {"data": DEFAULT_DATA}
    plugin: dict[str, Any] = {}
    if file is not None:
        _read_file(file, chosen, plugin)
    _read_environment(environ, chosen, plugin)
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        if not equals:
            raise IllegalArgument(f"--set takes KEY=VALUE, not [{assignment}]")
        plugin[key.strip()] = parse(key.strip(), _value(text))
    chosen.update({key: value for key, value in flags.items() if value is not None})
    return Operator(**{key: _typed(key, value) for key, value in chosen.items()}, plugin=plugin)


_FIELDS = {one.name: one for one in fields(Operator) if one.name != "plugin"}
_OTHER_VARIABLES = {"MLCOMMONS_CONFIG", "MLCOMMONS_URL"}
_LEVELS = ("debug", "info", "warning", "error")
_SECRETS = ("store_password", "store_token", "master_key")
_PATHS = {name for name, one in _FIELDS.items() if "Path" in str(one.type)}
_HIGHEST: Mapping[str, int] = {"port": 65_535, "api_servers": 64, "threads": 1024}
_MAY_BE_ZERO = ("port", "shutdown_seconds")
_WHOLE = re.compile(r"[+-]?\d{1,18}", re.ASCII)


def _read_file(file: Path, chosen: dict[str, Any], plugin: dict[str, Any]) -> None:
    try:
        table = tomllib.loads(file.read_text())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as fault:
        raise IllegalArgument(f"cannot read the settings file {file}: {fault}") from fault
    settings = table.pop("settings", {})
    if not isinstance(settings, Mapping):
        raise IllegalArgument(f"{file}: [settings] must be a table of plugins.ml_commons.* keys")
    # In TOML an unquoted dotted key is a tree.
    for key, value in flatten(settings).items():
        plugin[key] = parse(key, value)
    for key, value in table.items():
        if key not in _FIELDS:
            raise IllegalArgument(f"{file}: unknown setting [{key}]; there are {sorted(_FIELDS)} and [settings]")
        chosen[key] = value


def _read_environment(environ: Mapping[str, str], chosen: dict[str, Any], plugin: dict[str, Any]) -> None:
    by_variable = {_variable(key.removeprefix(PREFIX)): key for key in SETTINGS}
    for name, text in environ.items():
        if not name.startswith("MLCOMMONS_") or name in _OTHER_VARIABLES:
            continue
        if name in by_variable:
            plugin[by_variable[name]] = parse(by_variable[name], _value(text))
        elif (key := name.removeprefix("MLCOMMONS_").lower()) in _FIELDS:
            chosen[key] = text
        else:
            known = [*by_variable, *map(_variable, _FIELDS), *_OTHER_VARIABLES]
            close = difflib.get_close_matches(name, known, n=1, cutoff=0.8)
            raise IllegalArgument(
                f"unknown environment variable [{name}]; " + (f"did you mean {close[0]}?" if close else "unset it")
            )


def _variable(name: str) -> str:
    return "MLCOMMONS_" + name.upper().replace(".", "_")


def _value(text: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return text


def _typed(key: str, value: Any) -> Any:
    """Return a value in the type of its field, which is the type of the field's default, and within its bounds."""
    if key in _PATHS:
        return Path(str(value)).expanduser()
    one = _FIELDS[key]
    kind = type(one.default) if one.default is not MISSING else int
    if kind is bool:
        return _flag(key, value)
    if kind is str:
        return _text(key, value)
    number = _number(key, value, whole=kind is int)
    zero = key in _MAY_BE_ZERO
    if number < 0 or (number == 0 and not zero):
        raise IllegalArgument(f"[{key}] must be {'at least' if zero else 'more than'} 0, not [{value}]")
    high = _HIGHEST.get(key, math.inf)
    if number > high:
        raise IllegalArgument(f"[{key}] must be at most {high}, not [{value}]")
    return number


def _text(key: str, value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise IllegalArgument(f"[{key}] must be a text" + ("" if key in _SECRETS else f", not [{value}]"))
    if key == "store":
        return value if value == EMBEDDED else ",".join(_address(one.strip()) for one in value.split(","))
    if key == "log_level" and value.lower() not in _LEVELS:
        raise IllegalArgument(f"[{key}] must be one of {', '.join(_LEVELS)}, not [{value}]")
    return value


def _address(text: str) -> str:
    """Return an address of the cluster in the form ``scheme://host:port``."""
    parts = urlsplit(text)
    try:
        port, host = parts.port, parts.hostname
    except ValueError as fault:
        raise IllegalArgument(f"[store] has an address with a wrong port: {fault}") from fault
    if "@" in parts.netloc:  # not shown: it may have a password in it
        raise IllegalArgument("[store] takes no user in an address; use store_user and store_password_file")
    if parts.scheme not in ("http", "https") or not host or parts.path.strip("/") or parts.query or parts.fragment:
        raise IllegalArgument(
            f"[store] must be {EMBEDDED}, or addresses like https://host:9200 with commas between, not [{text}]"
        )
    name = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{name}:{port or (443 if parts.scheme == 'https' else 80)}"


def _flag(key: str, value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if str(value).lower() not in ("true", "false"):
        raise IllegalArgument(f"[{key}] must be true or false, not [{value}]")
    return str(value).lower() == "true"


def _number(key: str, value: Any, *, whole: bool) -> int | float:
    wanted = "a whole number" if whole else "a number"
    allowed = int | str if whole else int | float | str
    text = str(value)
    if isinstance(value, bool) or not isinstance(value, allowed) or (whole and not _WHOLE.fullmatch(text)):
        raise IllegalArgument(f"[{key}] must be {wanted}, not [{value}]")
    try:
        number = int(text) if whole else float(text)
    except ValueError as fault:
        raise IllegalArgument(f"[{key}] must be {wanted}, not [{value}]") from fault
    if not math.isfinite(number):
        raise IllegalArgument(f"[{key}] must be {wanted}, not [{value}]")
    return number
