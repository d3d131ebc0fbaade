"""`/containers/{id}/archive`: what `docker cp` is made of."""

from __future__ import annotations

import base64
from typing import Any

from naru.api.messages import Request, Response, Router, Stream
from naru.engine.containers.files import Files
from naru.spec import jsonread
from naru.spec.errors import InvalidParameter

_STAT = "X-Docker-Container-Path-Stat"
_TAR = "application/x-tar"


class ArchiveRoutes:
    def __init__(self, *, files: Files) -> None:
        self._files = files

    def register(self, router: Router) -> None:
        router.add("HEAD", "/containers/{id}/archive", self.stat)
        router.add("GET", "/containers/{id}/archive", self.read)
        router.add("PUT", "/containers/{id}/archive", self.write)

    async def stat(self, request: Request) -> Response:
        described = await self._files.stat(request.params["id"], _path(request))
        return Response(b"", headers={_STAT: _encoded(described)}, content_type=_TAR)

    async def read(self, request: Request) -> Stream:
        described, pieces = await self._files.read(request.params["id"], _path(request))
        return Stream(pieces, content_type=_TAR, headers={_STAT: _encoded(described)})

    async def write(self, request: Request) -> Response:
        await self._files.write(
            request.params["id"],
            _path(request),
            request.stream(),
            keep_kinds=request.query.flag("noOverwriteDirNonDir"),
            as_user=request.query.flag("copyUIDGID"),
        )
        return Response(b"", status=200)


def _path(request: Request) -> str:
    path = request.query.text("path")
    if not path:
        raise InvalidParameter("bad parameter: path cannot be empty")
    return path


def _encoded(described: dict[str, Any]) -> str:
    return base64.b64encode(jsonread.encode(described)).decode()
