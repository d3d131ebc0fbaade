"""naru, dockerd and podman beside a registry, in one network namespace: what images go between."""

from __future__ import annotations

import contextlib
import hashlib
import subprocess
from pathlib import Path
from typing import Protocol

from bench.dockerd import Dockerd

from tests.harness.daemon import Daemon
from tests.harness.netns import NetworkNamespace
from tests.harness.registry import Registry


class Engine(Protocol):
    def run(self, *argv: str, input: bytes | None = None) -> bytes: ...

    def image_id(self, name: str) -> str: ...


class Docker:
    """The stock client on one of the daemons."""

    def __init__(self, host: str, config: Path) -> None:
        self.argv = ["docker", "--config", str(config), "-H", host]

    def run(self, *argv: str, input: bytes | None = None) -> bytes:
        return _run([*self.argv, *argv], input)

    def fails(self, *argv: str) -> str:
        done = subprocess.run(
            [*self.argv, *argv],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            timeout=100,
        )
        assert done.returncode != 0, done.stdout
        return done.stderr.decode()

    def image_id(self, name: str) -> str:
        return self.run("image", "inspect", "-f", "{{.Id}}", name).decode().strip()


class Podman:
    def __init__(self, root: Path, netns: NetworkNamespace) -> None:
        self.argv = netns.command(
            "podman", "--root", f"{root}/root", "--runroot", f"{root}/run",
            "--storage-driver", "vfs", "--cgroup-manager", "cgroupfs",
        )  # fmt: skip

    def run(self, *argv: str, input: bytes | None = None) -> bytes:
        return _run([*self.argv, *argv], input)

    def image_id(self, name: str) -> str:
        found = self.run("image", "inspect", "-f", "{{.Id}}", name).decode().strip()
        return f"sha256:{found.removeprefix('sha256:')}"


class World:
    def __init__(self, root: Path) -> None:
        self.root = root
        with contextlib.ExitStack() as undo:
            self.netns = undo.enter_context(contextlib.closing(NetworkNamespace()))
            self.registry = undo.enter_context(
                contextlib.closing(Registry(root / "registry", self.netns))
            )
            dockerd = Dockerd("--bridge=none", "--iptables=false", netns=self.netns)
            undo.callback(dockerd.stop)
            naru = Daemon(netns=self.netns)
            undo.callback(naru.stop)
            self.naru = Docker(naru.host, root / "naru-client")
            self.dockerd = Docker(dockerd.host, root / "docker-client")
            self.podman = Podman(root / "podman", self.netns)
            naru.start()
            dockerd.start()
            undo.callback(self.podman.run, "rmi", "-fa")
            undo.callback(self.podman.run, "rm", "-fa")
            self._undo = undo.pop_all()

    def close(self) -> None:
        self._undo.close()

    def engine(self, name: str) -> Engine:
        found: Engine = getattr(self, name)
        return found

    def name(self, path: str) -> str:
        return f"{self.registry.address}/{path}"

    def skopeo(self, *argv: str) -> bytes:
        return _run(self.netns.command("skopeo", "--insecure-policy", *argv), None)

    def digest(self, name: str) -> str:
        raw = self.skopeo("inspect", "--raw", "--tls-verify=false", f"docker://{name}")
        return "sha256:" + hashlib.sha256(raw).hexdigest()

    def pull(self, engine: str, name: str) -> None:
        insecure = ["--tls-verify=false"] if engine == "podman" else []
        self.engine(engine).run("pull", "-q", *insecure, name)

    def push(self, engine: str, name: str) -> None:
        insecure = ["--tls-verify=false"] if engine == "podman" else []
        self.engine(engine).run("push", "-q", *insecure, name)


def _run(argv: list[str], input: bytes | None) -> bytes:
    done = subprocess.run(argv, input=input, capture_output=True, check=False, timeout=120)
    assert done.returncode == 0, f"{' '.join(argv)}: {done.stderr.decode()}"
    return done.stdout
