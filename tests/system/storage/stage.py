"""A daemon with images and containers that use everything a file system has."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import random
import shutil
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.harness.daemon import Daemon
from tests.harness.trees import Tree, tree

SECOND = 1_000_000_000
_LINKED = {
    f"C /srv/{name}" for name in ("small-8", "a", "a/b", "a/b/c", "a/b/c/file", "a/third-name")
}


class Stage:
    def __init__(self, daemon: Daemon) -> None:
        self.daemon = daemon

    def build(self) -> None:
        """Image `base`, image `layered` on it, and a stopped container `changed` of that."""
        self.daemon.make_busybox("base")
        with self.running("base", name="builder") as root:
            lay(root)
        self.daemon.docker("commit", "builder", "layered")
        self.daemon.docker("rm", "builder")
        with self.running("layered", name="changed") as root:
            change(root)

    @contextmanager
    def running(self, image: str, *, name: str = "") -> Iterator[Path]:
        """The root of a container that sleeps: a new one of `image`, or `name` alone."""
        docker = self.daemon.docker
        if image:
            named = ["--name", name] if name else []
            ref = docker("run", "-d", *named, image, "sleep", "1000").stdout.strip()
        else:
            docker("start", name)
            ref = name
        try:
            yield self.merged(ref)
        finally:
            docker("kill", ref)
            docker("wait", ref)
            if image and not name:
                docker("rm", ref)

    def merged(self, ref: str) -> Path:
        """A running container's root, seen through the daemon's own mounts."""
        assert self.daemon.process is not None
        full = self.daemon.docker("inspect", "-f", "{{.Id}}", ref).stdout.strip()
        path = self.daemon.data_root / self.driver() / full / "merged"
        return Path(f"/proc/{self.daemon.process.pid}/root{path}")

    def driver(self) -> str:
        return self.daemon.docker("info", "-f", "{{.Driver}}").stdout.strip()

    def image_tree(self, image: str) -> Tree:
        with self.running(image) as root:
            return tree(root)

    def container_tree(self, name: str) -> Tree:
        with self.running("", name=name) as root:
            return tree(root)

    def trees(self) -> dict[str, Tree]:
        return {
            "base": self.image_tree("base"),
            "layered": self.image_tree("layered"),
            "changed": self.container_tree("changed"),
        }

    def diff(self, name: str) -> list[str]:
        """Without what a driver may see or not: files that got or lost a name are copied by some."""
        lines = self.daemon.docker("diff", name).stdout.splitlines()
        return sorted(set(lines) - _LINKED)

    def migrate(self, *argv: str, check: bool = True, timeout: float = 500) -> str:
        done = self.daemon.naru("storage", "migrate", *argv, check=check, timeout=timeout)
        return done.stdout + done.stderr

    def drivers_of_records(self) -> set[str]:
        ids = self.daemon.docker("ps", "-aq", "--no-trunc").stdout.split()
        shown = json.loads(self.daemon.docker("inspect", *ids).stdout) if ids else []
        return {each["GraphDriver"]["Name"] for each in shown}


def lay(root: Path) -> None:
    """An image layer's worth of kinds of files."""
    deep = root / "srv" / "a" / "b" / "c"
    deep.mkdir(parents=True)
    (deep / "file").write_bytes(random.Random(1).randbytes(300_000))
    os.link(deep / "file", root / "srv" / "second-name")
    os.link(deep / "file", root / "srv" / "a" / "third-name")
    (root / "srv" / "link").symlink_to("a/b/c/file")
    os.mkfifo(root / "srv" / "fifo", 0o620)
    os.mknod(root / "srv" / "device", stat.S_IFCHR | 0o640, os.makedev(1, 3))
    for number in range(40):
        (root / "srv" / f"small-{number}").write_text(f"{number}\n" * number)
    (root / "opt").mkdir()
    (root / "opt" / "old").mkdir()
    (root / "opt" / "old" / "inside").write_text("below")
    (root / "opt" / "becomes-file").mkdir()
    (root / "opt" / "becomes-file" / "x").write_text("x")
    (root / "opt" / "becomes-directory").write_text("y")
    (root / "opt" / "setuid").write_text("#!/bin/sh\n")
    os.chown(root / "opt" / "setuid", 12, 34)
    os.chmod(root / "opt" / "setuid", 0o4755)
    os.setxattr(root / "opt" / "setuid", "user.colour", b"blue\0green")
    os.setxattr(root / "bin" / "busybox", "security.capability", bytes.fromhex(
        "0100000200040000000000000000000000000000"
    ))  # fmt: skip
    with (root / "opt" / "sparse").open("wb") as file:
        file.seek(5 << 20)
        file.write(b"end")
    os.utime(root / "opt" / "sparse", ns=(7 * SECOND, 1_234_567_890_123_456_789))


