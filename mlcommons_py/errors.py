"""Everything the service can refuse or fail at, in one tree.

A class carries the HTTP ``status`` and the ``type`` that OpenSearch gives the exception it stands for; the doors turn
both into a body, nothing else does. The tree::

    MLCommonsError                    500  m_l_exception
    ├── IllegalArgument               400  illegal_argument_exception
    │   ├── NumberFormat              400  number_format_exception
    │   ├── SettingRefused            400  settings_exception           a setting that is unknown, or fixed at start
    │   └── InvalidModel              400  illegal_argument_exception   a model file that cannot be served
    ├── ParseFailed                   400  parse_exception              a body that is missing or malformed
    │   └── ParsingFailed             400  parsing_exception            a query or JSON of the wrong form
    │       └── JsonParseFailed       400  json_parse_exception         a text that is no JSON
    ├── ValidationFailed              400  action_request_validation_exception
    ├── ResourceNotFound              404  m_l_resource_not_found_exception
    │   └── IndexNotFound             404  index_not_found_exception
    ├── VersionConflict               409  version_conflict_engine_exception
    ├── ContentTooLong                413  content_too_long_exception
    ├── Rejected                      429  rejected_execution_exception   a full queue; has ``Retry-After``
    │   ├── LimitExceeded             429  m_l_limit_exceeded_exception
    │   └── CircuitBreaking           429  circuit_breaking_exception
    ├── StatusError                   any  status_exception
    │   ├── BadRequest                400
    │   ├── Forbidden                 403
    │   ├── NotFound                  404
    │   ├── Conflict                  409
    │   ├── Throttled                 429  a rate limit is reached; has ``Retry-After`` unless it is 0
    │   ├── Unavailable               503
    │   │   └── StoreBusy             429  rejected_execution_exception   the cluster has too much to do
    │   ├── CredentialUnreadable      500  a credential whose key is not there, or that was made for another
    │   └── RemoteFailed              any  what a provider answered, or that it did not; says so in ``remote``
    ├── SwitchedOff                   400  illegal_state_exception      a feature that a setting switches off
    ├── WorkerLost                    503  m_l_exception                a model's process ended under a request
    └── InferenceFailed               500  m_l_exception                has ``caused_by``
"""

import re
from collections.abc import Callable, Mapping

_PRINTED = re.compile("[ -~]{1,64}")


class MLCommonsError(Exception):
    """A fault with the status and the type that a client sees."""

    status: int = 500
    type: str = "m_l_exception"

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    @property
    def headers(self) -> Mapping[str, str]:
        """Header fields that go out with the answer."""
        return {}


class IllegalArgument(MLCommonsError):
    """The request asks for something that cannot be."""

    status = 400
    type = "illegal_argument_exception"


class NumberFormat(IllegalArgument):
    """A number was expected."""

    type = "number_format_exception"

    def __init__(self, text: str) -> None:
        super().__init__(f'For input string: "{text}"')


class SettingRefused(IllegalArgument):
    """A setting is not known, or cannot be changed while the service runs."""

    type = "settings_exception"


class InvalidModel(IllegalArgument):
    """A model file cannot be served; the reason names the part at fault and the way out."""


class ParseFailed(MLCommonsError):
    """A body is missing, or is not what the route takes."""

    status = 400
    type = "parse_exception"


class ParsingFailed(ParseFailed):
    """JSON or a query is malformed; the reason names the clause."""

    type = "parsing_exception"


class JsonParseFailed(ParsingFailed):
    """A text is no JSON; the reason names the line and the column."""

    type = "json_parse_exception"


class ValidationFailed(MLCommonsError):
    """A field's value is refused, in the words of OpenSearch's request validation."""

    status = 400
    type = "action_request_validation_exception"

    def __init__(self, *faults: str) -> None:
        listed = "".join(f"{number}: {fault};" for number, fault in enumerate(faults, 1))
        super().__init__(f"Validation Failed: {listed}")


class ResourceNotFound(MLCommonsError):
    """What the request names does not exist."""

    status = 404
    type = "m_l_resource_not_found_exception"


class IndexNotFound(ResourceNotFound):
    """There is no index of that name."""

    type = "index_not_found_exception"

    def __init__(self, index: str) -> None:
        super().__init__(f"no such index [{index}]")


class VersionConflict(MLCommonsError):
    """A document changed since it was read."""

    status = 409
    type = "version_conflict_engine_exception"

    def __init__(self, index: str, doc_id: str, how: str) -> None:
        super().__init__(f"[{doc_id}]: version conflict, {how}")
        self.index = index
        self.doc_id = doc_id


class ContentTooLong(MLCommonsError):
    """A body is longer than the service takes."""

    status = 413
    type = "content_too_long_exception"


class Rejected(MLCommonsError):
    """There is too much to do already; nothing of the request was done."""

    status = 429
    type = "rejected_execution_exception"

    def __init__(self, reason: str, retry_after: int = 1) -> None:
        super().__init__(reason)
        self.retry_after = retry_after

    @property
    def headers(self) -> Mapping[str, str]:
        """``Retry-After`` in whole seconds."""
        return {"Retry-After": str(self.retry_after)}


