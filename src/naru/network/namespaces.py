"""Network namespaces: made ahead by one thread, given a name in the file system when taken.

A new namespace costs milliseconds with long tails (measured: 7-23 ms), so a few wait ready, with
loopback up, Docker's sysctls set and the sockets open that later configure them from outside. No
other thread ever changes its namespace; the threads that enter an existing one end afterwards.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import queue
import socket
import struct
import threading
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TypeVar

import msgspec

from naru.kernel.syscalls import checked, libc
from naru.network.nfnetlink import Transactions
from naru.network.rtnetlink import RouteSocket, link_up

T = TypeVar("T")

_CLONE_NEWNET = 0x40000000
_MS_BIND = 0x1000
_MNT_DETACH = 2
_SIOCGIFINDEX = 0x8933
_LOOPBACK_INDEX = 1
_NSFS_MAGIC = 0x6E736673
_STATFS_SIZE = 256  # more than struct statfs has; f_type comes first

_SYSCTLS = {
    # Docker's defaults since 20.10: services need no capability to bind port 80, nor to ping.
    "ipv4/ip_unprivileged_port_start": "0",
    "ipv4/ping_group_range": "0 2147483647",
    # Addresses are given, not made up: no link-local address, and no traffic to announce it.
    "ipv6/conf/default/addr_gen_mode": "1",
}


class Namespace(msgspec.Struct, frozen=True):
    """A network namespace and the sockets that were opened inside it."""

    fd: int
    routes: RouteSocket
    datagram: socket.socket  # UDP, unbound: for the resolver, and to ask for interface indexes
    stream: socket.socket  # TCP, unbound: for the resolver
    firewall: Transactions | None  # None where the kernel has no nf_tables

    def interface_index(self, name: str) -> int:
        request = struct.pack("16si12x", name.encode(), 0)
        answer = fcntl.ioctl(self.datagram, _SIOCGIFINDEX, request)
        index: int = struct.unpack("16si12x", answer)[1]
        return index

    def close(self) -> None:
        """Let go of it: with its last process gone too, the kernel takes it down with its links."""
        self.routes.close()
        self.datagram.close()
        self.stream.close()
        if self.firewall is not None:
            self.firewall.close()
        with suppress(OSError):
            os.close(self.fd)


class NamespacePool:
    """Ready namespaces. `take` never waits for more than the making of one."""

    def __init__(self, size: int = 4) -> None:
        self._ready: queue.SimpleQueue[Namespace | BaseException] = queue.SimpleQueue()
        self._orders: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._make, name="naru-netns", daemon=True)
        self._size = size
        self._closed = False

    def start(self) -> None:
        self._thread.start()
        for _ in range(self._size):
            self._orders.put(True)

    def take(self) -> Namespace:
        """A fresh namespace, waiting only when the pool ran dry; `OSError` if none can be made."""
        found = self._ready.get()
        if isinstance(found, BaseException):
            self._orders.put(True)
            raise found
        return found

    def replace_taken(self) -> None:
        """Have one more made: called once the taker's own work is done, not beside it."""
        self._orders.put(True)

    def close(self) -> None:
        if self._closed or not self._thread.is_alive():
            return
        self._closed = True
        self._orders.put(False)
        self._thread.join()
        while not self._ready.empty():
            found = self._ready.get()
            if isinstance(found, Namespace):
                found.close()

    def _make(self) -> None:
        while self._orders.get():
            try:
                self._ready.put(_fresh())
            except OSError as error:
                self._ready.put(error)


def name(namespace: Namespace, path: Path) -> None:
    """Give it a path that an OCI runtime can join, and that keeps it when the daemon dies."""
    with open(path, "xb"):
        pass
    try:
        source = f"/proc/self/fd/{namespace.fd}".encode()
        checked(
            libc.mount(source, os.fsencode(path), b"none", ctypes.c_ulong(_MS_BIND), None),
            "mount network namespace",
            str(path),
        )
    except OSError:
        path.unlink()
        raise


def unname(path: Path) -> None:
    """Remove the path; one that is gone already is no error."""
    while libc.umount2(os.fsencode(path), _MNT_DETACH) == 0:
        pass
    path.unlink(missing_ok=True)


def is_namespace(path: Path) -> bool:
    """Is a namespace mounted at `path`, or is it the empty file that a reboot leaves?"""
    buffer = ctypes.create_string_buffer(_STATFS_SIZE)
    if libc.statfs(os.fsencode(path), buffer) != 0:
        return False
    return ctypes.c_long.from_buffer(buffer).value == _NSFS_MAGIC


def open_existing(path: Path) -> Namespace:
    """The namespace at `path`, with fresh sockets inside; `OSError` when there is none."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return inside(fd, lambda: _with_sockets(fd))
    except BaseException:
        os.close(fd)
        raise


def inside(fd: int, work: Callable[[], T]) -> T:
    """Run `work` in a namespace, by a thread that ends with it."""
    outcome: list[T] = []
    failure: list[BaseException] = []

    def enter() -> None:
        try:
            checked(libc.setns(fd, _CLONE_NEWNET), "setns")
            outcome.append(work())
        except BaseException as error:
            failure.append(error)

    thread = threading.Thread(target=enter, name="naru-enter-netns", daemon=True)
    thread.start()
    thread.join()
    if failure:
        raise failure[0]
    return outcome[0]


def _fresh() -> Namespace:
    """A new namespace; the calling thread is in it afterwards."""
    checked(libc.unshare(_CLONE_NEWNET), "unshare network namespace")
    fd = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        namespace = _with_sockets(fd)
    except BaseException:
        os.close(fd)
        raise
    try:
        namespace.routes.call(link_up(_LOOPBACK_INDEX))
        for key, value in _SYSCTLS.items():
            with suppress(FileNotFoundError):  # a kernel without it
                Path("/proc/sys/net", key).write_text(value)
    except BaseException:
        namespace.close()
        raise
    return namespace


def _with_sockets(fd: int) -> Namespace:
    """Open the sockets in the calling thread's namespace."""
    with ExitStack() as undo:
        routes = RouteSocket()
        undo.callback(routes.close)
        datagram = undo.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        stream = undo.enter_context(socket.socket(socket.AF_INET, socket.SOCK_STREAM))
        firewall: Transactions | None = None
        with suppress(OSError):
            firewall = Transactions()
        undo.pop_all()
        return Namespace(fd, routes, datagram, stream, firewall)
