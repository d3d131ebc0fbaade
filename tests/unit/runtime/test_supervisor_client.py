"""The daemon's side of the supervisor, where the supervisor itself is not needed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from naru.runtime.supervised import Exit
from naru.runtime.supervisor import Supervisor


class Link:
    def __init__(self) -> None:
        self.asked: list[str] = []

    async def request(self, op: str, **arguments: Any) -> None:
        self.asked.append(op)


async def test_a_supervisor_that_dies_again_before_it_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    supervisor, link = Supervisor(tmp_path), Link()
    links = [None, None, link]

    async def in_charge() -> None:
        monkeypatch.setattr(supervisor._upkeep, "_link", links.pop(0))

    monkeypatch.setattr(supervisor._upkeep, "in_charge", in_charge)
    await supervisor.acknowledge(Exit("c", None, pid=1, status=0, at=1))
    assert link.asked == ["acknowledge"]
    assert links == []
