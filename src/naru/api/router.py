"""Which handler answers a method and a path; patterns as `messages.Router` describes them."""

from __future__ import annotations

import re
from typing import NamedTuple

from naru.api.messages import Handler

_PLACEHOLDER = re.compile(r"\{(?P<name>\w+)(?::(?P<pattern>[^{}]+))?\}")


class Match(NamedTuple):
    handler: Handler
    params: dict[str, str]


class _Route(NamedTuple):
    method: str
    expression: re.Pattern[str]
    handler: Handler
    pattern: str


class RouteTable:
    """The routes of the API, looked up by the first segment of the path.

    A pattern without placeholders wins over one with; otherwise the first registered wins.
    """

    def __init__(self) -> None:
        self._fixed: dict[tuple[str, str], Handler] = {}
        self._by_segment: dict[str, list[_Route]] = {}

    def add(self, method: str, pattern: str, handler: Handler) -> None:
        segment = _first_segment(pattern)
        if not pattern.startswith("/") or "{" in segment:
            raise ValueError(f"a route begins with a fixed segment: {pattern!r}")
        if "{" not in pattern:
            if (method, pattern) in self._fixed:
                raise ValueError(f"{method} {pattern} is registered twice")
            self._fixed[method, pattern] = handler
            return
        routes = self._by_segment.setdefault(segment, [])
        if any(route.method == method and route.pattern == pattern for route in routes):
            raise ValueError(f"{method} {pattern} is registered twice")
        routes.append(_Route(method, _compiled(pattern), handler, pattern))

    def match(self, method: str, path: str) -> Match | None:
        handler = self._fixed.get((method, path))
        if handler is not None:
            return Match(handler, {})
        for route in self._by_segment.get(_first_segment(path), ()):
            if route.method == method and (found := route.expression.fullmatch(path)):
                return Match(route.handler, found.groupdict())
        return None


def _first_segment(path: str) -> str:
    return path.split("/", 2)[1] if path.startswith("/") else ""


def _compiled(pattern: str) -> re.Pattern[str]:
    parts: list[str] = []
    position = 0
    for found in _PLACEHOLDER.finditer(pattern):
        parts.append(re.escape(pattern[position : found.start()]))
        parts.append(f"(?P<{found['name']}>{found['pattern'] or '[^/]+'})")
        position = found.end()
    parts.append(re.escape(pattern[position:]))
    return re.compile("".join(parts), re.DOTALL)
