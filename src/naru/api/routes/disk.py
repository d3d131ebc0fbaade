"""`/naru/system`: where every byte is, and whether it belongs there. Not in the Engine API."""

from __future__ import annotations

from collections.abc import AsyncIterator

from naru.api.messages import Request, Response, Router, Stream
from naru.engine.check.check import REPAIRED, Check, Problem
from naru.engine.disk_usage import DiskUsage
from naru.spec import jsonread
from naru.spec.errors import NaruError


class DiskRoutes:
    def __init__(self, *, usage: DiskUsage, check: Check) -> None:
        self._usage = usage
        self._check = check

    def register(self, router: Router) -> None:
        router.add("GET", "/naru/system/df", self.df)
        router.add("POST", "/naru/system/check", self.check)

    async def df(self, request: Request) -> Response:
        return Response(await self._usage.everything())

    async def check(self, request: Request) -> Stream:
        """`repair=1`, `verify=1` -> a line of JSON for each problem, then one with the sums."""
        problems = self._check.run(
            repair=request.query.flag("repair"), verify=request.query.flag("verify")
        )
        return Stream(_lines(problems))


async def _lines(problems: AsyncIterator[Problem]) -> AsyncIterator[bytes]:
    yield b""  # the headers at once: the first problem may be a while
    found = left = 0
    try:
        async for problem in problems:
            found += 1
            left += problem.state != REPAIRED
            yield _line({
                "Kind": problem.kind, "What": problem.what, "Text": problem.text,
                "State": problem.state, "Remedy": problem.remedy,
            })  # fmt: skip
    except NaruError as error:
        yield _line({"Error": str(error)})
    else:
        yield _line({"Problems": found, "Left": left})


def _line(document: dict[str, object]) -> bytes:
    return jsonread.encode(document) + b"\n"
