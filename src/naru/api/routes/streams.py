"""Attach, logs and statistics of containers: the answers that go on."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from naru.api import versions, websocket
from naru.api.disconnect import until_gone
from naru.api.messages import HIJACKED, Answer, Request, Router, Stream, Version
from naru.api.routes.rawstream import content_type
from naru.api.timestamps import nanoseconds
from naru.engine.containers import detach_keys, json_lines
from naru.engine.containers.attach import Attach
from naru.engine.containers.attachment import AttachOptions
from naru.engine.containers.log_reader import LogQuery
from naru.engine.containers.log_view import LogView
from naru.engine.containers.logs import Logs
from naru.engine.containers.stats import Statistics
from naru.spec import jsonread
from naru.spec.errors import InvalidParameter


class StreamRoutes:
    def __init__(self, *, attach: Attach, logs: Logs, statistics: Statistics) -> None:
        self._attach = attach
        self._logs = logs
        self._statistics = statistics

    def register(self, router: Router) -> None:
        router.add("POST", "/containers/{id}/attach", self.attach)
        router.add("GET", "/containers/{id}/attach/ws", self.attach_by_websocket)
        router.add("GET", "/containers/{id}/logs", self.logs)
        router.add("GET", "/containers/{id}/stats", self.stats)

    async def attach(self, request: Request) -> Answer:
        query = request.query
        keys = detach_keys.parse(query.text("detachKeys"))
        history = query.flag("logs")
        record = self._attach.attachable(request.params["id"], history=history)
        options = AttachOptions(
            stdin=query.flag("stdin"),
            stdout=query.flag("stdout"),
            stderr=query.flag("stderr"),
            detach_keys=keys,
            mux=not record.config.tty,
        )
        conn = await request.hijack(content_type(request, tty=record.config.tty))
        try:
            await self._attach(record, conn, options, history=history, stream=query.flag("stream"))
        finally:
            conn.close()
        return HIJACKED

    async def attach_by_websocket(self, request: Request) -> Answer:
        """Raw bytes in binary messages, stdout and stderr mixed, as dockerd does it."""
        query = request.query
        keys = detach_keys.parse(query.text("detachKeys"))
        history = query.flag("logs")
        record = self._attach.attachable(request.params["id"], history=history)
        chosen = {name: query.flag(name) for name in ("stdin", "stdout", "stderr")}
        if not any(name in query for name in chosen):
            chosen = dict.fromkeys(chosen, True)
        options = AttachOptions(**chosen, detach_keys=keys, mux=False)
        conn = await websocket.accept(request)
        try:
            await self._attach(record, conn, options, history=history, stream=query.flag("stream"))
            await conn.say_goodbye()
        finally:
            conn.close()
        return HIJACKED

    async def logs(self, request: Request) -> Stream:
        query = request.query
        stdout, stderr = query.flag("stdout"), query.flag("stderr")
        record = self._attach.find(request.params["id"])
        if not (stdout or stderr):
            raise InvalidParameter("Bad parameters: you must choose at least one stream")
        view = LogView(
            stdout=stdout,
            stderr=stderr,
            timestamps=query.flag("timestamps"),
            details=query.flag("details"),
            mux=not record.config.tty,
        )
        wanted = LogQuery(
            tail=_tail(query.text("tail")),
            since=_fixed_time(request, "since"),
            until=_fixed_time(request, "until"),
            follow=query.flag("follow"),
        )
        chunks = self._logs.chunks(record, wanted, view.render)
        gone = request.disconnected()
        return Stream(
            _begun(until_gone(chunks, gone)),
            content_type=content_type(request, tty=record.config.tty),
        )

    async def stats(self, request: Request) -> Answer:
        stream = request.query.flag("stream", True)
        one_shot = request.version >= (1, 41) and request.query.flag("one-shot")
        record = self._statistics.find(request.params["id"])
        samples = self._statistics.samples(record, stream=stream, one_shot=one_shot)
        return Stream(_lines(until_gone(samples, request.disconnected()), request.version))


def _tail(text: str) -> int | None:
    """As dockerd: what is no number, or below zero, is "all"."""
    try:
        lines = int(text)
    except ValueError:
        return None
    return lines if lines >= 0 else None


def _fixed_time(request: Request, name: str) -> str:
    at = nanoseconds(request.query, name)
    return json_lines.fixed_time(at) if at else ""  # 0 is "no limit" here


async def _begun(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The headers go out before there is a line."""
    yield b""
    async for chunk in chunks:
        yield chunk


async def _lines(samples: AsyncIterator[dict[str, Any]], version: Version) -> AsyncIterator[bytes]:
    async for sample in samples:
        shown = versions.shape(version, "container.stats", sample)
        yield jsonread.encode(shown) + b"\n"
