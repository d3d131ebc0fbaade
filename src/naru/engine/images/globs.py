"""Go's `path.Match`, in which Docker's `reference` filter is written. Pure."""

from __future__ import annotations

import functools
import re

from naru.spec.errors import InvalidParameter


@functools.lru_cache(64)
def compiled(pattern: str) -> re.Pattern[str]:
    """`*` and `?` stop at a slash, `[a-z]` and `[^a-z]` are classes, `\\` takes the next character
    as it is. Raises `InvalidParameter` for what is none."""
    out = []
    at = 0
    while at < len(pattern):
        char = pattern[at]
        at += 1
        if char == "*":
            out.append("[^/]*")
        elif char == "?":
            out.append("[^/]")
        elif char == "[":
            text, at = _class(pattern, at)
            out.append(text)
        else:
            char, at = _literal(pattern, at - 1)
            out.append(re.escape(char))
    return re.compile("".join(out), re.DOTALL)


def matches(text: str, pattern: str) -> bool:
    return compiled(pattern).fullmatch(text) is not None


def _class(pattern: str, at: int) -> tuple[str, int]:
    """The class that begins behind the bracket -> (as a regular expression, where it ends)."""
    negated = pattern[at : at + 1] == "^"
    at += negated
    ranges: list[str] = []
    while not (ranges and pattern[at : at + 1] == "]"):
        low, at = _member(pattern, at)
        high = low
        if pattern[at : at + 1] == "-":
            high, at = _member(pattern, at + 1)
        if low <= high:
            ranges.append(f"{re.escape(low)}-{re.escape(high)}")
        else:
            ranges.append("")  # Go takes it, and it holds nothing
    inside = "".join(ranges)
    if not inside:
        return ("." if negated else "(?!)"), at + 1
    return f"[{'^' if negated else ''}{inside}]", at + 1


def _member(pattern: str, at: int) -> tuple[str, int]:
    if pattern[at : at + 1] in ("", "-", "]"):
        raise _bad()
    return _literal(pattern, at)


def _literal(pattern: str, at: int) -> tuple[str, int]:
    if pattern[at] != "\\":
        return pattern[at], at + 1
    if at + 1 == len(pattern):
        raise _bad()
    return pattern[at + 1], at + 2


def _bad() -> InvalidParameter:
    return InvalidParameter("syntax error in pattern")
