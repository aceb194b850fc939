"""What a file in ``connectors/`` offers: a provider's shapes.

Each file defines one ``PROVIDER``. The functions have ML Commons' dotted names (``MLPreProcessFunction.java``,
``MLPostProcessFunction.java``); they work on Python values, never on JSON text.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Tensor = Mapping[str, Any]
"""A model tensor as it is answered: ``name``, ``data_type``, ``shape``, ``data``, or ``dataAsMap``."""


@dataclass(frozen=True, slots=True)
class Texts:
    """What a pre-process function works on.

    Attributes:
        docs: the texts, never empty. What was null is None. Of question answering, the one context.
        query: what the texts are to be compared with, or the question; None where there is none.
    """

    docs: Sequence[str | None]
    query: str | None = None


@dataclass(frozen=True, slots=True)
class PreProcess:
    """Makes the parameters of a request of texts.

    Attributes:
        name: such as ``connector.pre_process.openai.embedding``.
        takes: the input it is for; any other is refused in ML Commons' words.
        make: returns the parameters, whose values may be any JSON value.
        one_by_one: whether each text is a request, and an entry of the answer, of its own.
    """

    name: str
    make: Callable[[Texts], Mapping[str, Any]]
    takes: Literal["text_docs", "text_similarity", "question_answering"] = "text_docs"
    one_by_one: bool = False


@dataclass(frozen=True, slots=True)
class PostProcess:
    """Makes tensors of an answer.

    Attributes:
        name: such as ``connector.post_process.openai.embedding``.
        path: JSONPath of the part of the answer that ``make`` works on, unless the connector has a ``response_filter``.
        make: returns the tensors of what the path found, or None, which leaves the answer as if there were no function.
            It raises :class:`~mlcommons_py.errors.IllegalArgument` where that is of the wrong form.
        whole: whether it is given what ``path`` finds even where the connector has a ``response_filter``, which is then
            applied to an answer that it leaves as it is.
    """

    name: str
    path: str
    make: Callable[[Any], Sequence[Tensor] | None]
    whole: bool = False


@dataclass(frozen=True, slots=True)
class Delta:
    """A piece of a streamed answer.

    Attributes:
        content: its text; may be empty.
        is_last: whether nothing follows.
        error: what the provider says went wrong in the midst of it.
    """

    content: str = ""
    is_last: bool = False
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Streaming:
    """How a provider streams.

    Attributes:
        name: the ``_llm_interface`` that asks for it, such as ``openai/v1/chat/completions``.
        framing: ``sse`` (server-sent events), ``lines`` (a JSON object a line), ``aws`` (Amazon's event stream) or
            ``aws-lines`` (such a stream that carries lines).
        request: returns the request body (a JSON value) with what makes the provider stream.
        read: returns the piece that an event stands for, or None for one that carries none; it is given the event's
            name (empty where it has none) and its data.
        url: returns the URL to call, where that is another than without streaming.
        headers: header fields that the provider wants besides the connector's.
    """

    name: str
    read: Callable[[str, str], Delta | None]
    request: Callable[[Any], Any] = field(default=lambda body: {**body, "stream": True})
    framing: Literal["sse", "lines", "aws", "aws-lines"] = "sse"
    url: Callable[[str], str] = field(default=lambda url: url)
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Preset:
    """The ``interface`` of a model for which none was given (``ModelInterfaceUtils.java``).

    Attributes:
        input, output: JSON schemas.
        raw_output: of the answer without a post-process function, where that is another.
        post_process: the function that ``output`` is of; None where any is.
    """

    input: Mapping[str, Any]
    output: Mapping[str, Any]
    raw_output: Mapping[str, Any] | None = None
    post_process: str | None = None

    def interface(self, post_process: str | None) -> Mapping[str, Any]:
        """Return the schemas for a connector with a post-process function, or without one."""
        plain = not post_process if self.post_process is None else post_process != self.post_process
        raw = self.raw_output is not None and plain
        return {"input": self.input, "output": self.raw_output if raw else self.output}


@dataclass(frozen=True, slots=True)
class BatchJobs:
    """How the state of a batch job is asked for, and how it is stopped, where the connector does not say.

    Attributes:
        matches: whether a URL of a ``batch_predict`` action, with the connector's parameters filled in, is this
            provider's.
        status, cancel: return the action, as it would stand in a connector, of the ``batch_predict`` action as stored.
    """

    matches: Callable[[str], bool]
    status: Callable[[Mapping[str, Any]], Mapping[str, Any]]
    cancel: Callable[[Mapping[str, Any]], Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Provider:
    """What a provider's file offers.

    Attributes:
        name: of the file, such as ``openai``.
        painless: published Painless scripts that stored connectors may hold, each with the dotted name of the function
            that does the same; compared without regard to white space and comments.
        interfaces: presets of ``interface`` by ``service_name`` of a connector's parameters, and its ``model`` or
            ``api_name``; an empty second is for all others.
        bodies: by the connector's parameter ``model``, what makes a request body (a JSON value) one that it takes.
    """

    name: str
    pre_process: Sequence[PreProcess] = ()
    post_process: Sequence[PostProcess] = ()
    painless: Mapping[str, str] = field(default_factory=dict)
    streaming: Sequence[Streaming] = ()
    batch_jobs: BatchJobs | None = None
    interfaces: Mapping[tuple[str, str], Preset] = field(default_factory=dict)
    bodies: Mapping[str, Callable[[Any], Any]] = field(default_factory=dict)

    def offers(self) -> Iterator[str]:
        """Yield the names of its functions, which no other provider may have."""
        for pre in self.pre_process:
            yield pre.name
        for post in self.post_process:
            yield post.name
        for streaming in self.streaming:
            yield streaming.name
