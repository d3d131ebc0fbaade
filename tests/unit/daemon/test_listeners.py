from __future__ import annotations

import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from naru.daemon import config as configuration
from naru.daemon import listeners
from naru.daemon.listeners import Listener, ListenError
from naru.daemon.options import NARUD

Bind = Callable[..., list[Listener]]


@pytest.fixture
def bind(tmp_path: Path) -> Iterator[Bind]:
    bound: list[Listener] = []

    def bind_hosts(*hosts: str, extra: list[str] | None = None) -> list[Listener]:
        arguments = [f"--host={host}" for host in hosts] + (extra or ["-G", "0"])
        given = configuration.command_line(arguments).given
        config = configuration.load(NARUD, given, environ={"HOME": str(tmp_path)})
        fresh = listeners.bind(config, {})
        bound.extend(fresh)
        return fresh

    yield bind_hosts
    for listener in bound:
        listener.remove()


def test_a_unix_socket_has_its_mode_and_is_removed(bind: Bind, tmp_path: Path) -> None:
    path = tmp_path / "deep" / "er" / "n.sock"
    [listener] = bind(f"unix://{path}")
    state = path.stat()
    assert stat.S_ISSOCK(state.st_mode)
    assert stat.S_IMODE(state.st_mode) == 0o660
    assert listener.name == str(path)
    listener.remove()
    assert not path.exists()
    listener.remove()


def test_a_stale_socket_is_replaced(bind: Bind, tmp_path: Path) -> None:
    path = tmp_path / "n.sock"
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
    [listener] = bind(f"unix://{path}")
    listener.sock.listen()
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))


def test_a_socket_in_use_is_left_alone(bind: Bind, tmp_path: Path) -> None:
    path = tmp_path / "n.sock"
    with socket.socket(socket.AF_UNIX) as alive:
        alive.bind(str(path))
        alive.listen()
        with pytest.raises(ListenError, match="another daemon is listening"):
            bind(f"unix://{path}")
        assert path.exists()


def test_a_file_in_the_way_is_left_alone(bind: Bind, tmp_path: Path) -> None:
    path = tmp_path / "n.sock"
    path.write_text("mine")
    with pytest.raises(ListenError, match="can't create unix socket"):
        bind(f"unix://{path}")
    assert path.read_text() == "mine"


def test_a_successors_socket_is_not_removed(bind: Bind, tmp_path: Path) -> None:
    path = tmp_path / "n.sock"
    [first] = bind(f"unix://{path}")
    path.rename(tmp_path / "moved.sock")
    [second] = bind(f"unix://{path}")
    first.remove()
    assert path.exists()
    second.remove()
    assert not path.exists()


def test_an_unknown_group_is_an_error(bind: Bind, tmp_path: Path) -> None:
    with pytest.raises(ListenError, match="nobody-knows: group not found"):
        bind(f"unix://{tmp_path}/n.sock", extra=["-G", "nobody-knows"])


def test_several_hosts_and_none_left_after_an_error(bind: Bind, tmp_path: Path) -> None:
    unix, tcp = bind(f"unix://{tmp_path}/a.sock", "tcp://127.0.0.1:0")
    assert unix.path == f"{tmp_path}/a.sock"
    assert tcp.path is None
    port = tcp.sock.getsockname()[1]
    assert tcp.name == f"127.0.0.1:{port}"
    tcp.sock.listen()
    with pytest.raises(ListenError, match=f"listen tcp://127.0.0.1:{port}: bind: Address already"):
        bind(f"unix://{tmp_path}/b.sock", f"tcp://127.0.0.1:{port}")
    assert not (tmp_path / "b.sock").exists()


def test_the_same_host_twice_is_one_socket(bind: Bind, tmp_path: Path) -> None:
    assert len(bind(f"unix://{tmp_path}/a.sock", f"unix://{tmp_path}/a.sock")) == 1


@pytest.mark.parametrize(("host", "loud"), [("127.0.0.1", False), ("0.0.0.0", True)])
def test_plain_tcp_warns(
    bind: Bind, caplog: pytest.LogCaptureFixture, host: str, loud: bool
) -> None:
    bind(f"tcp://{host}:0")
    assert "without --tlsverify is insecure" in caplog.text
    assert ("WARNING: API is accessible" in caplog.text) is loud


def test_tls_needs_its_files(bind: Bind) -> None:
    with pytest.raises(ListenError, match="could not load X509 key pair"):
        bind("tcp://127.0.0.1:0", extra=["--tls", "--tlscert=/no/cert", "--tlskey=/no/key"])


def test_socket_activation_without_systemd(bind: Bind) -> None:
    with pytest.raises(ListenError, match="no sockets found via socket activation"):
        bind("fd://")


_CHILD = """
import os, sys
from naru.daemon import config, listeners
from naru.daemon.options import NARUD
os.environ["LISTEN_PID"] = str(os.getpid())
os.environ["LISTEN_FDS"] = sys.argv[1]
given = config.command_line(sys.argv[2:]).given
try:
    bound = listeners.bind(config.load(NARUD, given))
except listeners.ListenError as error:
    sys.exit(str(error))
print(len(bound), os.environ.get("LISTEN_FDS"), *(b.sock.fileno() for b in bound))
"""


@pytest.mark.parametrize(
    ("host", "answer"),
    [("fd://", "2 None 3 4"), ("fd://4", "1 None 4"), ("fd://9", None)],
)
def test_socket_activation(tmp_path: Path, host: str, answer: str | None) -> None:
    with socket.socket(socket.AF_UNIX) as one, socket.socket(socket.AF_UNIX) as two:
        one.bind(str(tmp_path / "one"))
        two.bind(str(tmp_path / "two"))
        # Through high numbers, for one of the sources may itself be 3 or 4.
        shuffle = (
            f"exec 200<&{one.fileno()} 201<&{two.fileno()}; exec 3<&200 4<&201;"
            ' exec 200<&- 201<&-; exec "$@"'
        )
        done = subprocess.run(
            ["bash", "-c", shuffle, "-", sys.executable, "-c", _CHILD, "2", "-H", host],
            pass_fds=[one.fileno(), two.fileno()],
            capture_output=True,
            text=True,
            check=False,
        )
    if answer is None:
        assert "no socket 9 found via socket activation" in done.stderr
    else:
        assert done.stdout.strip() == answer, done.stderr
