"""Who the user is to a registry: what `X-Registry-Auth` carries."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass

import msgspec

from naru.spec.errors import InvalidParameter
from naru.spec.jsonfit import fit


@dataclass(frozen=True, slots=True)
class Credentials:
    """`identity_token` is a refresh token, `registry_token` a bearer token used as it is."""

    username: str = ""
    password: str = ""
    identity_token: str = ""
    registry_token: str = ""

    def __repr__(self) -> str:
        return f"<Credentials of {self.username or 'nobody'}>"

    @property
    def basic(self) -> str:
        """The value of an `Authorization` header."""
        pair = f"{self.username}:{self.password}".encode()
        return "Basic " + base64.b64encode(pair).decode()


ANONYMOUS = Credentials()


class AuthConfig(msgspec.Struct, rename="lower"):
    """The Engine API's `AuthConfig`; `auth` is base64 of `user:password`."""

    username: str = ""
    password: str = ""
    auth: str = ""
    email: str = ""
    serveraddress: str = ""
    identitytoken: str = ""
    registrytoken: str = ""

    def credentials(self) -> Credentials:
        username, password = self.username, self.password
        if self.auth and not username:
            try:
                pair = base64.b64decode(self.auth).decode()
            except (binascii.Error, UnicodeDecodeError) as error:
                raise InvalidParameter(f"invalid auth: {error}") from error
            username, _, password = pair.partition(":")
        return Credentials(username, password.strip("\0"), self.identitytoken, self.registrytoken)


def decode_header(value: str) -> Credentials:
    """`X-Registry-Auth`: base64url of a JSON AuthConfig, its members named in any case; none, or an
    empty one, is anonymous."""
    if not value or value == "null":
        return ANONYMOUS
    try:
        # Clients differ in alphabet and padding: both are put right.
        text = value.strip().replace("+", "-").replace("/", "_").rstrip("=")
        data = base64.b64decode(text + "=" * (-len(text) % 4), b"-_", validate=True)
        document = fit(AuthConfig)(msgspec.json.decode(data or b"{}"))
        return msgspec.convert(document, AuthConfig).credentials()
    except (binascii.Error, ValueError, msgspec.MsgspecError) as error:
        raise InvalidParameter(f"invalid X-Registry-Auth header: {error}") from error
