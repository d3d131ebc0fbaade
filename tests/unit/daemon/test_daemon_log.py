from __future__ import annotations

import io
import json
import logging
import re
from collections.abc import Iterator

import pytest

from naru.daemon import logs

TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z"


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = True


def test_a_terminal_gets_logrus_short_form() -> None:
    out = Screen()
    logs.configure(level="info", stream=out)
    logging.getLogger("naru").info("API listen on %s", "/run/naru.sock")
    assert re.fullmatch(
        rf"\x1b\[36mINFO\x1b\[0m\[{TIME}\] API listen on /run/naru.sock\n", out.getvalue()
    )


@pytest.mark.parametrize("raw", [True, False])
def test_a_pipe_gets_key_values(raw: bool) -> None:
    out = Screen() if raw else io.StringIO()
    logs.configure(level="info", raw=raw, stream=out)
    logging.getLogger("naru").warning('say "%s"', "hi\n")
    assert re.fullmatch(rf'time="{TIME}" level=warning msg="say \\"hi\\n\\""\n', out.getvalue())


def test_json_lines_with_a_traceback() -> None:
    out = io.StringIO()
    logs.configure(level="debug", form="json", stream=out)
    try:
        raise ValueError("bug")
    except ValueError:
        logging.getLogger("naru").exception("failed")
    line = json.loads(out.getvalue())
    assert line["level"] == "error"
    assert line["msg"].startswith("failed\nTraceback")


def test_levels() -> None:
    out = io.StringIO()
    logs.configure(level="warn", stream=out)
    logging.getLogger("naru").info("quiet")
    assert out.getvalue() == ""
    logs.set_level("debug")
    logging.getLogger("naru").debug("loud")
    assert "loud" in out.getvalue()
