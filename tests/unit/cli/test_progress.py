"""Progress of pull and push, compared with what docker's client 28.2 writes for the same messages."""

from __future__ import annotations

import io
import json

import pytest

from naru.cli.failures import CliError
from naru.cli.progress import Progress, bar

MESSAGES = [
    {"status": "Pulling from library/x", "id": "latest"},
    {"status": "Pulling fs layer", "progressDetail": {}, "id": "aaa"},
    {"status": "Downloading", "progressDetail": {"current": 1000, "total": 3000000}, "id": "aaa"},
    {"status": "Pull complete", "progressDetail": {}, "id": "aaa"},
    {"status": "Status: Downloaded"},
]


def shown(messages: list[dict[str, object]], *, terminal: bool, columns: int = 80) -> str:
    out = io.StringIO()
    Progress(out, terminal=terminal, columns=columns).show(
        json.dumps(message).encode() for message in messages
    )
    return out.getvalue()


def test_plain() -> None:
    assert shown(MESSAGES, terminal=False) == (
        "latest: Pulling from library/x\naaa: Pulling fs layer\naaa: Pull complete\n"
        "Status: Downloaded\n"
    )


def test_terminal() -> None:
    assert shown(MESSAGES, terminal=True) == (
        "latest: Pulling from library/x\n"
        "\n\x1b[1A\x1b[2K\raaa: Pulling fs layer \r\x1b[1B"
        "\x1b[1A\x1b[2K\raaa: Downloading      1kB/3MB\r\x1b[1B"
        "\x1b[1A\x1b[2K\raaa: Pull complete \r\x1b[1B"
        "Status: Downloaded\n"
    )


def test_wide_terminal_draws_a_bar() -> None:
    text = bar({"current": 2_500_000, "total": 3_000_000}, 130, 0)
    assert text == "[" + "=" * 41 + ">" + " " * 9 + "]    2.5MB/3MB"
    assert bar({"current": 3, "units": "s"}, 130, 0) == "3 s"
    assert bar({}, 130, 0) == ""


def test_an_error_ends_it() -> None:
    with pytest.raises(CliError, match="boom"):
        shown([{"errorDetail": {"message": "boom"}, "error": "boom"}], terminal=False)


def test_aux_is_not_shown() -> None:
    assert shown([{"aux": {"Tag": "x"}}, {"stream": "Loaded\n"}], terminal=False) == "Loaded\n"
