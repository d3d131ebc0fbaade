"""Draws the pictures of docs/storage-drivers.md, with the shapes that `naru storage` draws with.

    .venv/bin/python docs/pictures/draw.py [FIGURES...]

FIGURES are files that `naru storage bench --format json` wrote: `NAME.json` becomes
`bench-NAME.svg`. The picture of a stack is `naru storage inspect --svg`'s own work.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import msgspec

from naru.engine.storage.figures import Figures
from naru.engine.storage.plot import plot
from naru.engine.storage.svg import INK, SOFT, Sheet

HERE = Path(__file__).parent
BLUE, ORANGE, PALE = "#2f6fde", "#f08c2e", "#dfe7f5"
BLOCK, GAP = 44.0, 6.0


def blocks(sheet: Sheet, x: float, y: float, colors: list[str], names: str) -> None:
    for number, (color, name) in enumerate(zip(colors, names, strict=True)):
        at = x + number * (BLOCK + GAP)
        sheet.box(at, y, BLOCK, 30, color, radius=5)
        sheet.words(at + BLOCK / 2, y + 20, name, size=12, color="#ffffff" if color != PALE else INK,
                    anchor="middle", bold=True)  # fmt: skip


def slab(sheet: Sheet, y: float, height: float, color: str, title: str, note: str) -> None:
    sheet.box(16, y, sheet.width - 32, height, color, opacity=0.09, radius=10)
    sheet.box(16, y, 7, height, color, radius=3)
    sheet.words(36, y + 24, title, bold=True, size=14)
    sheet.words(36, y + 42, note, size=11, color=SOFT)


def copy_on_write() -> str:
    sheet = Sheet(760, 300, "Copy-on-write: the first write copies the file up")
    sheet.words(24, 34, "Copy-on-write, by the file", size=18, bold=True)
    sheet.words(24, 54, "overlay2, erofs, overlay, aufs, fuse-overlayfs: one byte of block C is written",
                size=12, color=SOFT)  # fmt: skip
    slab(sheet, 76, 80, ORANGE, "container", "its own directory")
    slab(sheet, 176, 80, BLUE, "image", "shared, never written to")
    blocks(sheet, 260, 104, [ORANGE] * 6, "ABcDEF")
    blocks(sheet, 260, 204, [BLUE] * 6, "ABCDEF")
    for number in range(6):
        x = 260 + number * (BLOCK + GAP) + BLOCK / 2
        sheet.line(x, 202, x, 137, color=INK, width=1.4, arrow=True)
    sheet.words(580, 112, "first write: reads and writes", size=11.5)
    sheet.words(580, 128, "the whole file, once", size=11.5)
    sheet.words(580, 212, "stays as it is,", size=11.5)
    sheet.words(580, 228, "hidden by the copy", size=11.5)
    sheet.words(24, 284, "Every later write goes straight to the copy. Other containers, and the page cache"
                " of what nobody wrote to, are shared.", size=11.5, color=SOFT)  # fmt: skip
    return sheet.render()


def redirect_on_write() -> str:
    sheet = Sheet(760, 300, "Redirect-on-write: the write goes elsewhere, and one pointer changes")
    sheet.words(24, 34, "Redirect-on-write, by the block", size=18, bold=True)
    sheet.words(24, 54, "btrfs, devicemapper (thin snapshots): one byte of block C is written",
                size=12, color=SOFT)  # fmt: skip
    slab(sheet, 76, 80, ORANGE, "container", "a snapshot: a map of blocks")
    slab(sheet, 176, 80, BLUE, "disk", "blocks, each written once")
    blocks(sheet, 260, 104, [PALE, PALE, ORANGE, PALE, PALE, PALE], "ABcDEF")
    blocks(sheet, 260, 204, [BLUE] * 6 + [ORANGE], "ABCDEFc")
    for number in range(6):
        x = 260 + number * (BLOCK + GAP) + BLOCK / 2
        if number == 2:
            end = 260 + 6 * (BLOCK + GAP) + BLOCK / 2
            sheet.curve(f"M{x:.0f} 136 C{x:.0f} 172 {end:.0f} 160 {end:.0f} 201")
        else:
            sheet.line(x, 136, x, 201, color="#9aa7b5", width=1.2, dashed=True, arrow=True)
    sheet.words(625, 104, "first write: one", size=11.5)
    sheet.words(625, 120, "block, elsewhere;", size=11.5)
    sheet.words(625, 136, "nothing is copied", size=11.5)
    sheet.words(24, 284, "A change costs what is changed. The price: files scatter over the disk, and each"
                " snapshot has caches of its own.", size=11.5, color=SOFT)  # fmt: skip
    return sheet.render()


def main(figures: list[str]) -> None:
    (HERE / "copy-on-write.svg").write_text(copy_on_write())
    (HERE / "redirect-on-write.svg").write_text(redirect_on_write())
    for name in figures:
        read = msgspec.convert(json.loads(Path(name).read_text()), Figures)
        (HERE / f"bench-{Path(name).stem}.svg").write_text(plot(read))


if __name__ == "__main__":
    main(sys.argv[1:])
