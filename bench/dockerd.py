"""Debian's dockerd 20.10 on private roots, in a network namespace of its own: the yardstick."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

from tests.harness.daemon import busybox_tar
from tests.harness.netns import NetworkNamespace
from tests.harness.ready import await_ready

DOCKERD = "/usr/sbin/dockerd"
"""Not what PATH says: that may be Naru's own alias."""


class Dockerd:
    """The real thing, with its containerd; `stop()` leaves nothing behind."""

    name = "dockerd"

    def __init__(self, *options: str, netns: NetworkNamespace | None = None) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="naru-test-dockerd-"))
        self.host = f"unix://{self.root}/d.sock"
        self.log = self.root / "dockerd.log"
        self._made_netns = netns is None
        self.netns = netns or NetworkNamespace()
        self._options = options
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> Dockerd:
        """Start and return once it says that it serves."""
        (self.root / "daemon.json").write_text("{}")
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                self.netns.command(
                    DOCKERD,
                    "-H", self.host,
                    "--data-root", str(self.root / "data"),
                    "--exec-root", str(self.root / "exec"),
                    "-p", str(self.root / "pid"),
                    "--config-file", str(self.root / "daemon.json"),
                    *self._options,
                ),
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        await_ready(self.process, self.log)
        return self

    def docker(self, *argv: str, input: bytes | None = None, check: bool = True) -> str:
        done = subprocess.run(
            ["docker", "-H", self.host, *argv], input=input, capture_output=True, check=False
        )
        if check and done.returncode != 0:
            raise RuntimeError(f"docker {' '.join(argv)}: {done.stderr.decode()}")
        return done.stdout.decode()

    def make_busybox(self) -> None:
        self.docker("import", "--change", 'CMD ["sh"]', "-", "busybox", input=busybox_tar())

    def terminate(self) -> None:
        assert self.process is not None
        self.process.terminate()
        self.process.wait(timeout=60)

    def stop(self) -> None:
        try:
            if self.process is not None and self.process.poll() is None:
                ids = self.docker("ps", "-aq", check=False).split()
                if ids:
                    self.docker("rm", "-f", "-v", *ids, check=False)
                self.terminate()
        finally:
            if self._made_netns:
                self.netns.close()
            shutil.rmtree(self.root, ignore_errors=True)
