"""The error answers of the gateway: one function for each situation, with a stable code.

The body has the shape of OpenAI's errors, which every client library knows, with `hop` (who failed) and the request id:

    {"error": {"message": …, "type": …, "param": …, "code": …, "hop": "gateway", "request_id": …}}

On /v1/messages it has the shape of Anthropic's errors. docs/reference/errors.md is rendered from `Code`. This module
does not know HTTP framing: status line and headers are written elsewhere, from a `Problem`.
"""

import enum
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import msgspec

from remuda.policy.outcome import Outcome


class Hop(enum.StrEnum):
    """Where on its way a request failed."""

    CLIENT = "client"
    GATEWAY = "gateway"
    ENGINE = "engine"


class Dialect(enum.Enum):
    """The shape of errors that a client expects."""

    OPENAI = "openai"
    ANTHROPIC = "anthropic"


class Code(enum.StrEnum):
    """The `code` of an error. It is stable, so that programs can compare it.

    status    HTTP status
    kind      `type` in OpenAI's shape
    hop       who failed
    outcome   what is counted and logged
    sentence  when the code is used, for the reference page
    """

    status: int
    kind: str
    hop: Hop
    outcome: Outcome
    sentence: str

    def __new__(cls, value: str, status: int, kind: str, hop: Hop, outcome: Outcome, sentence: str) -> Self:
        member = str.__new__(cls, value)
        member._value_ = value
        member.status, member.kind, member.hop, member.outcome, member.sentence = status, kind, hop, outcome, sentence
        return member

    INVALID_JSON = (
        "invalid_json", 400, "invalid_request_error", Hop.CLIENT, Outcome.BAD_REQUEST,
        "The body is not the JSON object this route takes.",
    )  # fmt: skip
    INVALID_FORM = (
        "invalid_form", 400, "invalid_request_error", Hop.CLIENT, Outcome.BAD_REQUEST,
        "The body is not a multipart form, or another parser could read it differently.",
    )  # fmt: skip
    INVALID_VALUE = (
        "invalid_value", 400, "invalid_request_error", Hop.CLIENT, Outcome.BAD_REQUEST,
        "A field has the wrong type or is out of bounds; `param` names it.",
    )  # fmt: skip
    FIELD_NOT_ALLOWED = (
        "field_not_allowed", 400, "invalid_request_error", Hop.CLIENT, Outcome.BAD_REQUEST,
        "A field that clients may not set here; `param` names it.",
    )  # fmt: skip
    MALFORMED_HTTP = (
        "malformed_http", 400, "invalid_request_error", Hop.CLIENT, Outcome.BAD_REQUEST,
        "The request is not well-formed HTTP/1.1. The connection is closed.",
    )  # fmt: skip
    UNSUPPORTED_MEDIA_TYPE = (
        "unsupported_media_type", 415, "invalid_request_error", Hop.CLIENT, Outcome.BAD_REQUEST,
        "The route takes another content type or encoding.",
    )  # fmt: skip
    MISSING_API_KEY = (
        "missing_api_key", 401, "authentication_error", Hop.CLIENT, Outcome.UNAUTHORIZED,
        "The gateway asks for an API key and none was sent.",
    )  # fmt: skip
    INVALID_API_KEY = (
        "invalid_api_key", 401, "authentication_error", Hop.CLIENT, Outcome.UNAUTHORIZED,
        "The API key is malformed or unknown.",
    )  # fmt: skip
    EXPIRED_API_KEY = (
        "expired_api_key", 401, "authentication_error", Hop.CLIENT, Outcome.UNAUTHORIZED,
        "The API key was good and has expired.",
    )  # fmt: skip
    TOO_MANY_WRONG_KEYS = (
        "too_many_wrong_keys", 429, "rate_limit_error", Hop.CLIENT, Outcome.UNAUTHORIZED,
        "Many wrong API keys came from this address; `Retry-After` says when to come again. A right key is let in.",
    )  # fmt: skip
    FOREIGN_PAGE = (
        "foreign_page", 403, "permission_error", Hop.CLIENT, Outcome.FORBIDDEN,
        "A gateway without API keys serves this machine, not web pages of other sites; the header is in the message.",
    )  # fmt: skip
    TENANT_DISABLED = (
        "tenant_disabled", 403, "permission_error", Hop.CLIENT, Outcome.FORBIDDEN,
        "The API key is good, but its tenant is disabled.",
    )  # fmt: skip
    MODEL_NOT_ALLOWED = (
        "model_not_allowed", 403, "permission_error", Hop.CLIENT, Outcome.FORBIDDEN,
        "The model exists, but this API key may not use it.",
    )  # fmt: skip
    MODEL_NOT_FOUND = (
        "model_not_found", 404, "invalid_request_error", Hop.CLIENT, Outcome.NOT_FOUND,
        "No model, alias or adapter of that name is served.",
    )  # fmt: skip
    UNSUPPORTED_CAPABILITY = (
        "unsupported_capability", 400, "invalid_request_error", Hop.CLIENT, Outcome.BAD_REQUEST,
        "The model is served, but not for this route (embeddings of a chat model, say).",
    )  # fmt: skip
    STATEFUL_NOT_SUPPORTED = (
        "stateful_not_supported", 400, "invalid_request_error", Hop.CLIENT, Outcome.BAD_REQUEST,
        "A stored response would live in one engine only; send the conversation instead.",
    )  # fmt: skip
    ROUTE_NOT_FOUND = (
        "route_not_found", 404, "invalid_request_error", Hop.CLIENT, Outcome.NOT_FOUND,
        "The gateway has no such route. Administrative routes of an engine are never reachable through it.",
    )  # fmt: skip
    METHOD_NOT_ALLOWED = (
        "method_not_allowed", 405, "invalid_request_error", Hop.CLIENT, Outcome.NOT_FOUND,
        "The route exists for another method; `Allow` names it.",
    )  # fmt: skip
    BODY_TOO_LARGE = (
        "body_too_large", 413, "invalid_request_error", Hop.CLIENT, Outcome.TOO_LARGE,
        "The body exceeds the limit of the gateway, in bytes or in the number of its parts.",
    )  # fmt: skip
    HEADERS_TOO_LARGE = (
        "headers_too_large", 431, "invalid_request_error", Hop.CLIENT, Outcome.TOO_LARGE,
        "The request line or the headers exceed the limit of the gateway.",
    )  # fmt: skip
    REQUEST_TIMEOUT = (
        "request_timeout", 408, "invalid_request_error", Hop.CLIENT, Outcome.CLIENT_TIMEOUT,
        "The request did not arrive completely in time.",
    )  # fmt: skip
    OVERLOADED = (
        "overloaded", 429, "rate_limit_error", Hop.GATEWAY, Outcome.NO_CAPACITY,
        "The gateway is full of requests, connections or bodies; `Retry-After` says when to come again.",
    )  # fmt: skip
    NO_FIT = (
        "no_fitting_model", 503, "server_error", Hop.GATEWAY, Outcome.NO_ENDPOINT,
        "The request names no model and none that is served fits it; the message says which were considered.",
    )  # fmt: skip
    MODEL_NOT_READY = (
        "model_not_ready", 503, "server_error", Hop.GATEWAY, Outcome.NO_ENDPOINT,
        "The model is known, but none of its engines is ready; the message says what they wait for.",
    )  # fmt: skip
    SHUTTING_DOWN = (
        "shutting_down", 503, "server_error", Hop.GATEWAY, Outcome.SHUTTING_DOWN,
        "The gateway finishes the requests it has and takes no new ones.",
    )  # fmt: skip
    ENGINE_REFUSED = (
        "engine_refused", 400, "invalid_request_error", Hop.CLIENT, Outcome.REJECTED_BY_ENGINE,
        "The engine refused one entry of a batch; the message has its own words. (Alone, its answer is relayed.)",
    )  # fmt: skip
    ENGINE_UNREACHABLE = (
        "engine_unreachable", 502, "server_error", Hop.ENGINE, Outcome.UPSTREAM_REFUSED,
        "No engine of the model accepted a connection.",
    )  # fmt: skip
    ENGINE_FAILED = (
        "engine_failed", 502, "server_error", Hop.ENGINE, Outcome.UPSTREAM_FAILED,
        "The engine failed before it answered, and the request could not be tried elsewhere.",
    )  # fmt: skip
    ENGINE_TIMEOUT = (
        "engine_timeout", 504, "server_error", Hop.ENGINE, Outcome.UPSTREAM_TIMEOUT,
        "The engine did not begin to answer in time.",
    )  # fmt: skip
    SIDE_FAILED = (
        "side_failed", 502, "server_error", Hop.GATEWAY, Outcome.INTERNAL_ERROR,
        "The process beside the gateway that serves this path did not answer.",
    )  # fmt: skip
    STREAM_BROKEN = (
        "stream_broken", 502, "server_error", Hop.ENGINE, Outcome.STREAM_BROKEN,
        "The engine failed after part of its answer was sent. Said as the last event of the stream.",
    )  # fmt: skip
    INTERNAL_ERROR = (
        "internal_error", 500, "server_error", Hop.GATEWAY, Outcome.INTERNAL_ERROR,
        "A fault of the gateway; its log has the request id and the cause.",
    )  # fmt: skip


