"""The run path, side by side with Debian's dockerd 20.10: `make bench`.

Both daemons run at once, idle but for the one being asked; samples are interleaved, so that a busy
machine slows both alike, and medians are compared. The client is the stock docker CLI for both.
Writes `bench/results/run.json` and prints the table of docs/performance.md.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from tests.harness.daemon import Daemon

from bench.api import Api, Engine
from bench.dockerd import Dockerd

_NOTHING = 0.005  # MiB: what the measurement itself wavers by
_LARGE = 100

RESULTS = Path(__file__).parent / "results"


def cli(engine: Engine, *argv: str) -> str:
    done = subprocess.run(
        ["docker", "-H", engine.host, *argv],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        raise RuntimeError(f"docker {' '.join(argv)}: {done.stderr}")
    return done.stdout


def timed(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return (time.perf_counter() - begun) * 1000


def interleaved(
    engines: dict[str, Engine], work: Callable[[Engine], object], rounds: int
) -> dict[str, float]:
    """Median milliseconds of `work` per engine, rounds taken in turn."""
    samples: dict[str, list[float]] = {name: [] for name in engines}
    for number in range(rounds + 1):
        for name, engine in engines.items():
            took = timed(lambda engine=engine: work(engine))  # type: ignore[misc]
            if number:  # the first of each warms caches
                samples[name].append(took)
    return {name: statistics.median(values) for name, values in samples.items()}


def create_and_remove(engines: dict[str, Engine], rounds: int) -> dict[str, float]:
    """By the API: two starts of a client would hide what the engine does."""
    apis = {name: Api(engine) for name, engine in engines.items()}
    body = json.dumps({"Image": "busybox", "Cmd": ["true"]}).encode()

    def once(api: Api) -> None:
        made = json.loads(api.call("POST", "/containers/create", body, "application/json"))
        api.call("DELETE", f"/containers/{made['Id']}")

    samples: dict[str, list[float]] = {name: [] for name in engines}
    for _ in range(rounds):
        for name, api in apis.items():
            samples[name].append(timed(lambda api=api: once(api)))  # type: ignore[misc]
    for api in apis.values():
        api.close()
    return {name: statistics.median(values) for name, values in samples.items()}


def concurrent_runs(engine: Engine, count: int) -> None:
    argv = ["docker", "-H", engine.host, "run", "--rm", "busybox", "true"]
    running = [
        subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        for _ in range(count)
    ]
    for process in running:
        _, errors = process.communicate()
        if process.returncode != 0:
            raise RuntimeError(errors.decode())


def pss(pids: list[int]) -> float:
    """Proportional set size of some processes, in MiB."""
    total = 0
    for pid in pids:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1])
    return total / 1024


def narud_pids(naru: Daemon) -> list[int]:
    assert naru.process is not None
    return [naru.process.pid, *naru.supervisor_pids()]


def dockerd_pids(dockerd: Dockerd) -> list[int]:
    """dockerd, its containerd and every shim: all that names the private exec root."""
    assert dockerd.process is not None
    needle = str(dockerd.root).encode()
    return [
        int(entry.name)
        for entry in Path("/proc").iterdir()
        if entry.name.isdigit() and needle in _command(entry)
    ]


def _command(entry: Path) -> bytes:
    try:
        return (entry / "cmdline").read_bytes()
    except OSError:
        return b""


def measure(rounds: int, many: int) -> dict[str, dict[str, float]]:
    dockerd = Dockerd()
    naru = Daemon()
    try:
        naru.start()
        dockerd.start()
        naru.make_busybox()
        dockerd.make_busybox()
        return _measure({"narud": naru, "dockerd": dockerd}, naru, dockerd, rounds, many)
    finally:
        naru.stop()
        dockerd.stop()


def _measure(
    engines: dict[str, Engine], naru: Daemon, dockerd: Dockerd, rounds: int, many: int
) -> dict[str, dict[str, float]]:
    table: dict[str, dict[str, float]] = {}
    table["floor: docker version"] = interleaved(engines, lambda e: cli(e, "version"), rounds)
    table["run --rm busybox true"] = interleaved(
        engines, lambda e: cli(e, "run", "--rm", "busybox", "true"), rounds
    )
    table["the same, --network none"] = interleaved(
        engines, lambda e: cli(e, "run", "--rm", "--network", "none", "busybox", "true"), rounds
    )
    table["create + rm (server time)"] = create_and_remove(engines, rounds * 2)
    for engine in engines.values():
        cli(engine, "run", "-d", "--name", "xx", "busybox", "sleep", "3600")
    table["exec x true"] = interleaved(engines, lambda e: cli(e, "exec", "xx", "true"), rounds)
    for engine in engines.values():
        cli(engine, "rm", "-f", "xx")
    table["20 concurrent run --rm"] = interleaved(
        engines, lambda e: concurrent_runs(e, 20), max(3, rounds // 4)
    )
    idle = {"narud": pss(narud_pids(naru)), "dockerd": pss(dockerd_pids(dockerd))}
    table["memory, no container (MiB)"] = idle
    each: dict[str, list[float]] = {name: [] for name in engines}
    for _ in range(many):
        for name, engine in engines.items():
            each[name].append(
                timed(lambda e=engine: cli(e, "run", "-d", "busybox", "sleep", "3600"))
            )  # type: ignore[misc]
    table[f"run -d, each of {many}"] = {n: statistics.median(v) for n, v in each.items()}
    full = {"narud": pss(narud_pids(naru)), "dockerd": pss(dockerd_pids(dockerd))}
    table["memory per running container (MiB)"] = {n: (full[n] - idle[n]) / many for n in full}
    table[f"ps of {many}"] = interleaved(engines, lambda e: cli(e, "ps"), rounds)
    table[f"rm -f of {many}"] = {
        name: timed(lambda e=engine: cli(e, "rm", "-f", *cli(e, "ps", "-q").split()))  # type: ignore[misc]
        for name, engine in engines.items()
    }
    table["start of the daemon"] = starts(naru, dockerd, max(3, rounds // 4))
    return table


def starts(naru: Daemon, dockerd: Dockerd, rounds: int) -> dict[str, float]:
    """From exec to the line that says it serves, with data roots that exist."""
    samples: dict[str, list[float]] = {"narud": [], "dockerd": []}
    for _ in range(rounds):
        naru.terminate()
        samples["narud"].append(timed(naru.start))
        dockerd.terminate()
        samples["dockerd"].append(timed(dockerd.start))
    return {name: statistics.median(values) for name, values in samples.items()}


def render(table: dict[str, dict[str, float]]) -> str:
    lines = ["| test (stock CLI) | dockerd 20.10 | narud | ratio |", "| --- | --- | --- | --- |"]
    for name, row in table.items():
        unit = "" if "MiB" in name else " ms"
        digits = 2 if "per running" in name else 1 if "MiB" in name else 0
        ratio = row["dockerd"] / row["narud"] if row["narud"] > _NOTHING else float("inf")
        shown = f"{ratio:.1f}x" if ratio < _LARGE else f"over {_LARGE}x"
        lines.append(
            f"| {name} | {row['dockerd']:.{digits}f}{unit} | {row['narud']:.{digits}f}{unit} | {shown} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=20, help="samples of each test (default 20)")
    parser.add_argument(
        "--many", type=int, default=100, help="containers of the crowd (default 100)"
    )
    options = parser.parse_args()
    table = measure(options.rounds, options.many)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "run.json").write_text(json.dumps(table, indent=2) + "\n")
    print(render(table))


if __name__ == "__main__":
    main()
