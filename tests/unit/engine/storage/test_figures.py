from __future__ import annotations

import xml.etree.ElementTree as ElementTree

import pytest

from naru.engine.storage.figures import (
    TRIALS,
    Figures,
    advice,
    medians,
    ratios,
    report,
    scores,
    shown_time,
)
from naru.engine.storage.plot import plot


def figures(**times: float) -> Figures:
    """Each driver with the same time in all trials."""
    return Figures(
        filesystem="ext4", kernel="6.1", large=1 << 20, small=100, rounds=3,
        times={
            name: {trial.name: [value * 3, value, value / 2] for trial in TRIALS}
            for name, value in times.items()
        },
        space={"vfs": 5 << 20},
        refused={"aufs": "not here"},
    )  # fmt: skip


def test_medians_and_ratios() -> None:
    made = figures(overlay2=0.001, btrfs=0.004)
    assert medians(made)["btrfs"]["read"] == 0.004
    assert ratios(made)["btrfs"]["read"] == pytest.approx(4)
    assert ratios(made)["overlay2"]["read"] == 1
    assert scores(made) == {"overlay2": pytest.approx(1), "btrfs": pytest.approx(4)}


def test_a_driver_that_copies_is_never_the_advice() -> None:
    made = figures(vfs=0.001, overlay2=0.002)
    assert list(scores(made)) == ["overlay2", "vfs"]
    text = "\n".join(advice(made))
    assert text.startswith("Advice: overlay2")
    assert "vfs: every container and every layer is a copy" in text


def test_large_files_that_are_changed_speak_for_another_driver() -> None:
    made = figures(overlay2=0.001, btrfs=0.002)
    made.times["overlay2"]["first write"] = [0.1]
    text = "\n".join(advice(made))
    assert "btrfs spares the copy at the first write (2 ms instead of 100 ms)" in text


def test_nothing_measured() -> None:
    assert advice(figures()) == ["No driver was measured."]
    ElementTree.fromstring(plot(figures()))


def test_the_report_names_what_is_missing() -> None:
    made = figures(overlay2=0.001)
    del made.times["overlay2"]["read"]
    text = report(made)
    assert "aufs: not here" in text
    assert any(line.split() == ["read", "-"] for line in text.splitlines())


def test_the_plot_is_well_formed() -> None:
    root = ElementTree.fromstring(plot(figures(overlay2=0.001, vfs=3.0, btrfs=0.01)))
    width = float(root.attrib["width"])
    for element in root.iter("{http://www.w3.org/2000/svg}rect"):
        if "x" in element.attrib:
            assert float(element.attrib["x"]) + float(element.attrib["width"]) <= width


@pytest.mark.parametrize(
    ("seconds", "text"), [(2, "2.00 s"), (0.0123, "12.3 ms"), (0.0000456, "45.6 µs")]
)
def test_times(seconds: float, text: str) -> None:
    assert shown_time(seconds) == text
