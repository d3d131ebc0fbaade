"""Authorization by challenge: basic, or bearer tokens fetched from the realm a registry names."""

from __future__ import annotations

import re
import time
from collections.abc import Awaitable, Callable, Mapping
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


class _Token(msgspec.Struct):
    token: str = ""
    access_token: str = ""
    refresh_token: str = ""
    expires_in: float = 0.0


Fetch = Callable[[str, str, Mapping[str, str], bytes | None], Awaitable[bytes]]
"""(method, url, headers, form body) -> body of the answer."""


def parse_challenges(values: list[str]) -> list[Challenge]:
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

    def __init__(self, credentials: Credentials, fetch: Fetch) -> None:
        self._credentials = credentials
        self._fetch = fetch
        self._challenge: Challenge | None = None
        self._tokens: dict[tuple[str, ...], tuple[str, float]] = {}
        self.identity_token = credentials.identity_token  # may be renewed by the realm

    async def header(self, scopes: tuple[str, ...]) -> str | None:
        """What to send before being asked; None where the registry asked for nothing yet."""
        if self._credentials.registry_token:
            return f"Bearer {self._credentials.registry_token}"
        if self._challenge is None:
            return None
        if self._challenge.scheme == "basic":
            return self._credentials.basic if self._credentials.username else None
        token, until = self._tokens.get(scopes, ("", 0.0))
        if not token or time.monotonic() >= until:
            token = await self._renew(self._challenge, scopes)
        return f"Bearer {token}"

    async def challenged(self, values: list[str], scopes: tuple[str, ...]) -> bool:
        """Take in a 401's challenges -> whether another attempt makes sense."""
        known = self._challenge
        for scheme in ("bearer", "basic"):
            for challenge in parse_challenges(values):
                if challenge.scheme == scheme and (
                    scheme == "basic" or "realm" in challenge.params
                ):
                    self._challenge = challenge
                    if scheme == "basic":
                        if not self._credentials.username:
                            raise NoCredentials("no basic auth credentials")
                        return known is None or known.scheme != "basic"
                    fresh = scopes not in self._tokens
                    self._tokens.pop(scopes, None)
                    return fresh or known is None or known.params != challenge.params
        return False

    async def _renew(self, challenge: Challenge, scopes: tuple[str, ...]) -> str:
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
            separator = "&" if "?" in realm else "?"
            url = f"{realm}{separator}{urlencode(query)}" if query else realm
            body = await self._fetch("GET", url, headers, None)
        try:
            answer = msgspec.json.decode(body, type=_Token)
        except msgspec.MsgspecError as error:
            raise Unauthorized(f"authorization server gave no token: {error}") from error
        token = answer.token or answer.access_token
        if not token:
            raise Unauthorized("authorization server did not include a token in the response")
        if answer.refresh_token:
            self.identity_token = answer.refresh_token
        life = max(answer.expires_in, _MIN_LIFE)
        self._tokens[scopes] = (token, time.monotonic() + life * 0.9)
        return token
