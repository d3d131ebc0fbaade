"""A narud on private roots, for tests and benchmarks, and the stock docker CLI against it."""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.harness.leaks import GROUP
from tests.harness.netns import NetworkNamespace
from tests.harness.ready import await_ready

BIN = Path(sys.executable).parent
_numbers = itertools.count()
START_TIMEOUT = 60.0


class Daemon:
    """narud in a network namespace of its own. `stop()` leaves nothing behind, or fails."""

    def __init__(
        self,
        root: Path | None = None,
        *,
        options: tuple[str, ...] = (),
        hosts: tuple[str, ...] | None = None,
        program: str = "narud",
        env: dict[str, str] | None = None,
        netns: NetworkNamespace | None = None,
    ) -> None:
        self._made_root = root is None
        self.root = root or Path(tempfile.mkdtemp(prefix="naru-test-"))
        self.socket = self.root / "n.sock"
        self.data_root = self.root / "data"
        self.exec_root = self.root / "exec"
        self.log = self.root / "narud.log"
        self._made_netns = netns is None
        self.netns = netns or NetworkNamespace()
        self._hosts = hosts if hosts is not None else (f"unix://{self.socket}",)
        self._options = options
        self._program = program
        self._env = env or {}
        self.cgroup_parent = f"/{GROUP}-{next(_numbers)}"
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def host(self) -> str:
        return f"unix://{self.socket}"

    def argv(self) -> list[str]:
        hosts = [part for host in self._hosts for part in ("-H", host)]
        return [
            str(BIN / self._program),
            *hosts,
            "--data-root", str(self.data_root),
            "--exec-root", str(self.exec_root),
            "-p", str(self.root / "pid"),
            "--config-file", str(self.root / "daemon.json"),
            "--cgroup-parent", self.cgroup_parent,
            *self._options,
        ]  # fmt: skip

    def start(self) -> Daemon:
        """Start narud and return when it says that it serves."""
        config = self.root / "daemon.json"
        if not config.exists():
            config.write_text("{}")
        log_from = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.netns.command(*self.argv()),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **self._env},
                start_new_session=True,
            )
        await_ready(self.process, self.log, after=log_from, timeout=START_TIMEOUT)
        return self

    def docker(
        self,
        *argv: str,
        input: str | bytes | None = None,
        check: bool = True,
        timeout: float = 120,
        env: dict[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run the stock docker CLI against this daemon."""
        return self._client(["docker", "-H", self.host, *argv], input, check, timeout, env)

    def naru(
        self,
        *argv: str,
        input: str | bytes | None = None,
        check: bool = True,
        timeout: float = 120,
        env: dict[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run Naru's own client against this daemon."""
        return self._client([str(BIN / "naru"), "-H", self.host, *argv], input, check, timeout, env)

    def _client(
        self,
        argv: list[str],
        input: str | bytes | None,
        check: bool,
        timeout: float,
        env: dict[str, str] | None,
    ) -> subprocess.CompletedProcess[str]:
        clean = {k: v for k, v in os.environ.items() if k not in ("DOCKER_HOST", "NARU_HOST")}
        done = subprocess.run(
            argv,
            input=input.encode() if isinstance(input, str) else input,
            stdin=subprocess.DEVNULL if input is None else None,
            capture_output=True,
            timeout=timeout,
            check=False,
            env={**clean, "DOCKER_CONFIG": str(self.root / "client"), **(env or {})},
        )
        result = subprocess.CompletedProcess(
            argv,
            done.returncode,
            done.stdout.decode(errors="replace"),
            done.stderr.decode(errors="replace"),
        )
        if check and result.returncode != 0:
            raise AssertionError(
                f"{' '.join(argv[3:])} exited {result.returncode}\n"
                f"stdout: {result.stdout}\nstderr: {result.stderr}\n"
                f"narud: {self.log.read_text(errors='replace')[-3000:]}"
            )
        return result

    def make_busybox(self, name: str = "busybox") -> None:
        """Import Debian's busybox-static as an image."""
        self.docker("import", "--change", 'CMD ["sh"]', "-", name, input=busybox_tar())

    def kill(self) -> None:
        """kill -9: no chance to clean up."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def terminate(self) -> int:
        """An orderly stop, as a service manager does it -> exit status."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=60)

    def supervisor_pids(self) -> list[int]:
        """The supervisors of this daemon's exec root: one, or none."""
        needle = os.fsencode(str(self.exec_root))
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    command = (entry / "cmdline").read_bytes()
                except OSError:
                    continue
                if b"supervisor" in command and needle in command:
                    found.append(int(entry.name))
        return found

    def cgroups(self) -> list[Path]:
        """The groups that hold its containers' groups, one in each hierarchy."""
        name, top = self.cgroup_parent.lstrip("/"), Path("/sys/fs/cgroup")
        return [path for path in (top / name, *top.glob(f"*/{name}")) if path.is_dir()]

    def stop(self) -> None:
        """Remove every container, end the daemon, and take the roots away."""
        try:
            if self.process is not None:
                if self.process.poll() is not None:
                    self.start()
                ids = self.docker("ps", "-aq", check=False).stdout.split()
                if ids:
                    self.docker("rm", "-f", "-v", *ids, check=False, timeout=120)
                self.terminate()
        finally:
            self._end_by_force()
            self.clear_away()

    def _end_by_force(self) -> None:
        """What an orderly stop has not ended, or was interrupted before it could."""
        if self.process is not None and self.process.poll() is None:
            self.kill()
            for pid in self.supervisor_pids():
                os.kill(pid, signal.SIGKILL)

    def clear_away(self) -> None:
        """What the harness has made for a daemon that has ended."""
        for group in self.cgroups():
            with contextlib.suppress(OSError):  # one with groups in it is left, and reported
                group.rmdir()
        if self._made_netns:
            self.netns.close()
        if self._made_root:
            shutil.rmtree(self.root, ignore_errors=True)


_busybox: bytes | None = None


def busybox_tar() -> bytes:
    """The root file system of scripts/base-image, as a tar."""
    global _busybox
    if _busybox is None:
        script = Path(__file__).resolve().parents[2] / "scripts" / "base-image"
        _busybox = subprocess.run([str(script)], capture_output=True, check=True).stdout
    return _busybox
