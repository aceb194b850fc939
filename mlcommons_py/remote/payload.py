"""Makes requests to a provider of what a model is asked.

The order of things is that of ``RemoteConnectorExecutor.java`` and ``ConnectorUtils.java``.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mlcommons_py import exact
from mlcommons_py.errors import IllegalArgument
from mlcommons_py.remote import charsets, url
from mlcommons_py.remote.chosen_action import OF_JOBS, ChosenAction
from mlcommons_py.remote.documents import Action, ActionType, Connector
from mlcommons_py.remote.echoes import NONE, Secrets
from mlcommons_py.remote.exchange import Outgoing
from mlcommons_py.remote.filling import Filling
from mlcommons_py.remote.functions import DEFAULT, Functions, Post, Pre
from mlcommons_py.remote.input import ModelInput
from mlcommons_py.remote.parameters import Parameters
from mlcommons_py.remote.provider import Texts
from mlcommons_py.remote.request_body import request_body

_METHODS = ("POST", "GET", "PUT", "DELETE")
_STEP = "input_docs_processed_step_size"
_PROCESS_PARAMETERS = "pre_process_function.process_remote_inference_input"
_WRONG_INPUT = {
    "text_docs": "This pre_process_function can only support TextDocsInputDataSet which including a list of string with"
    " key 'text_docs'",
    "text_similarity": "This pre_process_function can only support TextSimilarityInputDataSet",
    "question_answering": "This pre_process_function can only support QuestionAnsweringInputDataSet with 'question' and"
    " 'context'",
}


@dataclass(frozen=True, slots=True)
class Prepared:
    """A request that can be sent, and what is needed to read its answer.

    Attributes:
        payload: the body as a text; empty where there is none.
        action: what was filled.
        post: what makes tensors of the answer; None where the answer itself is wanted.
        vectors: how many vectors are to come, where each text is to have one of its own; None where that is not known.
        hidden: what must never be shown: the secrets of the credential.
    """

    outgoing: Outgoing
    payload: str
    action: Action
    parameters: Parameters
    post: Post | None = None
    vectors: int | None = None
    hidden: Secrets = NONE

    @property
    def action_type(self) -> str:
        """The type of the action, as :class:`ActionType` has it."""
        return self.action.action_type


def prepare(
    connector: Connector,
    action: str,
    asked: ModelInput,
    credential: Mapping[str, str],
    functions: Functions,
) -> list[Prepared]:
    """Return the requests that an input makes, in the order of their answers.

    Args:
        connector: as it is stored.
        action: an :class:`ActionType`, or the name of an action.
        asked: what the model is asked.
        credential: the connector's, decrypted.
        functions: of all providers.

    Raises:
        IllegalArgument: the input, or the connector, is wrong; in ML Commons' words.
    """
    try:
        maker = _Maker(connector, ChosenAction.of(connector, action, credential, functions), functions, asked)
        return [maker.request(texts) for texts in maker.portions()]
    except RecursionError as fault:
        raise IllegalArgument("the connector's templates, or what they are filled with, nest too deep") from fault


class _Maker:
    """Makes the requests of one input."""

    def __init__(self, connector: Connector, chosen: ChosenAction, functions: Functions, asked: ModelInput) -> None:
        self._chosen = chosen
        self._action = action = chosen.action
        self._functions = functions
        self._asked = asked
        self._base = Parameters(
            own=connector.parameters or {}, given=_given(asked), made_first=asked.text_docs is not None
        )
        self._pre = self._find_pre()
        post = self._named(action.post_process_function)
        self._post = None if post is None else functions.post(post)

    def portions(self) -> Sequence[Texts | None]:
        """Return the texts of each request; None for a request that has none."""
        asked = self._asked
        if asked.question is not None:
            self._must_take("question_answering")
            return [Texts([asked.context], asked.question)]
        if asked.text_docs is None:
            return [None]
        if not asked.text_docs:
            raise IllegalArgument("Empty text docs" if asked.query_text is None else "No text documents were provided")
        if asked.query_text is not None:
            self._must_take("text_similarity")
            return [Texts(asked.text_docs, asked.query_text)]
        self._must_take("text_docs")
        size = self._step(len(asked.text_docs))
        return [Texts(asked.text_docs[at : at + size]) for at in range(0, len(asked.text_docs), size)]

    def request(self, texts: Texts | None) -> Prepared:
        """Return one request."""
        base = self._base
        parameters = Parameters(base.own, self._made(texts), base.given, base.made_first)
        method = self._action.method.upper()
        if method not in _METHODS:
            raise IllegalArgument("unsupported http method")
        filling = Filling(parameters)
        payload = request_body(self._action, parameters, filling, self._functions)
        charset = self._chosen.charset
        body = charsets.encoded(payload, charset)
        if method == "POST" and not body and self._action.action_type != ActionType.CANCEL_BATCH_PREDICT:
            raise IllegalArgument("Content length is 0. Aborting request to remote model")
        outgoing = Outgoing(
            method,
            url.fill(self._action.url, parameters, refuses=self._action.action_type not in OF_JOBS),
            self._chosen.headers(parameters),
            body,
            charset,
        )
        text = payload.decode() if isinstance(payload, bytes) else payload
        vectors = _listed(parameters.made, texts) if texts is not None and texts.query is None else None
        return Prepared(outgoing, text, self._action, parameters, self._post, vectors, self._chosen.hidden)

    def _find_pre(self) -> Pre | None:
        name = self._named(self._action.pre_process_function)
        if name is None and self._asked.text_docs is not None and self._asked.query_text is None:
            name = DEFAULT
        return None if name is None else self._functions.pre(name)

    def _named(self, function: str | None) -> str | None:
        """Return the name of a function, which may have placeholders."""
        if function is None or not function.strip():
            return None
        if "${parameters." not in function:
            return function
        filling = Filling(self._base)
        return filling.text(function)

    def _must_take(self, what: str) -> None:
        if self._pre is None:
            raise IllegalArgument("pre_process_function not defined in connector")
        takes = self._pre.function.takes
        if takes != what:
            raise IllegalArgument(_WRONG_INPUT[takes])

    def _step(self, docs: int) -> int:
        """Return how many texts go into a request."""
        assert self._pre is not None
        step = self._base.text(_STEP)
        if step is not None:
            if not re.fullmatch(r"\s*\+?0*[1-9][0-9]{0,8}\s*", step):
                raise IllegalArgument(f"Invalid parameter: {_STEP}. It must be positive integer.")
            # A function that takes one text only would drop all others.
            return 1 if self._pre.function.one_by_one else int(step)
        return 1 if self._pre.one_by_one else docs

    def _made(self, texts: Texts | None) -> Mapping[str, Any]:
        if texts is None:
            texts = self._texts_of_parameters()
        if self._pre is None or texts is None:
            return {}
        if self._pre.function.one_by_one and texts.docs[0] is None:
            raise IllegalArgument("[text_docs] has a null, and this model is asked for each text alone; leave it out")
        return self._pre.function.make(texts)

    def _texts_of_parameters(self) -> Texts | None:
        """Return the texts that a request has among its parameters, where the connector wants them looked for."""
        if self._pre is None or not self._base.flag(_PROCESS_PARAMETERS):
            return None
        query = self._base.text("query_text")
        docs = self._base.value("text_docs")
        if self._pre.function.takes == "question_answering":
            query, docs = self._base.text("question"), [self._base.value("context")]
        if isinstance(docs, str):
            docs = exact.loads(docs) if exact.is_json(docs) else None
        if not isinstance(docs, list) or not docs or not all(one is None or isinstance(one, str) for one in docs):
            return None
        return Texts(docs, query)


def _given(asked: ModelInput) -> Mapping[str, Any]:
    """Return the parameters of a request; beside texts, the kind of text is in upper case, as ML Commons has it."""
    given = asked.parameters or {}
    kind = given.get("content_type")
    if asked.text_docs is None or not isinstance(kind, str) or kind.upper() not in ("QUERY", "PASSAGE"):
        return given
    return {**given, "content_type": kind.upper()}


def _listed(made: Mapping[str, Any], texts: Texts) -> int | None:
    """Return the number of texts if a list of as many goes out, which tells a batch from a text with its image."""
    number = len(texts.docs)
    return number if any(isinstance(value, list) and len(value) == number for value in made.values()) else None
