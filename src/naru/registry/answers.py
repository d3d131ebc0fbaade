"""What a registry answers that is not success, as errors with the texts of Docker's."""

from __future__ import annotations

import errno
import re
from collections.abc import Sequence
from socket import EAI_AGAIN

import msgspec

from naru.registry.tokens import parse_challenges
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

_TOKEN_ERRORS = {
    "invalid_token": ("UNAUTHORIZED", "authentication required"),
    "insufficient_scope": ("DENIED", "requested access to the resource is denied"),
}
_DETAILED = {401: "UNAUTHORIZED", 429: "TOOMANYREQUESTS"}
"""Codes of answers that have `details` alone, as Docker Hub's."""
_PORTS = {"http:": 80, "https:": 443}


class _Item(msgspec.Struct):
    code: str = "UNKNOWN"
    message: str = ""


class _Items(msgspec.Struct):
    errors: list[_Item] = []
    details: str = ""


class Refused(Exception):
    """An HTTP status of 400 or more; `code` is the distribution-spec's error code, or ""."""

    def __init__(
        self, method: str, url: str, status: int, body: bytes, challenges: Sequence[str] = ()
    ) -> None:
        """`challenges`: the values of WWW-Authenticate, which may say more than the body."""
        self.method = method
        self.url = url
        self.status = status
        self.challenges = list(challenges)
        told = [_challenged(challenges), _parse(status, body)]
        self.errors = [each for each in told if each is not None and each[0]]
        self.code, self.message = self.errors[0] if self.errors else ("", "")
        self.by_realm = False
        self.retry_after = ""
        super().__init__(self.text)

    def at(self, method: str, url: str) -> Refused:
        """The realm's refusal of a token, as that of the request which needed it."""
        refused = Refused(method, url, self.status, b"")
        refused.code, refused.message, refused.by_realm = self.code, self.message, True
        refused.errors = self.errors
        refused.retry_after = self.retry_after
        return refused

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
        return self.status == 404 and not self.by_realm


class Unreachable(Exception):
    """No answer at all; the text is that of Go's net/http."""


def _challenged(values: Sequence[str]) -> tuple[str, str] | None:
    """What is wrong with a token (RFC 6750 section 3.1), as the distribution-spec's code."""
    for challenge in parse_challenges(values):
        told = _TOKEN_ERRORS.get(challenge.params.get("error", ""))
        if challenge.scheme == "bearer" and told is not None:
            return told[0], challenge.params.get("error_description") or told[1]
    return None


def _parse(status: int, body: bytes) -> tuple[str, str]:
    try:
        items = msgspec.json.decode(body, type=_Items)
    except msgspec.MsgspecError:
        return "", ""
    if not items.errors:
        return (_DETAILED.get(status, "UNKNOWN"), items.details) if items.details else ("", "")
    first = items.errors[0]
    return first.code or "UNKNOWN", first.message or first.code.lower().replace("_", " ")


def pull_error(reference: Reference, error: Refused) -> NaruError:
    """What Docker says when a manifest or layer of `reference` cannot be had."""
    if error.by_realm:
        return InternalError(f'Head "{error.url}": {error.text}')
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
    if error.status == 401:
        # Not `Unauthorized`: clients would ask for a password, also where nobody sits.
        return InternalError(error.text)
    return other_error(error)


def other_error(error: Refused) -> NaruError:
    if error.code == "DENIED":
        return Forbidden(error.text)
    if error.status == 401:
        return Unauthorized(error.text)
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
    """A failure of `aiohttp` in Go's words: `Get "URL": dial tcp HOST:PORT: connect: ...`."""
    scheme, _, host, *_ = url.split("/")
    name_only = re.sub(r":\d+$", "", host)
    address = host if host != name_only else f"{host}:{_PORTS.get(scheme, 443)}"
    reason = str(error) or type(error).__name__
    name = type(error).__name__
    os_error = getattr(error, "os_error", None) or error
    number = getattr(os_error, "errno", None)
    if "DNS" in name or type(os_error).__name__ == "gaierror":
        # What nobody answered may well exist. Go names the resolver, which the C library does not.
        said = "Temporary failure in name resolution" if number == EAI_AGAIN else "no such host"
        reason = f"dial tcp: lookup {name_only}: {said}"
    elif number == errno.ECONNREFUSED:
        reason = f"dial tcp {address}: connect: connection refused"
    elif number == errno.EHOSTUNREACH:
        reason = f"dial tcp {address}: connect: no route to host"
    elif number == errno.ENETUNREACH:
        reason = f"dial tcp {address}: connect: network is unreachable"
    elif "Certificate" in name:
        reason = f"tls: failed to verify certificate: x509: {reason}"
    elif "SSL" in name and ("WRONG_VERSION" in reason or "record layer" in reason.lower()):
        reason = "http: server gave HTTP response to HTTPS client"
    elif isinstance(error, TimeoutError):
        reason = "net/http: request canceled (Client.Timeout exceeded while awaiting headers)"
    if reason.startswith(("dial", "http:", "tls:")) and f"//{host}/v2/" in url:
        method, url = "GET", f"{scheme}//{host}/v2/"  # what Docker would have asked first
    return f'{method.title()} "{url}": {reason}'
