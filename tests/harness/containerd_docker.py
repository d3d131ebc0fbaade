"""A newer Docker, with containerd's image store, out of a folder that holds a Debian.

Debian 12 has none. Such a folder is made, as root, by

    mmdebstrap --variant=minbase \\
        --include=docker.io,docker-cli,docker-buildx,containerd,runc,iptables trixie FOLDER

and `NARU_CONTAINERD_DOCKER` names it. Nothing in it is changed: the daemon has mounts, processes
and data of its own, and its client runs where it does.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from pathlib import Path

from tests.harness.netns import NetworkNamespace
from tests.harness.ready import await_ready

VARIABLE = "NARU_CONTAINERD_DOCKER"
_DOCKERD = "usr/sbin/dockerd"

# $1 is the Debian, $2 a folder for the daemon's own files, which it sees as /mnt.
_START = f"""\
set -e
mount --bind "$1" "$1"
mount --bind "$2" "$1/mnt"
mount -t proc proc "$1/proc"
mount --rbind /sys "$1/sys"
mount --rbind /dev "$1/dev"
mount -t tmpfs tmpfs "$1/run"
mount -t tmpfs tmpfs "$1/tmp"
exec chroot "$1" /{_DOCKERD} -H unix:///mnt/d.sock --data-root /mnt/data --config-file /mnt/conf \\
    --bridge=none --iptables=false --ip6tables=false
"""


def folder() -> Path | None:
    """The Debian, where there is one."""
    named = os.environ.get(VARIABLE)
    return Path(named) if named and (Path(named) / _DOCKERD).exists() else None


class ContainerdDocker:
    """`files` is where the daemon's own are, /mnt to its client; `stop()` leaves only these."""

    def __init__(self, files: Path, netns: NetworkNamespace) -> None:
        debian = folder()
        assert debian is not None, f"{VARIABLE} names no Debian with a dockerd"
        files.mkdir()
        (files / "conf").write_text('{"features": {"containerd-snapshotter": true}}')
        log = files / "log"
        self.files = files
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                netns.command(
                    "unshare", "--mount", "--pid", "--fork", "--kill-child",
                    "sh", "-c", _START, "sh", str(debian), str(files),
                ),
                stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
            )  # fmt: skip
        try:
            await_ready(self._process, log)
            # nsenter and then unshare become each other; what unshare forks is the daemon.
            children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
            self._daemon = int(children.read_text())
        except BaseException:
            self._process.kill()
            self._process.wait()
            raise

    def run(self, *argv: str, input: bytes | None = None) -> bytes:
        """`docker` with `argv` -> what it prints."""
        done = subprocess.run(
            [
                "nsenter", f"--target={self._daemon}", "--mount", "--net", "--root", "--wd",
                "env", "-i", "HOME=/tmp", "PATH=/usr/sbin:/usr/bin:/sbin:/bin",
                "docker", "-H", "unix:///mnt/d.sock", *argv,
            ],
            input=input,
            stdin=subprocess.DEVNULL if input is None else None,
            capture_output=True, check=False, timeout=120,
        )  # fmt: skip
        if done.returncode != 0:
            raise AssertionError(f"docker {' '.join(argv)}: {done.stderr.decode()}")
        return done.stdout

    def image_id(self, name: str) -> str:
        """The digest of the index or manifest that the name stands for."""
        return self.run("image", "inspect", "-f", "{{.Id}}", name).decode().strip()

    def stop(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._daemon, signal.SIGTERM)
        self._process.wait(timeout=60)
