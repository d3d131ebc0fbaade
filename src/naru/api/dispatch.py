"""From a request to its answer: version, route, handler, and what went wrong."""

from __future__ import annotations

import logging
import sys
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

from naru import __version__
from naru.api import errors, versions
from naru.api.body import ClientGone
from naru.api.messages import HIJACKED, Answer, Response, Stream
from naru.api.request import HttpRequest
from naru.api.router import RouteTable
from naru.kernel.pipes import Piped
from naru.spec.errors import NotFound

log = logging.getLogger(__name__)


class Dispatcher:
    """Calls the handler that the router names and turns every failure into an answer."""

    def __init__(self, *, router: RouteTable, experimental: bool = False) -> None:
        self._router = router
        self.headers = {
            "Api-Version": versions.text(versions.NEWEST),
            "Docker-Experimental": str(experimental).lower(),
            "Ostype": sys.platform,
            "Server": f"Naru/{__version__} ({sys.platform})",
        }

    async def __call__(self, request: HttpRequest) -> Answer:
        what = f"{request.method} {request.path}"
        log.debug("Calling %s", what)
        try:
            asked, path = versions.split(request.path)
            match = self._router.match(request.method, path)
            if match is None:
                # Docker says the same of a path that exists with another method.
                raise NotFound("page not found")
            request.version = versions.checked(asked)
            request.path = path
            request.params = match.params
            answer = await match.handler(request)
            if isinstance(answer, Stream):
                return await _started(answer)
            if not isinstance(answer, Response) and answer is not HIJACKED:
                raise TypeError(f"the handler answered {answer!r}")
            return answer
        except ClientGone:
            raise
        except Exception as error:
            return errors.answer(error, what=what)


async def _started(stream: Stream) -> Stream:
    """The stream with its first piece at hand, so that an early error is still an error answer."""
    pieces = stream.pieces
    first: bytes | Piped
    try:
        first = await anext(pieces)
    except StopAsyncIteration:
        first = b""
    stream.pieces = _resumed(first, pieces)
    return stream


async def _resumed(
    first: bytes | Piped, rest: AsyncIterator[bytes | Piped]
) -> AsyncIterator[bytes | Piped]:
    if not hasattr(rest, "aclose"):
        yield first
        async for piece in rest:
            yield piece
        return
    generator: Any = rest
    async with aclosing(generator):
        yield first
        async for piece in generator:
            yield piece