class LimitExceeded(Rejected):
    """A limit that the operator set is reached."""

    type = "m_l_limit_exceeded_exception"


class CircuitBreaking(Rejected):
    """Memory or disk is short."""

    type = "circuit_breaking_exception"


class StatusError(MLCommonsError):
    """A fault known by its status alone."""

    type = "status_exception"

    def __init__(self, reason: str, status: int | None = None) -> None:
        super().__init__(reason)
        if status is not None:
            self.status = status


class BadRequest(StatusError):
    """The request cannot be carried out as it stands."""

    status = 400


class Forbidden(StatusError):
    """The caller, or a setting, does not allow it."""

    status = 403


class NotFound(StatusError):
    """What the request names does not exist."""

    status = 404


class Conflict(StatusError):
    """The request clashes with the state of what it names."""

    status = 409


class Throttled(StatusError):
    """A rate limit of a model, or of one of its users, is reached."""

    status = 429

    def __init__(self, reason: str, retry_after: int | None) -> None:
        super().__init__(reason)
        self.retry_after = retry_after

    @property
    def headers(self) -> Mapping[str, str]:
        """``Retry-After`` in whole seconds; none where no request will ever pass."""
        return {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}


class Unavailable(StatusError):
    """It cannot be done now; later it can.

    Attributes:
        retry_after: whole seconds after which it may be worth another try, as far as that is known.
    """

    status = 503

    def __init__(self, reason: str, retry_after: int | None = None) -> None:
        super().__init__(reason)
        self.retry_after = retry_after

    @property
    def headers(self) -> Mapping[str, str]:
        """``Retry-After`` where it is known."""
        return {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}


class StoreBusy(Unavailable):
    """The cluster has too much to do for the service's own requests; nothing of what it was asked was done."""

    status = 429
    type = "rejected_execution_exception"

    def __init__(self, reason: str, kind: str = "") -> None:
        super().__init__(reason, retry_after=1)
        self.type = kind or self.type


class CredentialUnreadable(StatusError):
    """A stored credential cannot be decrypted; the reason names the cause and the cure."""

    status = 500


class RemoteFailed(StatusError):
    """A provider refused or failed, or cannot be reached.

    Attributes:
        remote: goes out beside the reason and tells the provider's fault from one of ours, as far as it is known:
            ``status`` (of the provider's answer), ``request_id`` (the provider's), ``attempts``.
    """

    def __init__(
        self,
        reason: str,
        status: int = 500,
        *,
        remote: Mapping[str, str | int] | None = None,
        retry_after: str | None = None,
    ) -> None:
        # Not every status can be that of an answer with a body: 304 and what is beyond 599 would break the connection.
        super().__init__(reason, status if 300 <= status < 600 and status != 304 else 502)
        self.remote = dict(remote or {})
        # It goes into a header of ours, and a provider may have written anything.
        self._retry_after = retry_after if retry_after is not None and _PRINTED.fullmatch(retry_after) else None

    def without(self, hide: Callable[[str], str]) -> "RemoteFailed":
        """Return the same fault with what ``hide`` makes of all that a provider may have written in it."""
        remote = {name: hide(one) if isinstance(one, str) else one for name, one in self.remote.items()}
        after = self._retry_after
        after = after if after is None or hide(after) == after else None
        return RemoteFailed(hide(self.reason), self.status, remote=remote, retry_after=after)

    def saying(self, reason: str) -> "RemoteFailed":
        """Return the same fault with another reason."""
        return RemoteFailed(reason, self.status, remote=self.remote, retry_after=self._retry_after)

    @property
    def headers(self) -> Mapping[str, str]:
        """``Retry-After`` as the provider sent it."""
        return {} if self._retry_after is None else {"Retry-After": self._retry_after}


class SwitchedOff(MLCommonsError):
    """A feature is switched off; the reason names the setting."""

    status = 400
    type = "illegal_state_exception"

    def __init__(self, feature: str, setting: str) -> None:
        super().__init__(
            f'{feature} is currently disabled. To enable it, update the setting "plugins.ml_commons.{setting}" to true.'
        )


class WorkerLost(MLCommonsError):
    """The process that ran the model ended while a request was under way, and again when it was tried once more."""

    status = 503


class InferenceFailed(MLCommonsError):
    """A model failed on its input."""

    def __init__(self, function_name: str, model_id: str, cause: MLCommonsError) -> None:
        super().__init__(f"Failed to inference {function_name} model: {model_id}")
        self.__cause__ = cause
        self.status = cause.status


def reason_of(fault: Exception) -> str:
    """Return what a task or a model's document tells of a fault, which may be one that nobody foresaw.

    >>> reason_of(NotFound("Failed to find model")), reason_of(KeyError("a"))
    ('Failed to find model', "KeyError: 'a'")
    """
    return fault.reason if isinstance(fault, MLCommonsError) else f"{type(fault).__name__}: {fault}"