_ANTHROPIC_KINDS = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    502: "api_error",
    503: "overloaded_error",
    504: "timeout_error",
}


@dataclass(frozen=True)
class Problem:
    """One error answer. `headers` are (name, value) pairs that the HTTP response has besides the usual ones."""

    code: Code
    message: str
    param: str | None = None
    headers: tuple[tuple[str, str], ...] = ()

    @property
    def status(self) -> int:
        return self.code.status

    @property
    def outcome(self) -> Outcome:
        return self.code.outcome

    def error(self) -> dict[str, str | None]:
        """The error object in OpenAI's shape without a request id, as the results of /batch-generate have it."""
        code = self.code
        return {
            "message": self.message,
            "type": code.kind,
            "param": self.param,
            "code": code.value,
            "hop": code.hop.value,
        }

    @cached_property
    def _openai_start(self) -> bytes:
        return b'{"error":' + msgspec.json.encode(self.error())[:-1] + b',"request_id":'

    @cached_property
    def _anthropic_start(self) -> bytes:
        kind = _ANTHROPIC_KINDS.get(self.code.status, "invalid_request_error")
        error = {"type": kind, "message": self.message, "code": self.code.value, "hop": self.code.hop.value}
        return b'{"type":"error","error":' + msgspec.json.encode(error) + b',"request_id":'

    def body(self, request_id: str, dialect: Dialect = Dialect.OPENAI) -> bytes:
        """The JSON body. All but the request id is rendered once for each Problem."""
        if dialect is Dialect.ANTHROPIC:
            return self._anthropic_start + msgspec.json.encode(request_id) + b"}"
        return self._openai_start + msgspec.json.encode(request_id) + b"}}"

    def event(self, request_id: str, dialect: Dialect = Dialect.OPENAI) -> bytes:
        """The error as the last event of a stream that has already begun."""
        if dialect is Dialect.ANTHROPIC:
            return b"event: error\ndata: " + self.body(request_id, dialect) + b"\n\n"
        return b"data: " + self.body(request_id) + b"\n\ndata: [DONE]\n\n"


