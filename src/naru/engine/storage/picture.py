"""A stack of layers as a picture: slabs on top of each other, and files that shine through. Pure.

Each column is one path. At the top is what a process sees, in the colour of the layer that it comes
from; a dotted line leads down to there. Pale tiles are hidden, hatched ones are whiteouts, and an
arrow is a copy that the first write made.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from naru.engine.images.progress import human_size
from naru.engine.storage.stack import Layer, Stack, Trace, below, owners, telling, trace
from naru.engine.storage.svg import FAINT, INK, SOFT, Sheet, fitted
from naru.engine.storage.text import command
from naru.store.driver import ChangeKind

_COLUMNS = 8
_ROWS = 14
_LEFT = 300.0  # where the tiles begin
_COLUMN = 98.0
_TILE = 76.0
_ROW = 62.0
_SLAB = 52.0
_TOP = 172.0  # where the first slab begins
_RIGHT = 190.0  # for sizes
_OWN, _MOUNT_POINTS = "#f08c2e", "#98a4b3"
_IMAGE = ("#2f6fde", "#1f9d8a", "#7b5cd6", "#3d8bfd", "#2aa24f", "#5b6ee1", "#14919b", "#9a55c9")
_WHITEOUT = "#c0392b"

_Draw = Callable[[float], None]


class _Row(NamedTuple):
    layer: int | None  # None: some layers that have none of the columns' files
    left_out: int = 0


def picture(stack: Stack) -> str:
    """-> an SVG document."""
    paths = telling(stack, _COLUMNS)
    rows = _rows(stack, paths)
    columns = max(len(paths), 3)
    width = _LEFT + columns * _COLUMN + _RIGHT
    height = _TOP + len(rows) * _ROW + 62
    sheet = Sheet(width, height, f"The layers of {stack.kind} {stack.name}")
    short = stack.id.removeprefix("sha256:")[:12]
    name = stack.name if stack.name != short else ""
    sheet.words(24, 38, f"{stack.kind} {name or short}", size=20, bold=True)
    sheet.words(24, 58, f"{short} · storage driver {stack.driver}", color=SOFT)
    _draw_slabs(sheet, stack, rows, width)
    _draw_merged(sheet, stack, paths, width)
    places = {row.layer: _TOP + at * _ROW for at, row in enumerate(rows)}
    for at, path in enumerate(paths):
        _draw_column(sheet, stack, path, _LEFT + at * _COLUMN, places)
    _draw_legend(sheet, stack, height - 26)
    return sheet.render()


def color(layer: Layer) -> str:
    if layer.role == "image":
        return _IMAGE[(layer.number - 1) % len(_IMAGE)]
    return _OWN if layer.role == "container" else _MOUNT_POINTS


def _rows(stack: Stack, paths: Sequence[str]) -> list[_Row]:
    """Every layer, or where there are many those that have something to show."""
    if len(stack.layers) <= _ROWS:
        return [_Row(number) for number in range(len(stack.layers))]
    shown = {0, 1, len(stack.layers) - 1}
    for path in paths:
        for number, layer in enumerate(stack.layers):
            if path in layer.by_path and len(shown) < _ROWS:
                shown.add(number)
    rows: list[_Row] = []
    last = -1
    for number in sorted(shown):
        if number - last > 1:
            rows.append(_Row(None, number - last - 1))
        rows.append(_Row(number))
        last = number
    return rows


def _draw_slabs(sheet: Sheet, stack: Stack, rows: Sequence[_Row], width: float) -> None:
    seen = owners(stack)
    biggest = max((layer.size for layer in stack.layers), default=0) or 1
    for at, row in enumerate(rows):
        y = _TOP + at * _ROW
        if row.layer is None:
            sheet.words(40, y + 31, f"… {row.left_out} more layers …", color=SOFT)
            continue
        layer = stack.layers[row.layer]
        shade = color(layer)
        sheet.box(16, y, width - 32, _SLAB, shade, opacity=0.09, radius=10)
        sheet.box(16, y, 7, _SLAB, shade, radius=3)
        sheet.words(36, y + 21, layer.title, bold=True, size=14)
        digest = layer.diff_id[7:19] if layer.diff_id else "writable" if row.layer == 0 else ""
        sheet.words(120, y + 21, digest, size=11, color=SOFT, mono=layer.role == "image")
        caption = command(layer.created_by) if layer.created_by else _counts(layer)
        if layer.role == "mount points":
            caption = "shared by all containers of the image"
        sheet.words(36, y + 40, fitted(caption, _LEFT - 60, 11), size=11, color=SOFT)
        right = width - _RIGHT + 14
        bar = max(2.0, 90 * layer.size / biggest) if layer.size else 0
        sheet.box(right, y + 13, bar, 9, shade, radius=3)
        sheet.words(width - 28, y + 22, human_size(layer.size), size=12, anchor="end")
        sheet.words(right, y + 40, f"{seen[row.layer].files} files seen", size=11, color=SOFT)


def _counts(layer: Layer) -> str:
    words = (
        (ChangeKind.ADDED, "added"),
        (ChangeKind.MODIFIED, "changed"),
        (ChangeKind.DELETED, "taken away"),
    )
    found = [f"{layer.count(kind)} {word}" for kind, word in words if layer.count(kind)]
    return ", ".join(found) or "nothing"


def _draw_merged(sheet: Sheet, stack: Stack, paths: Sequence[str], width: float) -> None:
    sheet.box(16, 84, width - 32, _SLAB, "#f4f6f8", stroke=FAINT, radius=10)
    sheet.words(36, 105, "merged", bold=True, size=14)
    who = "a process in the container" if stack.kind == "container" else "a container"
    sheet.words(36, 124, f"what {who} sees", size=11, color=SOFT)
    for at, path in enumerate(paths):
        middle = _LEFT + at * _COLUMN + _TILE / 2
        folder, _, name = path.rpartition("/")
        sheet.words(middle, 152, fitted(name, _COLUMN - 4, 11.5), size=11.5, anchor="middle")
        sheet.words(
            middle, 165, fitted(folder or "/", _COLUMN - 4, 9.5), size=9.5, anchor="middle",
            color=SOFT,
        )  # fmt: skip


def _draw_column(
    sheet: Sheet, stack: Stack, path: str, x: float, places: dict[int | None, float]
) -> None:
    found = _trace(stack, path)
    middle = x + _TILE / 2
    if found.origin is not None and found.origin in places:
        sheet.line(
            middle, 170, middle, places[found.origin] + 8, color=SOFT, width=1.3, dashed=True
        )
    _draw_seen(sheet, stack, found, x)
    for step in found.steps:
        y = places.get(step.layer)
        if step.kind is None or y is None or path not in stack.layers[step.layer].by_path:
            continue
        layer = stack.layers[step.layer]
        if step.kind == ChangeKind.DELETED:
            sheet.box(x, y + 8, _TILE, 36, "url(#hatch)", stroke=_WHITEOUT, dashed=True,
                      tip=f"{layer.title} takes {path} away")  # fmt: skip
            sheet.cross(middle, y + 26, 6, _WHITEOUT)
            continue
        touch = layer.by_path[path]
        sheet.box(x, y + 8, _TILE, 36, color(layer), opacity=1 if step.seen else 0.28,
                  tip=f"{path} of {layer.title}")  # fmt: skip
        if step.seen:
            sheet.words(middle, y + 31, human_size(touch.size), size=11, anchor="middle",
                        color="#ffffff", bold=True)  # fmt: skip
        source = below(stack, step.layer, path)
        if step.kind == ChangeKind.MODIFIED and source in places and layer.role == "container":
            _draw_copy(sheet, x + _TILE, places[source] + 22, y + 30)


def _draw_copy(sheet: Sheet, x: float, low: float, high: float) -> None:
    """From the layer below up to the copy."""
    bend = 20
    sheet.curve(f"M{x:.1f} {low:.1f} C{x + bend:.1f} {low:.1f} {x + bend:.1f} {high:.1f}"
                f" {x + 1:.1f} {high:.1f}")  # fmt: skip


def _draw_seen(sheet: Sheet, stack: Stack, found: Trace, x: float) -> None:
    if found.origin is None:
        sheet.box(x, 92, _TILE, 36, "none", stroke="#b8c2cc", dashed=True,
                  tip=f"{found.path} is not there")  # fmt: skip
        sheet.words(x + _TILE / 2, 115, "gone", size=11, color=SOFT, anchor="middle")
        return
    layer = stack.layers[found.origin]
    sheet.box(x, 92, _TILE, 36, color(layer), tip=f"{found.path} is that of {layer.title}")
    sheet.words(x + _TILE / 2, 115, layer.title, size=11, color="#ffffff", anchor="middle")


def _trace(stack: Stack, path: str) -> Trace:
    """The layers alone decide: what the topmost of them says of the path is seen."""
    said = (trace(stack, path, exists=True, directory=False, size=0)).steps
    first = next((step.kind for step in said if step.kind is not None), None)
    exists = first is not None and first != ChangeKind.DELETED
    return trace(stack, path, exists=exists, directory=False, size=0)


def _draw_legend(sheet: Sheet, stack: Stack, y: float) -> None:
    x = 24.0
    change = "copied up at the first write" if stack.union else "rewritten at the first write"
    for draw, words in _keys(sheet, y, change):
        draw(x)
        sheet.words(x + 32, y + 5, words, size=11, color=SOFT)
        x += 46 + len(words) * 6.4
    sheet.line(16, y - 22, sheet.width - 16, y - 22)


def _keys(sheet: Sheet, y: float, change: str) -> Iterator[tuple[_Draw, str]]:
    yield lambda x: sheet.box(x, y - 7, 24, 15, _IMAGE[0], radius=4), "seen from this layer"
    yield (
        lambda x: sheet.box(x, y - 7, 24, 15, _IMAGE[0], radius=4, opacity=0.28),
        "hidden by a layer above",
    )
    yield (
        lambda x: sheet.box(x, y - 7, 24, 15, "url(#hatch)", radius=4, stroke=_WHITEOUT),
        "taken away (whiteout)",
    )
    yield lambda x: sheet.line(x, y, x + 22, y, color=INK, width=1.6, arrow=True), change
