"""Bad requests get Docker's status codes and texts, and the error names the field."""

from __future__ import annotations

import http.client
import json
import socket
from pathlib import Path

import pytest
from tests.harness.daemon import Daemon


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=60)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def call(daemon: Daemon, method: str, path: str, body: object = None) -> tuple[int, str]:
    """One request -> (status, the error's message or the raw text)."""
    connection = UnixConnection(daemon.socket)
    raw = (
        body if isinstance(body, bytes) else json.dumps(body).encode() if body is not None else None
    )
    connection.request(method, path, raw, {"Content-Type": "application/json"})
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    try:
        return answer.status, json.loads(text)["message"]
    except (ValueError, KeyError, TypeError):
        return answer.status, text


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "text"),
    [
        ("GET", "/v1.50/nosuch", None, 404, "page not found"),
        ("GET", "/v1.10/info", None, 400, "client version 1.10 is too old. Minimum supported API version is 1.24"),
        ("GET", "/v9.99/info", None, 400, "client version 9.99 is too new. Maximum supported API version is 1.55"),
        ("POST", "/v1.50/containers/create", b"{not json", 400, "invalid"),
        ("POST", "/v1.50/containers/create", {"Image": 7}, 400, "Image: expected string"),
        ("POST", "/v1.50/containers/create", {"Image": "busybox", "HostConfig": {"NetworkMode": 7}}, 400, "HostConfig.NetworkMode: expected string"),
        ("POST", "/v1.50/containers/create", {"Image": "busybox", "HostConfig": {"Memory": "1g"}}, 400, "HostConfig.Memory: expected integer"),
        ("POST", "/v1.50/containers/create", {"Image": "nosuch"}, 404, "No such image: nosuch:latest"),
        ("POST", "/v1.50/containers/create?name=.bad", {"Image": "busybox"}, 400, "Invalid container name (.bad)"),
        ("POST", "/v1.50/containers/create", {"Image": "busybox", "HostConfig": {"Isolation": "hyperv"}}, 400, "isolation"),
        ("GET", "/v1.50/containers/nosuch/json", None, 404, "No such container: nosuch"),
        ("POST", "/v1.50/containers/nosuch/start", None, 404, "No such container: nosuch"),
        ("GET", "/v1.50/exec/nosuch/json", None, 404, "No such exec instance: nosuch"),
        ("GET", "/v1.50/images/nosuch/json", None, 404, "No such image: nosuch:latest"),
        ("GET", "/v1.50/networks/nosuch", None, 404, "network nosuch not found"),
        ("GET", "/v1.50/volumes/nosuch", None, 404, "get nosuch: no such volume"),
        ("POST", "/v1.50/containers/create", {"Image": "busybox", "HostConfig": {"VolumesFrom": ["nosuch"]}}, 400, "No such container: nosuch"),
        ("POST", "/v1.50/containers/create", {"Image": "busybox", "HostConfig": {"Tmpfs": {"/x": "foo=1"}}}, 400, "invalid tmpfs option \"foo=1\""),
        ("GET", "/v1.50/images/json?filters=%7B%22dangling%22:%5B%22maybe%22%5D%7D", None, 400, "invalid filter 'dangling=[maybe]'"),
        ("POST", "/v1.50/images/create?fromSrc=http://127.0.0.1:1/x", None, 503, "connection refused"),
        ("POST", "/v1.50/build", b"", 501, "docker build is not supported"),
        ("POST", "/v1.50/swarm/init", {}, 501, "swarm mode is not supported"),
        ("GET", "/v1.50/services", None, 503, "This node is not a swarm manager"),
        ("GET", "/v1.50/nodes/self", None, 503, "This node is not a swarm manager"),
        ("GET", "/v1.50/plugins/nosuch/json", None, 404, "plugin \"nosuch\" not found"),
        ("POST", "/v1.50/plugins/pull?remote=x", [], 501, "plugins are not supported"),
        ("GET", "/v1.50/containers/json?limit=many", None, 400, "limit"),
        ("GET", "/v1.50/containers/json?filters=nojson", None, 400, "filters"),
    ],
)  # fmt: skip
def test_is_refused(
    daemon: Daemon, method: str, path: str, body: object, status: int, text: str
) -> None:
    assert call(daemon, method, path, body)[0] == status
    assert text.lower() in call(daemon, method, path, body)[1].lower()


def test_a_request_that_is_no_http_closes_the_connection(daemon: Daemon) -> None:
    with socket.socket(socket.AF_UNIX) as raw:
        raw.settimeout(60)
        raw.connect(str(daemon.socket))
        raw.sendall(b"\x16\x03\x01 not http\r\n\r\n")
        assert raw.recv(4096).startswith(b"HTTP/1.1 400")
    assert call(daemon, "GET", "/_ping") == (200, "OK")


def test_nothing_is_left_after_all_that(daemon: Daemon) -> None:
    assert daemon.docker("ps", "-aq").stdout == ""
