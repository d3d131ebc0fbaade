"""What a benchmark of storage drivers measured, and what follows from it. Pure."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence

import msgspec

from naru.engine.images.progress import human_size


class Trial(msgspec.Struct, frozen=True, rename="pascal"):
    """One thing that is measured; times are seconds, and less is better."""

    name: str
    about: str
    weight: float = 1  # in the advice


TRIALS = (
    Trial("container", "make, mount, unmount and remove a container's layer", 3),
    Trial("image layer", "unpack a small layer over an image of 2000 files", 2),
    Trial("first write", "append one byte to a large file of the image", 2),
    Trial("small files", "write many small files", 2),
    Trial("deep lookup", "look up files of the lowest of 60 layers", 1),
    Trial("read", "read the large file from the disk, in order", 1),
    Trial("write", "write a large new file to the disk, in order", 1),
    Trial("random read", "read 4 KiB pieces all over the large file", 1),
    Trial("random write", "write 4 KiB pieces all over a file of the container's own", 1),
)

_COPY = 1 << 20
"""Bytes of an untouched container from which on it is a copy, and not bookkeeping."""


class Figures(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """`times`: of each driver and each trial, every round's seconds."""

    filesystem: str  # what the layers lie on
    kernel: str
    large: int  # bytes of the large file
    small: int  # how many small files
    rounds: int
    times: dict[str, dict[str, list[float]]]
    space: dict[str, int] = {}  # bytes that a container takes before it has written anything
    refused: dict[str, str] = {}  # drivers that this machine cannot run, and why


def medians(figures: Figures) -> dict[str, dict[str, float]]:
    return {
        driver: {trial: statistics.median(values) for trial, values in trials.items() if values}
        for driver, trials in figures.times.items()
    }


def ratios(figures: Figures) -> dict[str, dict[str, float]]:
    """Each median as a multiple of the best driver's."""
    found = medians(figures)
    best: dict[str, float] = {}
    for trials in found.values():
        for trial, value in trials.items():
            best[trial] = min(best.get(trial, value), value)
    return {
        driver: {
            trial: value / best[trial] if best[trial] else 1 for trial, value in trials.items()
        }
        for driver, trials in found.items()
    }


def scores(figures: Figures) -> dict[str, float]:
    """One number a driver: the weighted geometric mean of its ratios; 1 is best in everything.

    Drivers whose every container is a copy of its image come last: whatever they are quick at, they
    have paid for with the disk.
    """
    weights = {trial.name: trial.weight for trial in TRIALS}
    found = {}
    for driver, trials in ratios(figures).items():
        total = sum(weights[trial] for trial in trials)
        if total:
            logs = (weights[trial] * math.log(ratio) for trial, ratio in trials.items())
            found[driver] = math.exp(sum(logs) / total)
    return dict(sorted(found.items(), key=lambda pair: (copies(figures, pair[0]), pair[1])))


def copies(figures: Figures, driver: str) -> bool:
    return figures.space.get(driver, 0) > _COPY


def shown_time(seconds: float) -> str:
    if seconds >= 1:
        return f"{seconds:.2f} s"
    if seconds >= 0.001:
        return f"{seconds * 1000:.3g} ms"
    return f"{seconds * 1_000_000:.3g} µs"


def shown_ratio(ratio: float) -> str:
    return f"{ratio:.1f}x" if ratio < 10 else f"{ratio:.0f}x"


def table(figures: Figures) -> str:
    """A row for each trial, a column for each driver: the median, and how often the best."""
    found, times = medians(figures), ratios(figures)
    drivers = list(found)
    rows = [["", *drivers]]
    for trial in TRIALS:
        row = [trial.name]
        for driver in drivers:
            value = found[driver].get(trial.name)
            row.append(
                "-"
                if value is None
                else f"{shown_time(value)} ({shown_ratio(times[driver][trial.name])})"
            )
        rows.append(row)
    rows.append(["space of a container", *(human_size(figures.space.get(d, 0)) for d in drivers)])
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(
            [
                row[0].ljust(widths[0]),
                *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True)),
            ]
        ).rstrip()
        for row in rows
    )


def report(figures: Figures) -> str:
    """Everything that a terminal shows."""
    lines = [
        f"{human_size(figures.large)} large file, {figures.small} small files, medians of"
        f" {figures.rounds} rounds, on {figures.filesystem}, Linux {figures.kernel}",
        "",
        table(figures),
        "",
        *(f"{trial.name}: {trial.about}" for trial in TRIALS),
        "",
        *advice(figures),
    ]
    if figures.refused:
        lines += ["", "Not compared, because they do not run here:"]
        lines += [f"  {name}: {why}" for name, why in sorted(figures.refused.items())]
    return "\n".join(lines) + "\n"


def advice(figures: Figures) -> list[str]:
    ranked = scores(figures)
    if not ranked:
        return ["No driver was measured."]
    best, found = next(iter(ranked)), medians(figures)
    lines = [f"Advice: {best} is the best of these for most uses on this disk."]
    others = [
        f"{name} {shown_ratio(score / ranked[best])}"
        for name, score in ranked.items()
        if name != best and not copies(figures, name)
    ]
    if others:
        lines[0] += f" Over all trials, the others cost: {', '.join(others)}."
    lines += _writers(
        best, {name: found[name] for name in ranked if name == best or not copies(figures, name)}
    )
    fat = [name for name in ranked if copies(figures, name)]
    if fat:
        lines.append(
            f"{_joined(fat)}: every container and every layer is a copy of all below it, which"
            " the other figures hide."
        )
    return lines


def _writers(best: str, found: Mapping[str, Mapping[str, float]]) -> list[str]:
    """Large files that are changed in place are where the drivers differ most."""
    first = {
        name: trials["first write"] for name, trials in found.items() if "first write" in trials
    }
    if len(first) < 2 or best not in first:
        return []
    quickest = min(first, key=lambda name: first[name])
    if quickest == best or first[best] < 10 * first[quickest]:
        return []
    return [
        f"Where containers change large files of their image (databases in the image, disk images),"
        f" {quickest} spares the copy at the first write ({shown_time(first[quickest])} instead of"
        f" {shown_time(first[best])}); a volume does so with every driver."
    ]


def _joined(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + " and " + names[-1]
