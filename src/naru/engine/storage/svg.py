"""SVG by hand: a sheet to put shapes and words on. Pure; numbers are pixels."""

from __future__ import annotations

from html import escape

INK = "#1f2933"
SOFT = "#6b7785"
FAINT = "#d7dde4"
PAPER = "#ffffff"
_FONT = "Inter, 'Helvetica Neue', 'DejaVu Sans', Arial, sans-serif"
_MONO = "'JetBrains Mono', 'DejaVu Sans Mono', Menlo, monospace"
_DEFINITIONS = (
    '<pattern id="hatch" width="7" height="7" patternUnits="userSpaceOnUse"'
    ' patternTransform="rotate(45)"><rect width="7" height="7" fill="#fdecea"/>'
    '<rect width="2.4" height="7" fill="#e07a70"/></pattern>'
    '<marker id="tip" viewBox="0 0 8 8" refX="6.5" refY="4" markerWidth="7" markerHeight="7"'
    f' orient="auto-start-reverse"><path d="M0 0.8 L7 4 L0 7.2 z" fill="{INK}"/></marker>'
)


class Sheet:
    def __init__(self, width: float, height: float, title: str) -> None:
        """`title` is what a screen reader says, and the tooltip."""
        self.width = width
        self.height = height
        self._title = title
        self._parts: list[str] = []

    def box(
        self,
        x: float,
        y: float,
        width: float,
        height: float,
        fill: str,
        *,
        stroke: str = "none",
        radius: float = 8,
        opacity: float = 1,
        dashed: bool = False,
        tip: str = "",
    ) -> None:
        dash = ' stroke-dasharray="5 4"' if dashed else ""
        faded = f' opacity="{opacity:g}"' if opacity != 1 else ""
        inner = f"><title>{escape(tip)}</title></rect>" if tip else "/>"
        self._parts.append(
            f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}"'
            f' rx="{radius:g}" fill="{fill}" stroke="{stroke}"{dash}{faded}{inner}'
        )

    def line(
        self,
        x1: float,
        y1: float,
        x2: float,
        y2: float,
        *,
        color: str = FAINT,
        width: float = 1,
        dashed: bool = False,
        arrow: bool = False,
    ) -> None:
        dash = ' stroke-dasharray="3 4"' if dashed else ""
        tip = ' marker-end="url(#tip)"' if arrow else ""
        self._parts.append(
            f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{color}"'
            f' stroke-width="{width:g}"{dash}{tip}/>'
        )

    def curve(self, path: str, *, color: str = INK, width: float = 1.6, arrow: bool = True) -> None:
        """`path` is the `d` of an SVG path."""
        tip = ' marker-end="url(#tip)"' if arrow else ""
        self._parts.append(
            f'<path d="{path}" fill="none" stroke="{color}" stroke-width="{width:g}"{tip}/>'
        )

    def words(
        self,
        x: float,
        y: float,
        text: str,
        *,
        size: float = 13,
        color: str = INK,
        anchor: str = "start",
        bold: bool = False,
        mono: bool = False,
        turn: float = 0,
    ) -> None:
        weight = ' font-weight="600"' if bold else ""
        family = f' font-family="{_MONO}"' if mono else ""
        turned = f' transform="rotate({turn:g} {x:.1f} {y:.1f})"' if turn else ""
        self._parts.append(
            f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size:g}" fill="{color}"'
            f' text-anchor="{anchor}"{weight}{family}{turned}>{escape(text)}</text>'
        )

    def cross(self, x: float, y: float, arm: float, color: str) -> None:
        self._parts.append(
            f'<path d="M{x - arm:.1f} {y - arm:.1f} L{x + arm:.1f} {y + arm:.1f}'
            f' M{x + arm:.1f} {y - arm:.1f} L{x - arm:.1f} {y + arm:.1f}" stroke="{color}"'
            ' stroke-width="2.2" stroke-linecap="round"/>'
        )

    def render(self) -> str:
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{self.width:g}"'
            f' height="{self.height:g}" viewBox="0 0 {self.width:g} {self.height:g}"'
            f' font-family="{_FONT}" role="img">\n<title>{escape(self._title)}</title>\n'
            f"<defs>{_DEFINITIONS}</defs>\n"
            f'<rect width="100%" height="100%" fill="{PAPER}"/>\n'
            + "\n".join(self._parts)
            + "\n</svg>\n"
        )


def fitted(text: str, width: float, size: float, *, mono: bool = False) -> str:
    """`text`, with an ellipsis in its middle where it would be wider than `width`."""
    most = max(4, int(width / (size * (0.61 if mono else 0.56))))
    if len(text) <= most:
        return text
    head = (most - 1) // 2
    return text[:head] + "…" + text[len(text) - (most - 1 - head) :]