class Refused(Exception):  # noqa: N818 - it carries an answer, not an accident
    """Ends a request with an answer of the gateway's own. `status` replaces the status of the problem's code."""

    def __init__(self, problem: Problem, status: int | None = None) -> None:
        super().__init__(problem.message)
        self.problem = problem
        self.status = status


LONGEST_QUOTE = 200
LONGEST_ENGINE_WORDS = 1_000


def cut(text: str, longest: int = LONGEST_QUOTE) -> str:
    """The beginning of a text that somebody else wrote, so that an answer does not grow with what a client sent."""
    return text if len(text) <= longest else text[:longest] + "…"


def _quote(value: str) -> str:
    return repr(cut(value))


def _list(names: Iterable[str]) -> str:
    shown = sorted(names)
    more = len(shown) - 20
    return ", ".join(shown[:20]) + (f" and {more} more" if more > 0 else "") if shown else "none"


def invalid_json(detail: str) -> Problem:
    return Problem(Code.INVALID_JSON, f"The request body is not valid: {detail}")


def invalid_form(detail: str) -> Problem:
    return Problem(Code.INVALID_FORM, f"The form is not valid: {detail}.")


def invalid_value(param: str, detail: str) -> Problem:
    return Problem(Code.INVALID_VALUE, f"{param}: {detail}", param)


