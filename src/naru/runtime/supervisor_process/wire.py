"""What both ends of `<exec-root>/supervisor.sock` agree on (SOCK_SEQPACKET, mode 0600).

A daemon sends one JSON request per datagram, `{"id": N, "op": ...}` with what the operation needs,
and gets one JSON reply with the same `id`. Descriptors go along by SCM_RIGHTS. Exits are sent to
every connected daemon as `{"exit": {...}}`.
"""

from __future__ import annotations

import _socket as socket
import array

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    Json = dict[str, Any]

MAX_MESSAGE = 1 << 18  # bytes
MAX_FDS = 8


def accept(listener: socket.socket) -> socket.socket:
    fd, _ = listener._accept()  # type: ignore[attr-defined]
    return socket.socket(fileno=fd)


def receive(connection: socket.socket) -> tuple[bytes, list[int]]:
    """A message, b"" when the connection has ended, and its descriptors, which are ours now.

    `BlockingIOError`: there is none yet.
    """
    try:
        data, ancillary, _, _ = connection.recvmsg(
            MAX_MESSAGE, socket.CMSG_SPACE(4 * MAX_FDS), socket.MSG_CMSG_CLOEXEC
        )
    except BlockingIOError:
        raise
    except OSError:
        return b"", []
    fds = array.array("i")
    for level, kind, content in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(content[: len(content) - len(content) % fds.itemsize])
    return data, fds.tolist()


def rights(fds: Sequence[int]) -> list[tuple[int, int, array.array[int]]]:
    """What `sendmsg` needs to send copies of `fds` along."""
    return [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
