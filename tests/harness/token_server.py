"""A registry's token server (Docker Registry v2 authentication), and a registry that asks for it.

Run as a program in the test's network namespace, it serves, below 127.0.0.1:PORT,

- `GET /token`: a token for who the basic credentials say, or for nobody; with `offline_token` also
  a refresh token;
- `POST /token`: the same for a refresh token (`grant_type=refresh_token`);
- everything else: what the registry behind answers. Of every `revoke_every` requests the last one
  makes all tokens so far void, as if they had expired.

What was asked is in a log: a JSON object for each request.
"""

from __future__ import annotations

import base64
import fnmatch
import http.client
import itertools
import json
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

_HOP = {"connection", "transfer-encoding", "keep-alive"}


class Settings:
    """What the program's one argument, a JSON file, holds."""

    def __init__(self, path: Path) -> None:
        given: dict[str, Any] = json.loads(path.read_text())
        self.folder = path.parent
        self.port: int = given["port"]
        self.registry: int = given["registry"]
        self.service: str = given["service"]
        self.users: dict[str, str] = given["users"]
        self.rights: dict[str, list[list[Any]]] = given["rights"]
        """By user ("" is anybody): patterns of repositories, and what may be done there."""
        self.revoke_every: int = given["revoke_every"]

    @property
    def realm(self) -> str:
        return f"http://127.0.0.1:{self.port}/token"


class Issuer:
    """Signs tokens with the key that the registry trusts."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._key = settings.folder / "token.key"
        lines = (settings.folder / "token.crt").read_text().splitlines()
        self._certificate = "".join(line for line in lines if "CERTIFICATE" not in line)
        self._numbers = itertools.count()

    def access(self, user: str, scopes: list[str]) -> list[dict[str, Any]]:
        """Of what is asked for, what the user may do."""
        granted = []
        for scope in " ".join(scopes).split():
            kind, _, rest = scope.partition(":")
            name, _, actions = rest.rpartition(":")
            allowed = {
                action
                for who in ("", user)
                for pattern, may in self._settings.rights.get(who, ())
                if fnmatch.fnmatchcase(name, pattern)
                for action in may
            }
            found = [action for action in actions.split(",") if action in allowed]
            granted.append({"type": kind, "name": name, "actions": found})
        return granted

    def token(self, user: str, access: list[dict[str, Any]]) -> str:
        now = int(time.time())
        claims = {
            "iss": "tests", "sub": user, "aud": self._settings.service, "exp": now + 300,
            "nbf": now - 300, "iat": now, "jti": str(next(self._numbers)), "access": access,
        }  # fmt: skip
        header = {"typ": "JWT", "alg": "RS256", "x5c": [self._certificate]}
        text = f"{_packed(header)}.{_packed(claims)}"
        signed = subprocess.run(
            ["openssl", "dgst", "-sha256", "-sign", str(self._key)],
            input=text.encode(), capture_output=True, check=True,
        )  # fmt: skip
        return f"{text}.{_base64(signed.stdout)}"


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, settings: Settings) -> None:
        super().__init__(("127.0.0.1", settings.port), Handler)
        self.settings = settings
        self.issuer = Issuer(settings)
        self._log = (settings.folder / "asked.jsonl").open("a", buffering=1)
        self._lock = threading.Lock()
        self._passed = 0
        self._valid: set[str] = set()

    def log(self, **what: object) -> None:
        with self._lock:
            self._log.write(json.dumps(what) + "\n")

    def issued(self, token: str) -> None:
        with self._lock:
            self._valid.add(token)

    def void(self, token: str) -> bool:
        """Whether a token has "expired"; counts the request."""
        every = self.settings.revoke_every
        with self._lock:
            self._passed += 1
            if every and self._passed % every == 0:
                self._valid.clear()
            return bool(every and token and token not in self._valid)


class Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        if urlsplit(self.path).path == "/token":
            self._by_password()
        else:
            self._forward()

    def do_POST(self) -> None:
        if self.path == "/token":
            self._by_refresh_token()
        else:
            self._forward()

    def do_HEAD(self) -> None:
        self._forward()

    do_PUT = do_PATCH = do_DELETE = do_HEAD

    # -- tokens ---------------------------------------------------------------------------------

    def _by_password(self) -> None:
        query = parse_qs(urlsplit(self.path).query)
        scopes = query.get("scope", [])
        given = self.headers.get("Authorization", "").removeprefix("Basic ")
        user, _, password = base64.b64decode(given).decode().partition(":")
        offline = query.get("offline_token") == ["true"]
        self.server.log(by="password", user=user, scopes=scopes, offline=offline,
                        service=query.get("service"))  # fmt: skip
        if user and self.server.settings.users.get(user) != password:
            self._answer(401, {"details": "incorrect username or password"})
        else:
            self._issue(user, scopes, refresh=offline)

    def _by_refresh_token(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        form = {name: values[0] for name, values in parse_qs(body).items()}
        scopes = form.get("scope", "").split()
        user = form.get("refresh_token", "").removeprefix("refresh-")
        self.server.log(by=form.get("grant_type"), user=user, scopes=scopes,
                        service=[form.get("service")])  # fmt: skip
        if user not in self.server.settings.users:
            self._answer(401, {"details": "invalid refresh token"})
        else:
            self._issue(user, scopes, refresh=True)

    def _issue(self, user: str, scopes: list[str], *, refresh: bool) -> None:
        issuer = self.server.issuer
        token = issuer.token(user, issuer.access(user, scopes))
        self.server.issued(token)
        answer: dict[str, Any] = {"token": token, "access_token": token, "expires_in": 300}
        if refresh and user:
            answer["refresh_token"] = f"refresh-{user}"
        self._answer(200, answer)

    def _answer(self, status: int, document: object, **headers: str) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    # -- the registry behind --------------------------------------------------------------------

    def _forward(self) -> None:
        settings = self.server.settings
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if self.server.void(token):
            self.server.log(void=f"{self.command} {urlsplit(self.path).path}")
            challenge = (
                f'Bearer realm="{settings.realm}",service="{settings.service}",'
                'error="invalid_token"'
            )
            problem = {"code": "UNAUTHORIZED", "message": "authentication required"}
            self._answer(401, {"errors": [problem]}, WWW_Authenticate=challenge)
            return
        behind = http.client.HTTPConnection("127.0.0.1", settings.registry)
        behind.request(self.command, self.path, body or None, dict(self.headers.items()))
        answer = behind.getresponse()
        data = answer.read()
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in _HOP:
                self.send_header(name, value)
        if not answer.getheader("Content-Length"):
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
        behind.close()


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _packed(document: object) -> str:
    return _base64(json.dumps(document).encode())


if __name__ == "__main__":
    with Server(Settings(Path(sys.argv[1]))) as server:
        server.serve_forever()