def field_not_allowed(param: str, why: str) -> Problem:
    return Problem(Code.FIELD_NOT_ALLOWED, f"{param} may not be set by clients of this gateway: {why}", param)


def malformed_http(detail: str) -> Problem:
    return Problem(Code.MALFORMED_HTTP, f"Malformed HTTP request: {detail}", headers=(("connection", "close"),))


def unsupported_media_type(got: str, wanted: str) -> Problem:
    return Problem(Code.UNSUPPORTED_MEDIA_TYPE, f"The content type {_quote(got)} is not accepted here; send {wanted}")


def model_not_found(model: str, served: Iterable[str] | None) -> Problem:
    """`served` are the names that the caller may be told; None when it may be told none."""
    listed = "" if served is None else f" Served here: {_list(served)}."
    return Problem(Code.MODEL_NOT_FOUND, f"The model {_quote(model)} does not exist.{listed}", "model")


def model_not_allowed(model: str, tenant: str) -> Problem:
    return Problem(
        Code.MODEL_NOT_ALLOWED, f"The API key of tenant {tenant} may not use the model {_quote(model)}.", "model"
    )


def unsupported_capability(model: str, wanted: str, capabilities: Iterable[str]) -> Problem:
    message = f"The model {_quote(model)} does not serve {wanted}; it serves: {_list(capabilities)}."
    return Problem(Code.UNSUPPORTED_CAPABILITY, message, "model")


def stateful_not_supported(param: str) -> Problem:
    message = (
        f"{param} needs a response that was stored. Engines do not share what they store, so this gateway does not "
        "offer it; send the whole conversation as `input`."
    )
    return Problem(Code.STATEFUL_NOT_SUPPORTED, message, param)


def route_not_found(method: str, path: str) -> Problem:
    return Problem(Code.ROUTE_NOT_FOUND, f"There is no {method} {_quote(path)} on this gateway.")


def method_not_allowed(method: str, path: str, allowed: Iterable[str]) -> Problem:
    allow = ", ".join(sorted(allowed))
    message = f"{_quote(path)} takes {allow}, not {method}."
    return Problem(Code.METHOD_NOT_ALLOWED, message, headers=(("allow", allow),))


def body_too_large(limit_bytes: int) -> Problem:
    return Problem(Code.BODY_TOO_LARGE, f"The request body exceeds {limit_bytes} bytes.")


def body_too_complex(what: str) -> Problem:
    """A body that would take the engine and the gateway too long to read, whatever its size."""
    return Problem(Code.BODY_TOO_LARGE, f"The request body has more than {what}.")


def headers_too_large(limit_bytes: int) -> Problem:
    message = f"The request line and headers exceed {limit_bytes} bytes."
    return Problem(Code.HEADERS_TOO_LARGE, message, headers=(("connection", "close"),))


def upload_timeout(limit_s: float) -> Problem:
    """The body kept coming, but took too long as a whole."""
    message = f"The request body did not arrive completely within {limit_s:g} s."
    return Problem(Code.REQUEST_TIMEOUT, message, headers=(("connection", "close"),))


def request_timeout(limit_s: float) -> Problem:
    message = f"The request did not arrive completely within {limit_s:g} s."
    return Problem(Code.REQUEST_TIMEOUT, message, headers=(("connection", "close"),))


def gateway_full_of_requests(limit: int, retry_after_s: int = 1) -> Problem:
    """More requests at once than the gateway takes, whatever their models."""
    return _gateway_full(f"already answers {limit} requests, which is its limit", retry_after_s)


def gateway_full_of_connections(limit: int, retry_after_s: int = 1) -> Problem:
    """More connections than the gateway takes. The refused connection closes."""
    full = _gateway_full(f"already has {limit} connections, which is its limit", retry_after_s)
    return Problem(full.code, full.message, headers=(*full.headers, ("connection", "close")))


def gateway_full_of_bodies(limit_bytes: int, retry_after_s: int = 1) -> Problem:
    """The bodies of all requests together would take more memory than the gateway gives them."""
    detail = f"has no room for this body: the bodies of all requests together may take {limit_bytes} bytes"
    return _gateway_full(detail, retry_after_s)


