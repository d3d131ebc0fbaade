"""Messages of long image work, as a client of some version gets them: one JSON object a line."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from naru.api.routes.image_transfers import encode_messages
from naru.api.versions import changes


async def messages() -> AsyncIterator[dict[str, Any]]:
    yield {"status": "Pushed"}
    yield {"progressDetail": {}, "aux": {"manifestPushedInsteadOfIndex": True}}
    yield {"aux": {"Tag": "1"}}


async def test_nothing_is_sent_of_what_an_older_client_does_not_know() -> None:
    newest = [line async for line in encode_messages(messages(), changes((1, 46), "progress"))]
    assert len(newest) == 3
    older = [line async for line in encode_messages(messages(), changes((1, 45), "progress"))]
    assert older == [newest[0], newest[2]]
