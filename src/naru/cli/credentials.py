"""config.json: credentials for registries, as login left them, and the detach keys.

Helpers (`credsStore`, `credHelpers`) are programs `docker-credential-NAME`.
"""

from __future__ import annotations

import binascii
import os

from naru.cli.failures import CliError
from naru.cli.jsontext import dumps, indent, loads
from naru.cli.reference import AUTH_KEY, DEFAULT_REGISTRY

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Config:
    """The client's config.json; missing is empty."""

    def __init__(self, folder: str) -> None:
        self.path = os.path.join(folder, "config.json")
        self.values: dict[str, Any] = {}
        try:
            with open(self.path, "rb") as file:
                self.values = loads(file.read()) or {}
        except FileNotFoundError:
            pass
        except (OSError, ValueError) as error:
            raise CliError(f"Error loading config file: {self.path}: {error}") from None

    def save(self) -> None:
        os.makedirs(os.path.dirname(self.path), mode=0o700, exist_ok=True)
        part = f"{self.path}.{os.getpid()}"
        with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(indent(dumps(self.values), "\t"))
        os.replace(part, self.path)

    def credentials(self, registry: str) -> dict[str, str]:
        """{username, password, serveraddress} or {identitytoken, ...}; empty when not logged in."""
        key = auth_key(registry)
        helper = (self.values.get("credHelpers") or {}).get(registry) or self.values.get(
            "credsStore"
        )
        if helper:
            return _ask_helper(helper, key)
        for name, entry in (self.values.get("auths") or {}).items():
            if name == key or _host(name) == _host(key):
                made = {"serveraddress": key}
                if entry.get("auth"):
                    user, _, password = decode(entry["auth"]).partition(":")
                    made.update(username=user, password=password)
                if entry.get("identitytoken"):
                    made["identitytoken"] = entry["identitytoken"]
                return made
        return {}

    def store(self, registry: str, username: str, password: str, token: str) -> None:
        entry = {"auth": encode(f"{username}:{password}")}
        if token:
            entry = {"auth": encode(f"{username}:"), "identitytoken": token}
        self.values.setdefault("auths", {})[auth_key(registry)] = entry
        self.save()

    def erase(self, registry: str) -> bool:
        auths = self.values.get("auths") or {}
        if auths.pop(auth_key(registry), None) is None:
            return False
        self.save()
        return True


def auth_key(registry: str) -> str:
    if registry in (DEFAULT_REGISTRY, "index.docker.io", "", AUTH_KEY):
        return AUTH_KEY
    return registry


def _host(name: str) -> str:
    return name.partition("://")[2].partition("/")[0] if "://" in name else name.partition("/")[0]


def encode(text: str) -> str:
    return binascii.b2a_base64(text.encode(), newline=False).decode()


def decode(text: str) -> str:
    return binascii.a2b_base64(text).decode("utf-8", "replace").rstrip("\0")


def header(value: dict[str, Any]) -> str:
    """A value for X-Registry-Auth: JSON in URL-safe base64."""
    return encode(dumps(value)).replace("+", "-").replace("/", "_")


def _ask_helper(name: str, key: str) -> dict[str, str]:
    import subprocess

    try:
        answer = subprocess.run(
            [f"docker-credential-{name}", "get"],
            input=key.encode(),
            capture_output=True,
            check=False,
        )
    except OSError as error:
        raise CliError(f"error getting credentials - err: {error}") from None
    if answer.returncode:
        return {}
    found = loads(answer.stdout)
    if found.get("Username") == "<token>":
        return {"identitytoken": found["Secret"], "serveraddress": key}
    return {"username": found["Username"], "password": found["Secret"], "serveraddress": key}
