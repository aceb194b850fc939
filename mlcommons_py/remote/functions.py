"""Finds the functions that connectors name: by their dotted names, or by a published Painless script.

Scripts are never run. Those published with ML Commons stand for functions of ``connectors/``; connectors with any other
are refused when they are made, and when an older one is called.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeVar

from mlcommons_py.errors import IllegalArgument
from mlcommons_py.remote.provider import BatchJobs, PostProcess, PreProcess, Provider, Streaming

DEFAULT = "connector.pre_process.default.embedding"
"""What texts go through where the connector names nothing."""

_DOTTED = re.compile(r"[\w.\-]+")
_TOKEN = re.compile(r"""("(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*')|//[^\n]*|/\*.*?\*/|\s+""", re.DOTALL)
_SHOWN = 120

F = TypeVar("F", PreProcess, PostProcess)


@dataclass(frozen=True, slots=True)
class Pre:
    """A pre-process function that was found.

    Attributes:
        is_script: whether the connector has a script in its place.
    """

    function: PreProcess
    is_script: bool = False

    @property
    def one_by_one(self) -> bool:
        """Whether each text is a request of its own unless the connector says how many are."""
        return self.is_script or self.function.one_by_one


@dataclass(frozen=True, slots=True)
class Post:
    """A post-process function that was found.

    Attributes:
        is_script: whether the connector has a script in its place, which sees the whole answer.
    """

    function: PostProcess
    is_script: bool = False


class Functions:
    """The functions of all providers."""

    def __init__(self, providers: Mapping[str, Provider]) -> None:
        self._pre = {one.name: one for provider in providers.values() for one in provider.pre_process}
        self._post = {one.name: one for provider in providers.values() for one in provider.post_process}
        self._pre_named = {name: Pre(one) for name, one in self._pre.items()}
        self._post_named = {name: Post(one) for name, one in self._post.items()}
        self._streaming = {one.name: one for provider in providers.values() for one in provider.streaming}
        self._jobs = [one.batch_jobs for one in providers.values() if one.batch_jobs is not None]
        self._bodies = {model: make for one in providers.values() for model, make in one.bodies.items()}
        self._scripts = {
            _essence(script): name for provider in providers.values() for script, name in provider.painless.items()
        }

    def pre(self, text: str) -> Pre:
        """Return the pre-process function that a connector names.

        Raises:
            IllegalArgument: there is none of the name, or it is a script that is not known.
        """
        if (named := self._pre_named.get(text)) is not None:
            return named
        function, is_script = self._find(text, self._pre, "pre_process_function")
        return Pre(function, is_script)

    def post(self, text: str) -> Post:
        """Return the post-process function that a connector names.

        Raises:
            IllegalArgument: there is none of the name, or it is a script that is not known.
        """
        if (named := self._post_named.get(text)) is not None:
            return named
        function, is_script = self._find(text, self._post, "post_process_function")
        return Post(function, is_script)

    def known(self, script: str) -> str | None:
        """Return the dotted name of what does the same as a published Painless script, or None for any other."""
        return self._scripts.get(_essence(script))

    def streaming(self, name: str) -> Streaming | None:
        """Return how to stream over an interface (``_llm_interface``), or None where it is not known."""
        return self._streaming.get(name.strip().lower())

    def interfaces(self) -> list[str]:
        """Return the names of the interfaces that can be streamed over, sorted."""
        return sorted(self._streaming)

    def jobs(self, url: str) -> BatchJobs | None:
        """Return how the batch jobs of a URL are asked for and stopped, or None where its provider is not known."""
        return next((one for one in self._jobs if one.matches(url)), None)

    def body(self, model: str) -> Callable[[Any], Any] | None:
        """Return what makes a request body one that a model takes; None where any will do."""
        return self._bodies.get(model)

    def _find(self, text: str, functions: Mapping[str, F], field: str) -> tuple[F, bool]:
        wanted = text.strip()
        if wanted in functions:
            return functions[wanted], False
        if _DOTTED.fullmatch(wanted):
            raise IllegalArgument(f"[{wanted}] is no {field}; there are {', '.join(sorted(functions))}")
        name = self.known(text)
        if name is None or name not in functions:
            raise _unknown_script(wanted, field)
        return functions[name], True


def _unknown_script(script: str, field: str) -> IllegalArgument:
    shown = script if len(script) <= _SHOWN else f"{script[:_SHOWN]}…"
    alternative = (
        "of a function's name such as connector.pre_process.default.embedding, and of its parameters in request_body"
        if field == "pre_process_function"
        else "of a function's name such as connector.post_process.default.embedding, of a JSONPath in"
        " parameters.response_filter, or of parameters.output_processors"
    )
    return IllegalArgument(
        f"[{field}] is a Painless script that is not one of those published with ML Commons; scripts are not run here."
        f" Make use {alternative}, or add a file to connectors/ (docs/connectors.md). The script begins: {shown}"
    )


@lru_cache(256)
def _essence(script: str) -> str:
    """Return a script without what changes nothing: comments, and white space wherever it is."""
    bare = _TOKEN.sub(lambda match: match[1] or "", script)
    return "".join(bare.split()).rstrip(";")
