"""Authorization by challenge: basic, or bearer tokens fetched from the realm a registry names."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import urlencode

import msgspec

from naru.registry.credentials import Credentials
from naru.spec.errors import Unauthorized

_CHALLENGE = re.compile(r'([a-zA-Z][\w-]*)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,]+))')
_MIN_LIFE = 60.0
_CLIENT_ID = "docker"


class NoCredentials(Unauthorized):
    """The registry asks for a password, and none was given."""


class Challenge(NamedTuple):
    scheme: str  # "basic" or "bearer"
    params: Mapping[str, str]


@dataclass
class _Held:
    """A bearer token; `proven` once the registry took it."""

    header: str
    until: float  # of the monotonic clock
    proven: bool = False


class _Answer(msgspec.Struct):
    token: str = ""
    access_token: str = ""
    refresh_token: str = ""
    expires_in: float = 0.0


Fetch = Callable[[str, str, Mapping[str, str], bytes | None], Awaitable[bytes]]
"""(method, url, headers, form body) -> body of the answer."""


def parse_challenges(values: Sequence[str]) -> list[Challenge]:
    """`WWW-Authenticate` headers (RFC 9110 section 11.6.1), one challenge each."""
    challenges = []
    for value in values:
        scheme, _, rest = value.strip().partition(" ")
        params = {
            key.lower(): re.sub(r"\\(.)", r"\1", quoted) or plain
            for key, quoted, plain in _CHALLENGE.findall(rest)
        }
        challenges.append(Challenge(scheme.lower(), params))
    return challenges


class Authorizer:
    """The `Authorization` header for one registry and one user, token by token."""

    def __init__(self, credentials: Credentials, fetch: Fetch, *, offline: bool = False) -> None:
        """`offline`: ask the realm for a refresh token too, as a login does."""
        self._credentials = credentials
        self._fetch = fetch
        self._offline = offline
        self._challenge: Challenge | None = None
        self._tokens: dict[tuple[str, ...], _Held] = {}
        self._renewing = asyncio.Lock()
        self.identity_token = credentials.identity_token  # may be renewed by the realm

    async def header(self, scopes: tuple[str, ...]) -> str | None:
        """What to send before being asked; None where the registry asked for nothing yet."""
        if self._credentials.registry_token:
            return f"Bearer {self._credentials.registry_token}"
        if self._challenge is None:
            return None
        if self._challenge.scheme == "basic":
            return self._credentials.basic if self._credentials.username else None
        async with self._renewing:  # once for all requests that wait for it
            held = self._tokens.get(scopes)
            if held is None or time.monotonic() >= held.until:
                held = self._tokens[scopes] = await self._renew(self._challenge, scopes)
        return held.header

    def taken(self, scopes: tuple[str, ...], sent: str | None) -> None:
        """The registry took what was sent."""
        held = self._tokens.get(scopes)
        if held is not None and held.header == sent:
            held.proven = True

    async def challenged(
        self, values: list[str], scopes: tuple[str, ...], sent: str | None
    ) -> bool:
        """Take in a 401's challenges -> whether another attempt makes sense: not where a new
        token was refused, but where one has expired that had been taken before."""
        known = self._challenge
        if self._credentials.registry_token:
            return False
        challenge = _chosen(parse_challenges(values))
        if challenge is None:
            return False
        self._challenge = challenge
        if challenge.scheme == "basic":
            if not self._credentials.username:
                raise NoCredentials("no basic auth credentials")
            return known is None or known.scheme != "basic"
        held = self._tokens.get(scopes)
        if sent is None or held is None or held.header != sent:
            return True  # nothing was sent, or another request has renewed it meanwhile
        del self._tokens[scopes]
        return held.proven or known is None or _place(known) != _place(challenge)

    async def _renew(self, challenge: Challenge, scopes: tuple[str, ...]) -> _Held:
        realm = challenge.params["realm"]
        service = challenge.params.get("service", "")
        wanted = list(scopes) or challenge.params.get("scope", "").split()
        if self.identity_token:
            form = {
                "grant_type": "refresh_token", "service": service, "client_id": _CLIENT_ID,
                "scope": " ".join(wanted), "refresh_token": self.identity_token,
            }  # fmt: skip
            headers = {"Content-Type": "application/x-www-form-urlencoded"}
            body = await self._fetch("POST", realm, headers, urlencode(form).encode())
        else:
            query = [("service", service)] if service else []
            query += [("scope", scope) for scope in wanted]
            headers = {}
            if self._credentials.username:
                headers["Authorization"] = self._credentials.basic
                query.append(("account", self._credentials.username))
            if self._offline:
                query += [("offline_token", "true"), ("client_id", _CLIENT_ID)]
            separator = "&" if "?" in realm else "?"
            url = f"{realm}{separator}{urlencode(query)}" if query else realm
            body = await self._fetch("GET", url, headers, None)
        try:
            answer = msgspec.json.decode(body, type=_Answer)
        except msgspec.MsgspecError as error:
            raise Unauthorized(f"authorization server gave no token: {error}") from error
        token = answer.token or answer.access_token
        if not token:
            raise Unauthorized("authorization server did not include a token in the response")
        if answer.refresh_token:
            self.identity_token = answer.refresh_token
        life = max(answer.expires_in, _MIN_LIFE)
        return _Held(f"Bearer {token}", time.monotonic() + life * 0.9)


def _chosen(challenges: Sequence[Challenge]) -> Challenge | None:
    """The one to answer: the first that tells where tokens are, else the first for a password."""
    bearer = [each for each in challenges if each.scheme == "bearer" and "realm" in each.params]
    basic = [each for each in challenges if each.scheme == "basic"]
    return next(iter(bearer + basic), None)


def _place(challenge: Challenge) -> tuple[str, str, str]:
    """Who gives the tokens, and for what; what was wrong with the last one is left out."""
    return (
        challenge.params.get("realm", ""),
        challenge.params.get("service", ""),
        challenge.params.get("scope", ""),
    )
