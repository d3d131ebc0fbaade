"""--filter values as the API's JSON, and the ids and names of objects in lists."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


def filters(pairs: Iterable[tuple[str, str]]) -> dict[str, dict[str, bool]]:
    """`[("status", "exited")]` -> `{"status": {"exited": true}}`."""
    made: dict[str, dict[str, bool]] = {}
    for name, value in pairs:
        made.setdefault(name, {})[value] = True
    return made


def shorten(text: str, limit: int) -> str:
    """At most `limit` characters, the last one an ellipsis when some are left out."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def labels_text(labels: dict[str, str] | None) -> str:
    return ",".join(f"{name}={value}" for name, value in sorted((labels or {}).items()))
