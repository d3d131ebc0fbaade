"""Container create and remove with one storage driver, side by side with dockerd 20.10.

    python -m bench.storage --storage-driver btrfs           on the disk that TMPDIR names

Server time by the API: both daemons run at once, samples are taken in turn, medians are compared.
A round has a share of them, and the rounds' ratios show how much the figure wavers.
"""

from __future__ import annotations

import argparse
import statistics
from typing import cast

from tests.harness.daemon import Daemon

from bench.api import Engine
from bench.dockerd import Dockerd
from bench.run import create_and_remove


def measure(options: tuple[str, ...], rounds: int, samples: int) -> list[dict[str, float]]:
    """Milliseconds per engine, of each round."""
    dockerd, naru = Dockerd(*options), Daemon(options=options)
    try:
        naru.start()
        dockerd.start()
        naru.make_busybox()
        dockerd.make_busybox()
        engines = cast(dict[str, Engine], {"narud": naru, "dockerd": dockerd})
        create_and_remove(engines, samples // 4)  # the first ones warm caches
        return [create_and_remove(engines, samples) for _ in range(rounds)]
    finally:
        naru.stop()
        dockerd.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--storage-driver", default="overlay2")
    parser.add_argument("--storage-opt", action="append", default=[])
    parser.add_argument("--no-network", action="store_true", help="neither bridge nor iptables")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--samples", type=int, default=20, help="of each round")
    chosen = parser.parse_args()
    options = ["--storage-driver", chosen.storage_driver]
    for option in chosen.storage_opt:
        options += ["--storage-opt", option]
    if chosen.no_network:
        options += ["--bridge", "none", "--iptables=false"]
    found = measure(tuple(options), chosen.rounds, chosen.samples)
    for row in found:
        ratio = row["dockerd"] / row["narud"]
        print(f"dockerd {row['dockerd']:.1f} ms, narud {row['narud']:.1f} ms: {ratio:.1f}x")
    whole = {name: statistics.median(row[name] for row in found) for name in found[0]}
    ratio = statistics.median(row["dockerd"] / row["narud"] for row in found)
    print(
        f"{chosen.storage_driver}: medians of {chosen.rounds} rounds: dockerd"
        f" {whole['dockerd']:.1f} ms, narud {whole['narud']:.1f} ms: {ratio:.1f}x"
    )


if __name__ == "__main__":
    main()
