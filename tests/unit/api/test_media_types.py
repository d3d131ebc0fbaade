from __future__ import annotations

import pytest

from naru.api.media_types import (
    JSON,
    JSON_LINES,
    JSON_SEQUENCE,
    NEWLINE_DELIMITED,
    framed,
    negotiated,
)

OFFERS = [JSON_LINES, NEWLINE_DELIMITED, JSON_SEQUENCE]


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        ("", JSON),
        ("application/json", JSON),
        ("text/html, image/*", JSON),
        ("*/*", JSON_LINES),
        ("application/*", JSON_LINES),
        ("application/json-seq", JSON_SEQUENCE),
        ("Application/JSON-Seq; charset=utf-8", JSON_SEQUENCE),
        ("*/*, application/json-seq", JSON_SEQUENCE),
        ("application/*;q=0.9, application/x-ndjson;q=0.9", NEWLINE_DELIMITED),
        ("application/json-seq;q=0.5, application/x-ndjson;q=0.8", NEWLINE_DELIMITED),
        ("application/jsonl;q=0, application/json-seq;q=0.1", JSON_SEQUENCE),
        ("application/jsonl;q=x", JSON),
        (",,;", JSON),
    ],
)
def test_what_a_client_accepts(accept: str, chosen: str) -> None:
    assert negotiated(accept, OFFERS, JSON) == chosen


def test_frames() -> None:
    assert framed(b"{}", JSON_SEQUENCE) == b"\x1e{}\n"
    assert framed(b"{}", JSON_LINES) == framed(b"{}", NEWLINE_DELIMITED) == b"{}\n"
