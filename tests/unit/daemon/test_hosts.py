from __future__ import annotations

import pytest

from naru.daemon.endpoints import (
    Endpoint,
    EndpointError,
    InheritedEndpoint,
    TcpEndpoint,
    UnixEndpoint,
    parse,
)


@pytest.mark.parametrize(
    ("text", "endpoint"),
    [
        ("", UnixEndpoint("/run/default.sock")),
        ("unix://", UnixEndpoint("/run/default.sock")),
        ("unix:///a/b.sock", UnixEndpoint("/a/b.sock")),
        ("tcp://", TcpEndpoint("localhost", 2375)),
        ("tcp://:7777", TcpEndpoint("localhost", 7777)),
        ("tcp://0.0.0.0", TcpEndpoint("0.0.0.0", 2375)),
        ("tcp://0.0.0.0:0", TcpEndpoint("0.0.0.0", 0)),
        ("0.0.0.0:5555", TcpEndpoint("0.0.0.0", 5555)),
        ("tcp://[::1]:1", TcpEndpoint("::1", 1)),
        ("tcp://[::]", TcpEndpoint("::", 2375)),
        ("fd://", InheritedEndpoint(None)),
        ("fd://*", InheritedEndpoint(None)),
        ("fd://3", InheritedEndpoint(3)),
    ],
)
def test_hosts(text: str, endpoint: Endpoint) -> None:
    assert parse(text, default_socket="/run/default.sock", tls=False) == endpoint


def test_the_port_of_tls() -> None:
    assert parse("tcp://a", default_socket="", tls=True) == TcpEndpoint("a", 2376)


@pytest.mark.parametrize(
    "text",
    ["http://x", "npipe:////./pipe/x", "tcp://a:b", "tcp://a:70000", "tcp://a/b", "tcp://[::1",
     "tcp://[::1]x", "fd://name", "://"],
)  # fmt: skip
def test_what_is_no_host(text: str) -> None:
    with pytest.raises(EndpointError, match="invalid bind address format: "):
        parse(text, default_socket="", tls=False)


@pytest.mark.parametrize(
    ("address", "loopback"),
    [("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("localhost", True),
     ("0.0.0.0", False), ("192.168.1.1", False), ("::", False), ("example.org", False)],
)  # fmt: skip
def test_loopback(address: str, loopback: bool) -> None:
    assert TcpEndpoint(address, 1).loopback is loopback
