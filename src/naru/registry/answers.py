"""What a registry answers that is not success, as errors with the texts of Docker's."""

from __future__ import annotations

import errno

import msgspec

from naru.spec.errors import (
    Forbidden,
    InternalError,
    InvalidParameter,
    NaruError,
    NotFound,
    Unauthorized,
    Unavailable,
)
from naru.spec.reference import Reference


class _Item(msgspec.Struct):
    code: str = "UNKNOWN"
    message: str = ""


class _Items(msgspec.Struct):
    errors: list[_Item] = []
    details: str = ""


class Refused(Exception):
    """An HTTP status of 400 or more; `code` is the distribution-spec's error code, or ""."""

    def __init__(self, method: str, url: str, status: int, body: bytes) -> None:
        self.method = method
        self.url = url
        self.status = status
        self.code, self.message = _parse(body)
        self.challenges: list[str] = []  # WWW-Authenticate
        self.retry_after = ""
        super().__init__(self.text)

    @property
    def text(self) -> str:
        if self.code:
            return f"{self.code.lower().replace('_', ' ')}: {self.message}"
        if self.status == 401:
            return "unauthorized: authentication required"
        return f"unexpected status from {self.method} request to {self.url}: {self.status}"

    @property
    def retryable(self) -> bool:
        return self.status in (408, 429) or self.status >= 500

    @property
    def missing(self) -> bool:
        return self.status == 404


class Unreachable(Exception):
    """No answer at all; the text is that of Go's net/http."""


def _parse(body: bytes) -> tuple[str, str]:
    try:
        items = msgspec.json.decode(body, type=_Items)
    except msgspec.MsgspecError:
        return "", ""
    if not items.errors:
        return ("DENIED", items.details) if items.details else ("", "")
    first = items.errors[0]
    return first.code or "UNKNOWN", first.message or first.code.lower().replace("_", " ")


def pull_error(reference: Reference, error: Refused) -> NaruError:
    """What Docker says when a manifest or layer of `reference` cannot be had."""
    match error.code:
        case "DENIED":
            return NotFound(
                f"pull access denied for {reference.familiar_name}, repository does not exist"
                f" or may require 'docker login': {error.text}"
            )
        case "MANIFEST_UNKNOWN":
            return NotFound(f"manifest for {reference.familiar} not found: {error.text}")
        case "NAME_UNKNOWN":
            return NotFound(f"repository {reference.familiar_name} not found: {error.text}")
    if error.status == 404:
        text = "manifest unknown: manifest unknown"
        return NotFound(f"manifest for {reference.familiar} not found: {text}")
    return other_error(error)


def other_error(error: Refused) -> NaruError:
    if error.status == 401:
        return Unauthorized(f'{error.method.title()} "{error.url}": {error.text}')
    if error.status == 403:
        return Forbidden(error.text)
    if error.status == 404:
        return NotFound(error.text)
    if error.status == 429:
        return Unavailable(f"toomanyrequests: {error.message or 'too many requests'}")
    if error.status == 400:
        return InvalidParameter(error.text)
    return InternalError(error.text)


def unreachable_text(method: str, url: str, error: BaseException) -> str:
    """A failure of `aiohttp` in Go's words: `Get "URL": dial tcp HOST: connect: ...`."""
    scheme, _, host, *_ = url.split("/")
    reason = str(error) or type(error).__name__
    name = type(error).__name__
    os_error = getattr(error, "os_error", None) or error
    number = getattr(os_error, "errno", None)
    if "DNS" in name or type(os_error).__name__ == "gaierror":
        reason = f"dial tcp: lookup {host.rsplit(':', 1)[0]}: no such host"
    elif number == errno.ECONNREFUSED:
        reason = f"dial tcp {host}: connect: connection refused"
    elif number == errno.EHOSTUNREACH:
        reason = f"dial tcp {host}: connect: no route to host"
    elif number == errno.ENETUNREACH:
        reason = f"dial tcp {host}: connect: network is unreachable"
    elif "Certificate" in name:
        reason = f"tls: failed to verify certificate: x509: {reason}"
    elif "SSL" in name and ("WRONG_VERSION" in reason or "record layer" in reason.lower()):
        reason = "http: server gave HTTP response to HTTPS client"
    elif isinstance(error, TimeoutError):
        reason = "net/http: request canceled (Client.Timeout exceeded while awaiting headers)"
    if reason.startswith(("dial", "http:", "tls:")) and f"//{host}/v2/" in url:
        method, url = "GET", f"{scheme}//{host}/v2/"  # what Docker would have asked first
    return f'{method.title()} "{url}": {reason}'
