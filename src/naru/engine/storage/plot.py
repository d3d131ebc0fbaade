"""The figures of a benchmark as a picture: for each trial the drivers' times, the best first. Pure.

Bars are on a logarithmic scale: what counts is how often the best driver's time a driver takes.
"""

from __future__ import annotations

import math

from naru.engine.images.progress import human_size
from naru.engine.storage.figures import (
    TRIALS,
    Figures,
    Trial,
    advice,
    medians,
    ratios,
    shown_ratio,
    shown_time,
)
from naru.engine.storage.svg import FAINT, SOFT, Sheet, fitted

COLORS = {
    "overlay2": "#2f6fde", "erofs": "#1f9d8a", "btrfs": "#f08c2e", "overlay": "#7b5cd6",
    "vfs": "#98a4b3", "fuse-overlayfs": "#c2569b", "devicemapper": "#b8860b", "aufs": "#5f8f3e",
}  # fmt: skip
_WIDTH = 1000.0
_PANEL = 470.0
_LEFT = 96.0  # of a panel, for the names of drivers
_BAR = 17.0
_GAP = 5.0
_TOP = 92.0


def plot(figures: Figures) -> str:
    """-> an SVG document."""
    drivers = list(figures.times)
    panel = 46 + len(drivers) * (_BAR + _GAP) + 18
    rows = math.ceil(len(TRIALS) / 2)
    lines = [line for text in advice(figures) for line in _wrapped(text, 150)]
    height = _TOP + rows * panel + 44 + 17 * len(lines)
    sheet = Sheet(_WIDTH, height, "Storage drivers compared")
    sheet.words(24, 38, "Storage drivers compared", size=20, bold=True)
    sheet.words(
        24, 60,
        f"medians of {figures.rounds} rounds on {figures.filesystem}, Linux {figures.kernel};"
        f" large file {human_size(figures.large)}, {figures.small} small files; shorter is better",
        color=SOFT, size=12,
    )  # fmt: skip
    scale = _scale(figures)
    for at, trial in enumerate(TRIALS):
        x = 24 + (at % 2) * (_PANEL + 20)
        _draw_panel(sheet, figures, trial, x, _TOP + (at // 2) * panel, scale)
    y = _TOP + rows * panel + 20
    sheet.line(24, y - 14, _WIDTH - 24, y - 14)
    for number, line in enumerate(lines):
        sheet.words(24, y + 10 + number * 17, line, size=12, bold=number == 0)
    return sheet.render()


def _scale(figures: Figures) -> float:
    """The largest ratio there is, as a whole power of ten: all panels share one scale."""
    found = [ratio for trials in ratios(figures).values() for ratio in trials.values()]
    return float(10 ** max(1, math.ceil(math.log10(max(found, default=10)) - 1e-9)))


def _draw_panel(
    sheet: Sheet, figures: Figures, trial: Trial, x: float, y: float, scale: float
) -> None:
    found, times = medians(figures), ratios(figures)
    sheet.words(x, y + 12, trial.name, bold=True, size=13)
    sheet.words(x + 16 + 7.8 * len(trial.name), y + 12, fitted(trial.about, 372, 11), size=11,
                color=SOFT)  # fmt: skip
    known = [driver for driver in found if trial.name in found[driver]]
    ordered = sorted(known, key=lambda driver: found[driver][trial.name])
    room = _PANEL - _LEFT - 120
    bottom = y + 24 + len(ordered) * (_BAR + _GAP)
    power = 1.0
    while power <= scale:
        at = x + _LEFT + _length(power, scale, room)
        sheet.line(at, y + 20, at, bottom, color=FAINT)
        sheet.words(at, bottom + 11, f"{power:g}x", size=9, color=SOFT, anchor="middle")
        power *= 10
    for number, driver in enumerate(ordered):
        top = y + 24 + number * (_BAR + _GAP)
        ratio, value = times[driver][trial.name], found[driver][trial.name]
        length = _length(ratio, scale, room)
        sheet.words(x + _LEFT - 8, top + 13, driver, size=11.5, anchor="end")
        sheet.box(x + _LEFT, top, length, _BAR, COLORS.get(driver, "#5b6ee1"), radius=3,
                  tip=f"{driver}: {shown_time(value)}")  # fmt: skip
        label = shown_time(value) + (f"  ({shown_ratio(ratio)})" if number else "")
        sheet.words(x + _LEFT + length + 6, top + 13, label, size=11)


def _length(ratio: float, scale: float, room: float) -> float:
    """The best driver has a bar too: a twelfth of the room."""
    least = room / 12
    return least + (room - least) * math.log10(max(ratio, 1)) / math.log10(scale)


def _wrapped(text: str, width: int) -> list[str]:
    lines = [""]
    for word in text.split():
        if len(lines[-1]) + len(word) >= width:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return lines
