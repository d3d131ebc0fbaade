"""A container cannot undo the limit of its disk space: not even as root, with its own files."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest
from tests.harness.daemon import Daemon
from tests.harness.loopdisk import NoDisk, loop_disk

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

PYTHON = os.path.realpath(sys.executable)
ESCAPE = """
import errno, fcntl, json, os, struct, sys
os.setgroups([])
os.setresgid(*[int(sys.argv[1])] * 3)
os.setresuid(*[int(sys.argv[1])] * 3)
fd = 3  # a directory of the container
said = {}
def ask(name, request, data):
    try:
        fcntl.ioctl(fd, request, data)
        said[name] = "done"
    except OSError as error:
        said[name] = errno.errorcode[error.errno]
attributes = bytearray(28)
ask("get project", 0x801C581F, attributes)
attributes[12:16] = bytes(4)
ask("set project", 0x401C5820, attributes)
ask("subvolume", 0x5000940E, bytearray(struct.pack("=q4088s", 0, b"sub")))
try:
    place = os.open("sub", os.O_RDONLY | os.O_DIRECTORY, dir_fd=fd)
except OSError:
    place = fd
out = os.open("big", os.O_CREAT | os.O_WRONLY, dir_fd=place)
said["written"] = 0
try:
    for _ in range(60):
        said["written"] += os.write(out, bytes(1 << 20))
        os.fsync(out)
except OSError as error:
    said["full"] = errno.errorcode[error.errno]
print(json.dumps(said))
"""

MOST = 26 << 20  # a file system in a file has some spare room beside its 24 MiB

PLACES = {
    "project quota of ext4": ("ext4", ("-O", "quota,project"), "prjquota"),
    "project quota of xfs": ("xfs", (), "pquota"),
    "a file system in a file": ("ext4", (), ""),
    "btrfs": ("btrfs", (), ""),
}


@pytest.mark.parametrize(
    ("place", "driver"),
    [
        ("project quota of ext4", "overlay2"), ("project quota of ext4", "vfs"),
        ("project quota of xfs", "overlay2"), ("project quota of xfs", "overlay"),
        ("a file system in a file", "overlay2"), ("a file system in a file", "vfs"),
        ("btrfs", "btrfs"),
    ],
)  # fmt: skip
def test_no_way_out(place: str, driver: str) -> None:
    kind, make, options = PLACES[place]
    base = os.environ.get("NARU_TEST_STORAGE")
    try:
        with loop_disk(kind, size=1 << 30, base=base, make=make, options=options) as disk:
            daemon = Daemon(disk, options=("-s", driver)).start()
            try:
                daemon.make_busybox()
                for user in ("0:0", "1000:1000"):
                    _stay_inside(daemon, user)
                if driver == "btrfs":
                    # Who has no limit may make subvolumes, as ever.
                    assert _try(daemon, "0:0")["subvolume"] == "done"
            finally:
                daemon.stop()
    except NoDisk as reason:
        pytest.skip(str(reason))


def test_a_size_for_all_holds_too(tmp_path: Path) -> None:
    daemon = Daemon(options=("-s", "overlay2", "--storage-opt", "overlay2.size=24m")).start()
    try:
        daemon.make_busybox()
        said = _try(daemon, "0:0")
        assert said["set project"] == said["subvolume"] == "EPERM"
        assert int(said["written"]) <= MOST
    finally:
        # With its layer of mount points, which is limited too, and so a mount.
        daemon.docker("rmi", "-f", "busybox", check=False)
        daemon.stop()


def _stay_inside(daemon: Daemon, user: str) -> None:
    said = _try(daemon, user, "--storage-opt", "size=24m")
    assert said["set project"] == said["subvolume"] == "EPERM", said
    assert int(said["written"]) <= MOST, said
    assert said["full"] in ("ENOSPC", "EDQUOT"), said


def _try(daemon: Daemon, user: str, *options: str) -> dict[str, str | int]:
    """What becomes of all that a process of its own directory's owner can try."""
    into = 'mkdir /own && chown "$0" /own && exec 3</own && exec chroot /host "$@"'
    done = daemon.docker(
        "run", "--rm", *options, "-v", "/:/host:ro", "busybox",
        "sh", "-c", into, user, PYTHON, "-ISc", ESCAPE, user.partition(":")[0],
    )  # fmt: skip
    said: dict[str, str | int] = json.loads(done.stdout)
    return said