def change(root: Path) -> None:
    """What a container may do to all that: whiteouts, opaque directories, copies, new names."""
    (root / "srv" / "small-1").unlink()
    (root / "srv" / "small-2").write_text("another\n")
    os.chmod(root / "srv" / "small-3", 0o600)
    os.chown(root / "srv" / "small-4", 1000, 1000)
    os.setxattr(root / "srv" / "small-5", "user.note", b"added")
    os.utime(root / "srv" / "small-6", ns=(1, 2_345_678_901))
    # The same size and time as before: only the contents tell.
    status = os.stat(root / "srv" / "small-7")
    with (root / "srv" / "small-7").open("r+") as file:
        file.write("8")
    os.utime(root / "srv" / "small-7", ns=(status.st_atime_ns, status.st_mtime_ns))
    os.link(root / "srv" / "small-8", root / "srv" / "small-8-again")
    os.rename(root / "srv" / "small-9", root / "srv" / "renamed")
    (root / "srv" / "second-name").unlink()
    (root / "srv" / "second-name").write_text("a file of its own")
    # A directory with the name of one that was deleted shows nothing of it.
    shutil.rmtree(root / "opt" / "old")
    (root / "opt" / "old").mkdir(mode=0o710)
    (root / "opt" / "old" / "new").write_text("above")
    shutil.rmtree(root / "opt" / "becomes-file")
    (root / "opt" / "becomes-file").write_text("now a file")
    (root / "opt" / "becomes-directory").unlink()
    (root / "opt" / "becomes-directory").mkdir()
    (root / "opt" / "becomes-directory" / "z").symlink_to("/nowhere")
    (root / "new").mkdir()
    (root / "new" / "one").write_bytes(random.Random(2).randbytes(100_000))
    os.link(root / "new" / "one", root / "new" / "two")
    os.mkfifo(root / "new" / "fifo")
    with socket.socket(socket.AF_UNIX) as listener:
        previous = os.getcwd()
        try:
            os.chdir(root / "new")
            listener.bind("socket")
        finally:
            os.chdir(previous)
    os.chmod(root, 0o751)
    os.setxattr(root, "user.root", b"of the container")
    os.utime(root / "opt", ns=(5, 1_111_111_111_111_111_111))


def settle_times(root: Path, since: int) -> None:
    """Give all that was changed `since` (ns) one time: what two who did the same can compare."""
    for folder, folders, files in os.walk(root, topdown=False):
        for path in (*(f"{folder}/{name}" for name in (*folders, *files)), folder):
            if os.lstat(path).st_mtime_ns >= since:
                os.utime(path, ns=(1, 3_333_333_333_333_333_333), follow_symlinks=False)


class Messages:
    """The migration's progress, message by message, over the API itself."""

    def __init__(self, daemon: Daemon, **wanted: object) -> None:
        self._connection = http.client.HTTPConnection("narud")
        self._connection.sock = socket.socket(socket.AF_UNIX)
        self._connection.sock.settimeout(100)
        self._connection.sock.connect(str(daemon.socket))
        headers = {"Content-Type": "application/json"}
        self._connection.request("POST", "/naru/storage/migrate", json.dumps(wanted), headers)
        self._answer = self._connection.getresponse()
        self.status = self._answer.status

    def __iter__(self) -> Iterator[dict[str, str]]:
        while line := self._answer.readline():
            yield json.loads(line)

    def __enter__(self) -> Messages:
        return self

    def __exit__(self, *_: object) -> None:
        self._answer.close()
        self._connection.close()


def kill_when(stage: Stage, text: str, count: int = 1, *, to: str = "vfs") -> bool:
    """kill -9 the daemon at the count-th message whose status begins with `text` -> whether."""
    with (
        Messages(stage.daemon, To=to) as messages,
        contextlib.suppress(http.client.HTTPException),
    ):
        for message in messages:
            if message.get("error"):
                assert "not supported" in message["error"], message
                return False
            if message["status"].startswith(text):
                count -= 1
                if not count:
                    stage.daemon.kill()
                    return True
    return False
