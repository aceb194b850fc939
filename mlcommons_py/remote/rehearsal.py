"""A rehearsal of a connector's calls: what all of them would fail at, found when the connector is made or changed.

What only a request can decide is left to it: each of the connector's parameters may come with a request, too.
"""

import json
import re
from collections.abc import Iterable, Mapping

from mlcommons_py.errors import IllegalArgument
from mlcommons_py.remote import charsets, headers, paths, processors, template
from mlcommons_py.remote.documents import Action, Connector
from mlcommons_py.remote.filling import Filling
from mlcommons_py.remote.functions import Functions
from mlcommons_py.remote.parameters import Parameters
from mlcommons_py.remote.template import Hole, Template

_SHOWN = 30
"""Characters of a body that are shown on each side of the place where it is no JSON."""

_BEGINS_WRONG = re.compile(r'\s*[^\s$\[{"0-9tfn-]')


def rehearse(connector: Connector, functions: Functions) -> None:
    """Refuse a connector with an action of which no call could succeed.

    Of its credential only the names are looked at.

    Raises:
        IllegalArgument: a ``request_body`` is no JSON whatever it is filled with; ``${credential.x}`` stands where none
            may be, or there is no such credential; parameters name each other in a circle; a function is not known; or
            a parameter is no JSONPath, no list of processors or no character set. The text names the field.
    """
    own, credential = connector.parameters or {}, connector.credential or {}
    for number, action in enumerate(connector.each_action):
        field = f"actions[{number}]"
        try:
            _check_headers(action, own, credential)
            _check_body(action, own, field)
            for text, find in (
                (action.pre_process_function, functions.pre),
                (action.post_process_function, functions.post),
            ):
                name = _known(text, own)
                if name is not None:
                    find(name)
        except RecursionError as fault:
            raise IllegalArgument(f"the templates of [{field}] nest too deep") from fault
    _check_parameters(own)


def _check_headers(action: Action, own: Mapping[str, str], credential: Mapping[str, str]) -> None:
    for name, value in (action.headers or {}).items():
        for piece in template.of_text(value or ""):
            if not isinstance(piece, Hole):
                continue
            if piece.kind == "parameters":
                _follow([piece], own, f"header '{name}'")
            elif piece.name not in credential:
                raise headers.lacking_credential(name, piece.name)


def _check_body(action: Action, own: Mapping[str, str], field: str) -> None:
    source = action.request_body
    if source is None:
        return
    where = f"[{field}.request_body]"
    read = template.of_json(source)
    _follow([one for one in read.pieces if isinstance(one, Hole)], own, where)
    is_text = not read.is_json and charsets.writing(headers.content_type(action.headers)) is not None
    # What takes the place of a piece may make JSON of the whole, but for its beginning.
    if is_text or read.is_sound or (read.has_pieces and not _BEGINS_WRONG.match(source)):
        return
    raise IllegalArgument(f"{where} is no JSON, whatever its placeholders are filled with: {_fault(read)}")


def _fault(read: Template) -> str:
    """Return what keeps a template from being JSON, and where."""
    if not read.pieces:
        return "it is empty; leave it out"
    skeleton = template.skeleton(read.pieces)
    try:
        json.loads(skeleton)
    except json.JSONDecodeError as fault:
        before, after = skeleton[max(0, fault.pos - _SHOWN) : fault.pos], skeleton[fault.pos : fault.pos + _SHOWN]
        return f"{fault.msg} between [{before}] and [{after}], with null for each value"
    return "it has a number or a word that JSON does not have"


def _known(function: str | None, own: Mapping[str, str]) -> str | None:
    """Return the name of a function as far as the connector itself says it; None where it is the request that does."""
    if function is None or not function.strip():
        return None
    if "${parameters." not in function:
        return function
    filling = Filling(Parameters(own=own))
    name = filling.text(function)
    return None if filling.missing or not name.strip() else name


def _check_parameters(own: Mapping[str, str]) -> None:
    try:
        if own.get("response_filter", "").strip():
            name = "response_filter"
            paths.of(own[name])
        for name in ("input_processors", "output_processors"):
            processors.chain(own.get(name))
    except IllegalArgument as fault:
        raise IllegalArgument(f"[parameters.{name}]: {fault.reason}") from fault
    charset = own.get("charset", "")
    if charset.strip():
        charsets.encoded(b"", charset)


def _follow(
    holes: Iterable[Hole],
    own: Mapping[str, str],
    where: str,
    within: tuple[str, ...] = (),
    done: set[str] | None = None,
) -> None:
    """Refuse what can be reached from placeholders, by way of the connector's own parameters, and never be filled.

    A parameter that names itself is one that each request has to bring.
    """
    done = set() if done is None else done
    for hole in holes:
        if hole.kind == "credential":
            raise IllegalArgument(f"{hole.source} can be used in headers only, not in {where}")
        if hole.name in within[:-1]:
            circle = " -> ".join([*within[within.index(hole.name) :], hole.name])
            raise IllegalArgument(f"the connector's parameters name each other in a circle: {circle}")
        text = own.get(hole.name, hole.default or "")
        if "${" not in text or hole.name in within or (hole.name in own and hole.name in done):
            continue
        inner = [one for one in template.of_text(text) if isinstance(one, Hole)]
        if hole.name in own:
            _follow(inner, own, f"[parameters.{hole.name}]", (*within, hole.name), done)
            done.add(hole.name)
        else:
            _follow(inner, own, where, within, done)
