"""`naru images --tree`: every image with its names, and below it the platforms that it has."""

from __future__ import annotations

from naru.cli.terminal import is_terminal, size
from naru.cli.units import human_size, short_id

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

_WARNING = (
    "WARNING: This is an experimental feature. The output may change and shouldn't be depended on."
)
_COLUMNS = (("ID", 12, "<"), ("DISK USAGE", 10, ">"), ("CONTENT SIZE", 12, ">"), ("EXTRA", 5, "<"))
_GAP = "   "
_LEAST_NAME, _LEAST_WIDTH, _USUAL_WIDTH = 12, 20, 80
_RESET = "\x1b[0m"
_HEAD, _NAME = "\x1b[39m\x1b[1m", "\x1b[34m\x1b[1m"
_PLAIN, _ABSENT, _WARN = "\x1b[39m", "\x1b[39m\x1b[2m", "\x1b[93m"
_CHIP = "\x1b[38;5;0m\x1b[48;5;14m U \x1b[0m"
_LEGEND = (
    f"\x1b[1m\x1b[106m\x1b[30mi{_RESET}{_RESET} \x1b[96mInfo → {_RESET}{_RESET} {_CHIP} In Use "
)
_LEGEND_WIDTH = 21


class _Line:
    """What stands beside a name: an image's, or one platform's."""

    def __init__(self, identifier: str, total: int, content: int, *, used: bool) -> None:
        self.cells = [short_id(identifier), human_size(total), human_size(content)]
        self.used = used


def tree(items: Sequence[dict[str, Any]], *, untagged: bool) -> str:
    """The text for images as `GET /images/json?manifests=1` has them, for this terminal."""
    return _Tree(is_terminal(1), size()[1] or _USUAL_WIDTH).text(
        [item for item in items if untagged or item.get("RepoTags")]
    )


class _Tree:
    def __init__(self, colours: bool, width: int) -> None:
        self._colours = colours
        self._width = max(width, _LEAST_WIDTH)

    def text(self, items: Sequence[dict[str, Any]]) -> str:
        children = [_platforms(item) for item in items]
        names = [item.get("RepoTags") or ["<untagged>"] for item in items]
        shown = [*(name for each in names for name in each)]
        shown += ["└─ " + platform for each in children for platform, _, _ in each]
        columns, room = self._columns()
        self._room = min(room, max(5, *map(len, shown)) if shown else 5)
        self._shown = columns
        lines = [self._paint(_WARN, _WARNING), self._legend(), "", self._head()]
        for item, tags, platforms in zip(items, names, children, strict=True):
            lines += self._image(item, tags, platforms)
            if any(children):
                lines.append("")
        return "".join(line + "\n" for line in lines)

    def _columns(self) -> tuple[Sequence[tuple[str, int, str]], int]:
        """The columns that there is room for beside the names, and how much is left for them."""
        room = self._width
        for at, (_, width, _) in enumerate(_COLUMNS):
            if room - width - len(_GAP) < _LEAST_NAME:
                return _COLUMNS[:at], room
            room -= width + len(_GAP)
        return _COLUMNS, room

    def _legend(self) -> str:
        if self._colours:
            return " " * (self._width - _LEGEND_WIDTH) + _LEGEND
        return "Info ->  U In Use ".rjust(self._width)

    def _head(self) -> str:
        cells = [(title, width, side) for title, width, side in self._shown]
        # Docker writes these escapes to files and pipes too.
        return _GAP.join(
            _padded(f"{_HEAD}{title}{_RESET}", len(title), width, side)
            for title, width, side in (("IMAGE", self._room, "<"), *cells)
        )

    def _image(
        self, item: dict[str, Any], tags: list[str], platforms: list[tuple[str, bool, _Line]]
    ) -> list[str]:
        colour = _NAME if item.get("RepoTags") else _ABSENT
        used = item.get("Containers", -1) > 0 or any(line.used for _, _, line in platforms)
        manifests = item.get("Manifests") or []
        content = sum(each["Size"]["Content"] for each in manifests if each["Kind"] != "unknown")
        # The longest first: beside the last one there is least room.
        *first, last = sorted(tags, key=len, reverse=True)
        lines = [self._paint(colour, _cut(name, self._width, self._width - 1)) for name in first]
        details = self._details(_Line(item["Id"], item["Size"], content, used=used), _PLAIN)
        lines.append(self._named(colour, last) + details)
        for at, (platform, available, line) in enumerate(platforms):
            branch = "└─ " if at == len(platforms) - 1 else "├─ "
            colour = _PLAIN if available else _ABSENT
            lines.append(self._named(colour, branch + platform) + self._details(line, colour))
        return lines

    def _named(self, colour: str, name: str) -> str:
        text = _cut(name, self._room)
        return _padded(self._paint(colour, text), len(text), self._room, "<")

    def _details(self, line: _Line, colour: str) -> str:
        cells = [
            _padded(self._paint(colour, text), len(text), width, side)
            for text, (_, width, side) in zip(line.cells, self._shown, strict=False)
        ]
        if len(self._shown) == len(_COLUMNS):
            chip = (_CHIP, 3) if self._colours else ("U", 1)
            text, length = chip if line.used else ("", 0)
            cells.append(_padded(text, length, _COLUMNS[-1][1], "<"))
        return "".join(_GAP + cell for cell in cells)

    def _paint(self, colour: str, text: str) -> str:
        return f"{colour}{text}{_RESET}" if self._colours else text


def _platforms(item: dict[str, Any]) -> list[tuple[str, bool, _Line]]:
    """(platform, whether its layers are here, details) of each manifest that is an image."""
    found = []
    for each in item.get("Manifests") or []:
        if each["Kind"] == "image":
            data, sizes = each["ImageData"], each["Size"]
            used = bool(data.get("Containers"))
            line = _Line(each["ID"], sizes["Total"], sizes["Content"], used=used)
            found.append((_platform(data["Platform"]), each["Available"], line))
    return found


def _platform(platform: dict[str, Any]) -> str:
    parts = [platform.get("os") or "unknown", platform.get("architecture"), platform.get("variant")]
    return "/".join(part for part in parts if part)


def _cut(text: str, width: int, most: int = -1) -> str:
    """`text` in `width` columns; what is longer than `most`, usually the width, loses its end."""
    return text[: width - 1] + "…" if len(text) > (width if most < 0 else most) else text


def _padded(text: str, length: int, width: int, side: str) -> str:
    """`text`, of which `length` columns are seen, with spaces to `width`."""
    space = " " * (width - length)
    return space + text if side == ">" else text + space
