"""The process that measures: what it does must neither be slowed by the daemon nor slow it.

    python -m naru.engine.storage.bench_main ROOT LARGE SMALL ROUNDS SECONDS DRIVER...

It writes one JSON message a line; the last one carries the figures as `aux`. Below ROOT it makes
what it needs, and removes it.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import msgspec

from naru.engine.images.progress import Message, status, step
from naru.engine.storage.figures import TRIALS, Figures
from naru.engine.storage.trials import Bench
from naru.spec.errors import NaruError
from naru.store.choice import choose
from naru.store.drivers.probe import filesystem_type
from naru.store.removal import remove_tree


def measure(
    root: Path, drivers: Sequence[str], *, large: int, small: int, rounds: int, seconds: float
) -> Figures:
    """Round by round, in each round all drivers: what disturbs the machine disturbs all alike."""
    deadline = time.monotonic() + seconds
    times: dict[str, dict[str, list[float]]] = {}
    space: dict[str, int] = {}
    refused: dict[str, str] = {}
    benches: dict[str, Bench] = {}
    with ExitStack() as undo:
        for name in drivers:
            where = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=root))
            undo.callback(remove_tree, where)
            try:
                bench = Bench(choose(name, where / "data"), where, large=large, small=small)
            except (NaruError, OSError) as error:
                refused[name] = str(error)
                continue
            undo.callback(bench.close)
            say(step("Preparing", name))
            bench.prepare()
            space[name] = bench.space()
            benches[name] = bench
            times[name] = defaultdict(list)
        done = 0
        while benches and done < rounds and (done == 0 or time.monotonic() < deadline):
            for name, bench in benches.items():
                for trial in TRIALS:
                    if done and time.monotonic() > deadline:
                        continue  # the first round is always whole
                    say(step(f"Round {done + 1}: {trial.name}", name))
                    times[name][trial.name].append(bench.trials[trial.name]())
            done += 1
        for name in benches:
            say(step("Cleaning up", name))
    return Figures(
        filesystem=filesystem_type(root),
        kernel=os.uname().release,
        large=large,
        small=small,
        rounds=done,
        times={name: dict(found) for name, found in times.items()},
        space=space,
        refused=refused,
    )


def say(message: Message) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(message) + b"\n")
    sys.stdout.buffer.flush()


def main(argv: Sequence[str]) -> int:
    root, large, small, rounds, seconds, *drivers = argv
    try:
        figures = measure(
            Path(root), drivers,
            large=int(large), small=int(small), rounds=int(rounds), seconds=float(seconds),
        )  # fmt: skip
    except OSError as error:
        say({"error": f"the benchmark failed: {error}", "errorDetail": {"message": str(error)}})
        return 1
    say(status("Done"))
    say({"aux": msgspec.to_builtins(figures)})
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
