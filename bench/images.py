"""The image path, side by side with Debian's dockerd 20.10: `make bench-images`.

Both daemons share one network namespace with Debian's docker-registry in it, so that a pull crosses
loopback only. Samples are interleaved and medians compared. Writes `bench/results/images.json`.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import hashlib
import io
import json
import os
import random
import statistics
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.harness.daemon import Daemon
from tests.harness.netns import NetworkNamespace
from tests.harness.registry import Registry

from bench.api import Api
from bench.disk import disk
from bench.dockerd import Dockerd
from bench.run import RESULTS, Engine, cli, render, timed

NARU = Path(sys.executable).with_name("naru")


@dataclass(frozen=True)
class Sizes:
    many: int = 30_000  # small files
    big: int = 500 << 20  # bytes
    huge: int = 2 << 30  # bytes
    images: int = 1000
    changed: int = 10_000  # files of a commit and of a copy


class Noise:
    """Bytes that compress to about half, the same in every run."""

    def __init__(self, seed: int) -> None:
        chance = random.Random(seed)
        self._pool = chance.randbytes(1 << 20)

    def bytes(self, size: int, number: int) -> bytes:
        half = size // 2
        start = number * 7919 % (len(self._pool) - 1)
        random_part = (self._pool[start:] + self._pool * (half // len(self._pool) + 1))[:half]
        return random_part + b"naru " * ((size - half) // 5) + b"." * ((size - half) % 5)


def layer(files: Iterator[tuple[str, bytes]]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar:
        known: set[str] = set()
        for name, data in files:
            parent = os.path.dirname(name)
            if parent not in known:
                known.add(parent)
                folder = tarfile.TarInfo(parent)
                folder.type, folder.mode = tarfile.DIRTYPE, 0o755
                tar.addfile(folder)
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return packed.getvalue()


def small_files(count: int, seed: int, prefix: str = "small") -> Iterator[tuple[str, bytes]]:
    noise, chance = Noise(seed), random.Random(seed)
    for number in range(count):
        size = int(chance.lognormvariate(7.5, 1.2))
        yield f"{prefix}/{number // 100}/{number}", noise.bytes(min(size, 200_000), number)


def archive(path: Path, name: str, layers: list[bytes]) -> None:
    """A docker-archive that `docker load` takes."""
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Cmd": ["true"]},
        "rootfs": {
            "type": "layers",
            "diff_ids": [f"sha256:{hashlib.sha256(data).hexdigest()}" for data in layers],
        },
        "history": [{"created_by": f"layer {n}"} for n in range(len(layers))],
    }
    raw = json.dumps(config).encode()
    config_name = f"{hashlib.sha256(raw).hexdigest()}.json"
    names = [f"{number}/layer.tar" for number in range(len(layers))]
    manifest = [{"Config": config_name, "RepoTags": [name], "Layers": names}]
    with tarfile.open(path, "w") as tar:
        for member_name, data in (
            (config_name, raw),
            *zip(names, layers, strict=True),
            ("manifest.json", json.dumps(manifest).encode()),
        ):
            member = tarfile.TarInfo(member_name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))


class Bench:
    def __init__(
        self,
        naru: Daemon,
        dockerd: Dockerd,
        registry: Registry,
        folder: Path,
        *,
        sizes: Sizes,
        only: str,
    ) -> None:
        self.naru = naru
        self.dockerd = dockerd
        self.engines: dict[str, Engine] = {"narud": naru, "dockerd": dockerd}
        self.registry = registry
        self.folder = folder
        self.sizes = sizes
        self.only = only
        self.table: dict[str, dict[str, float]] = {}

    def each(
        self,
        name: str,
        work: Callable[[Engine], object],
        rounds: int,
        reset: Callable[[Engine], object] | None = None,
        *,
        stores: bool = False,
    ) -> None:
        """`stores`: timed once more until the disk has it all, which dockerd does not wait for."""
        if self.only not in name:
            return
        samples: dict[str, list[float]] = {key: [] for key in self.engines}
        stored: dict[str, list[float]] = {key: [] for key in self.engines}
        for _ in range(rounds):
            for key, engine in self.engines.items():
                if reset is not None:
                    reset(engine)
                os.sync()
                took = timed(lambda engine=engine: work(engine))  # type: ignore[misc]
                samples[key].append(took)
                stored[key].append(took + (timed(os.sync) if stores else 0))
        self._enter(name, samples)
        if stores:
            self._enter(f"{name}, to the disk", stored)

    def _enter(self, name: str, samples: dict[str, list[float]]) -> None:
        self.table[name] = {key: statistics.median(values) for key, values in samples.items()}
        print(f"{name}: {self.table[name]}", flush=True)

    def prepare(self, name: str, layers: list[bytes]) -> str:
        """Push an image to the registry and keep its archive -> its full name."""
        full = f"{self.registry.address}/{name}:latest"
        archive(self.folder / f"{name}.tar", full, layers)
        cli(self.dockerd, "load", "-q", "-i", str(self.folder / f"{name}.tar"))
        cli(self.dockerd, "push", "-q", full)
        cli(self.dockerd, "rmi", full)
        return full

    def forget(self, image: str) -> Callable[[Engine], object]:
        def forget(engine: Engine) -> None:
            with contextlib.suppress(RuntimeError):
                cli(engine, "rmi", "-f", image)

        return forget

    def run(self, rounds: int) -> None:
        many = self.prepare("many", [layer(small_files(self.sizes.many, 1))])
        noise, part = Noise(2), self.sizes.big // 5
        big = self.prepare(
            "big", [layer(iter([(f"big/{n}", noise.bytes(part, n)) for n in range(5)]))]
        )
        each = self.sizes.many // 12
        eight = self.prepare("eight", [layer(small_files(each, n, f"l{n}")) for n in range(8)])
        for label, image in (
            ("many small files", many),
            ("few big files", big),
            ("8 layers", eight),
        ):
            self.each(
                f"pull, {label}",
                lambda e, i=image: cli(e, "pull", "-q", i),  # type: ignore[misc]
                rounds,
                self.forget(image),
                stores=True,
            )
        self.each(
            "load, 8 layers",
            lambda e: cli(e, "load", "-q", "-i", str(self.folder / "eight.tar")),
            rounds,
            self.forget(eight),
            stores=True,
        )
        for engine in self.engines.values():
            cli(engine, "pull", "-q", many)
        self.each("save, many small files", lambda e: self._save(e, many), rounds)
        self._commit_and_copy(rounds)

    def _save(self, engine: Engine, image: str) -> None:
        subprocess.run(
            ["docker", "-H", engine.host, "save", image], stdout=subprocess.DEVNULL, check=True
        )

    def _commit_and_copy(self, rounds: int) -> None:
        source = self.folder / "tree"
        source.mkdir()
        with tarfile.open(
            fileobj=io.BytesIO(layer(small_files(self.sizes.changed, 3, "changed")))
        ) as tar:
            tar.extractall(source, filter="fully_trusted")
        for engine in self.engines.values():
            cli(engine, "create", "--name", "work", "busybox", "true")
        tree = str(source / "changed")

        def recreate(engine: Engine) -> None:
            cli(engine, "rm", "-f", "work")
            cli(engine, "create", "--name", "work", "busybox", "true")

        self.each("cp in", lambda e: cli(e, "cp", tree, "work:/changed"), rounds, recreate)
        self.each(
            "commit",
            lambda e: cli(e, "commit", "work", "committed"),
            rounds,
            self.forget("committed"),
            stores=True,
        )

        def copy_out(engine: Engine) -> None:
            with tempfile.TemporaryDirectory(dir=self.folder) as out:
                cli(engine, "cp", "work:/changed", out)

        self.each("cp out", copy_out, rounds)
        self._copy_by_own_clients(tree, rounds, recreate)
        self._copy_by_api(tree, rounds, recreate)
        for engine in self.engines.values():
            cli(engine, "rm", "-f", "work")

    def _copy_by_own_clients(
        self, tree: str, rounds: int, recreate: Callable[[Engine], object]
    ) -> None:
        """narud with naru, dockerd with docker: the client has most of the time of a copy."""

        def own(engine: Engine, *args: str) -> None:
            client = str(NARU) if engine is self.naru else "docker"
            subprocess.run([client, "-H", engine.host, "cp", "-q", *args], check=True)

        def copy_out(engine: Engine) -> None:
            with tempfile.TemporaryDirectory(dir=self.folder) as out:
                own(engine, "work:/changed", out)

        self.each("cp in, own client", lambda e: own(e, tree, "work:/changed"), rounds, recreate)
        self.each("cp out, own client", copy_out, rounds)

    def _copy_by_api(self, tree: str, rounds: int, recreate: Callable[[Engine], object]) -> None:
        """The same without the client, which reads and writes the files for most of the time."""
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as tar:
            tar.add(tree, "changed")

        def copy(engine: Engine, method: str, path: str, body: bytes | None) -> None:
            with contextlib.closing(Api(engine)) as api:
                api.call(method, f"/containers/work/archive?path={path}", body)

        data = packed.getvalue()
        self.each("cp in, server alone", lambda e: copy(e, "PUT", "/", data), rounds, recreate)
        self.each("cp out, server alone", lambda e: copy(e, "GET", "/changed", None), rounds)

    def list_many_images(self) -> None:
        """Server time of `GET /images/json` with many images, by one kept connection."""
        count = self.sizes.images
        for key, engine in self.engines.items():
            tars = io.BytesIO()
            with tarfile.open(fileobj=tars, mode="w") as tar:
                tar.addfile(tarfile.TarInfo("x"))
            api = Api(engine)
            for number in range(count):
                api.call(
                    "POST",
                    f"/images/create?fromSrc=-&repo=many{number}&changes=LABEL%20n={number}",
                    tars.getvalue(),
                )
            took = statistics.median(
                timed(lambda api=api: api.call("GET", "/images/json")) for _ in range(11)
            )  # type: ignore[misc]
            self.table.setdefault(f"images, with {count}", {})[key] = took
            api.close()

    def two_gigabytes(self) -> None:
        """Peak memory of narud, and the latency of `_ping`, while it pulls 2 GB."""
        noise = Noise(4)
        part = self.sizes.huge // 4
        image = self.prepare(
            "huge", [layer(iter([(f"h{n}/file", noise.bytes(part, n))])) for n in range(4)]
        )
        assert self.naru.process is not None
        Path(f"/proc/{self.naru.process.pid}/clear_refs").write_text("5")
        pings: list[float] = []
        stop = threading.Event()

        def ping() -> None:
            api = Api(self.naru)
            while not stop.wait(0.01):
                pings.append(timed(lambda: api.call("GET", "/_ping")))
            api.close()

        pinger = threading.Thread(target=ping)
        pinger.start()
        cli(self.naru, "pull", "-q", image)
        stop.set()
        pinger.join()
        status = Path(f"/proc/{self.naru.process.pid}/status").read_text()
        peak = next(
            int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:")
        )
        print(
            f"pull of 2 GB: narud's peak {peak / 1024:.0f} MiB; _ping p50 {statistics.median(pings):.1f} ms, "
            f"p99 {statistics.quantiles(pings, n=100)[98]:.1f} ms of {len(pings)}"
        )


def measure(root: Path, options: argparse.Namespace, sizes: Sizes) -> dict[str, dict[str, float]]:
    """All tests, with both daemons' data on `root`."""
    tempfile.tempdir = str(root)
    netns = NetworkNamespace()
    chosen = ("--storage-driver", options.storage_driver) if options.storage_driver else ()
    naru = Daemon(netns=netns, options=chosen)
    dockerd = Dockerd("--bridge=none", "--iptables=false", netns=netns)
    try:
        registry = Registry(root / "registry", netns)
        try:
            naru.start()
            dockerd.start()
            naru.make_busybox()
            dockerd.make_busybox()
            bench = Bench(naru, dockerd, registry, root, sizes=sizes, only=options.only)
            bench.run(options.rounds)
            if not options.quick:
                bench.list_many_images()
                bench.two_gigabytes()
        finally:
            registry.close()
    finally:
        naru.stop()
        dockerd.stop()
        netns.close()
        tempfile.tempdir = None
    return bench.table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3, help="samples of each test (default 3)")
    parser.add_argument(
        "--storage-driver", default="", help="narud's driver (default: its own choice)"
    )
    parser.add_argument(
        "--quick", action="store_true", help="leave out the 2 GB pull and the 1000 images"
    )
    parser.add_argument("--only", default="", help="tests whose name has this in it")
    for field in dataclasses.fields(Sizes):
        parser.add_argument(
            f"--{field.name}", type=int, default=field.default, help="(default %(default)s)"
        )
    options = parser.parse_args()
    sizes = Sizes(**{f.name: getattr(options, f.name) for f in dataclasses.fields(Sizes)})
    begun = time.monotonic()
    with disk(40) as root:
        table = measure(root, options, sizes)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "images.json").write_text(json.dumps(table, indent=2) + "\n")
    print(render(table))
    print(f"({time.monotonic() - begun:.0f} s)")


if __name__ == "__main__":
    main()