def client_full_of_bodies(limit_bytes: int, retry_after_s: int = 1) -> Problem:
    """The bodies of this client's requests together would take more memory than one client gets."""
    message = (
        f"The bodies of your requests together may take {limit_bytes} bytes, and this one would exceed that. Wait for "
        f"the answers to some of them, or try again in {retry_after_s} s."
    )
    return Problem(Code.OVERLOADED, message, headers=(("retry-after", str(retry_after_s)),))


def foreign_host(host: bytes) -> Problem:
    """The Host header names another machine, and the gateway serves only this one."""
    message = (
        f"This gateway asks for no API keys and serves only this machine, so it takes no request whose Host is "
        f"{_quote(host.decode('latin-1'))}. Use 127.0.0.1 or localhost, create a key with `remuda tenant create NAME`, "
        "or state `auth: {mode: open}`."
    )
    return Problem(Code.FOREIGN_PAGE, message)


def foreign_origin(origin: bytes) -> Problem:
    """A web page of another site sends the request."""
    page = _quote(origin.decode("latin-1"))
    message = (
        f"This gateway asks for no API keys, so it takes no request from a web page of {page}. "
        "Allow that origin with `cors: {origins: […]}`, or create a key with `remuda tenant create NAME`."
    )
    return Problem(Code.FOREIGN_PAGE, message)


def _gateway_full(detail: str, retry_after_s: int) -> Problem:
    message = f"The gateway {detail}. Try again in {retry_after_s} s."
    return Problem(Code.OVERLOADED, message, headers=(("retry-after", str(retry_after_s)),))


def no_fitting_model(wanted: str, considered: Iterable[str]) -> Problem:
    message = f"No model was named and none fits ({wanted}). Considered: {_list(considered)}."
    return Problem(Code.NO_FIT, message, "model")


def model_not_ready(model: str, waiting: str, retry_after_s: int = 5) -> Problem:
    message = f"The model {_quote(model)} is not ready: {waiting or 'no engine is running'}."
    return Problem(Code.MODEL_NOT_READY, message, "model", (("retry-after", str(retry_after_s)),))


def engine_unreachable(model: str, attempts: int) -> Problem:
    message = f"No engine of the model {_quote(model)} accepted a connection ({attempts} tried)."
    return Problem(Code.ENGINE_UNREACHABLE, message)


def engine_failed(model: str, detail: str) -> Problem:
    return Problem(Code.ENGINE_FAILED, f"The engine of the model {_quote(model)} failed before it answered: {detail}.")


def engine_timeout(model: str, limit_s: float) -> Problem:
    message = f"The engine of the model {_quote(model)} did not begin to answer within {limit_s:g} s."
    return Problem(Code.ENGINE_TIMEOUT, message)


def stream_broken(detail: str) -> Problem:
    return Problem(Code.STREAM_BROKEN, f"The engine failed in the middle of this answer: {detail}.")


def side_failed(path: str, detail: str) -> Problem:
    """The process beside the gateway that serves this path did not answer."""
    return Problem(Code.SIDE_FAILED, f"The process that serves {_quote(path)} beside the gateway failed: {detail}.")


def engine_refused(model: str, status: int, detail: str) -> Problem:
    said = cut(detail, LONGEST_ENGINE_WORDS) or "no reason given"
    message = f"The engine of the model {_quote(model)} refused this request ({status}): {said}"
    return Problem(Code.ENGINE_REFUSED, message)


SHUTTING_DOWN = Problem(
    Code.SHUTTING_DOWN,
    "The gateway is shutting down. Try again.",
    headers=(("retry-after", "1"), ("connection", "close")),
)
INTERNAL_ERROR = Problem(Code.INTERNAL_ERROR, "The gateway failed. Its log has the cause under this request id.")
TOO_MANY_WRONG_KEYS = Problem(
    Code.TOO_MANY_WRONG_KEYS,
    "Too many wrong API keys came from your address. Try again in 10 s.",
    headers=(("retry-after", "10"), ("connection", "close")),
)
ASK_FOR_OBJECT = Problem(Code.INVALID_JSON, "The request body must be a JSON object.")
