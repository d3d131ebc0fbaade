"""What the routes that carry a process' stdio share: media types and sizes."""

from __future__ import annotations

from naru.api.messages import Request
from naru.spec.errors import InvalidParameter

RAW = "application/vnd.docker.raw-stream"
MULTIPLEXED = "application/vnd.docker.multiplexed-stream"


def content_type(request: Request, *, tty: bool) -> str:
    """Frames have a name of their own since API 1.42."""
    return MULTIPLEXED if not tty and request.version >= (1, 42) else RAW


def screen_size(request: Request) -> tuple[int, int]:
    """`h` and `w` -> (height, width)."""
    return _dimension(request, "h"), _dimension(request, "w")


def _dimension(request: Request, name: str) -> int:
    value = request.query.integer(name)
    if value is None:
        raise InvalidParameter(f'strconv.Atoi: parsing "": invalid syntax ({name})')
    if not 0 <= value <= 0xFFFF:
        raise InvalidParameter(f"{name}: {value} is no terminal size")
    return value
