from __future__ import annotations

import pytest

from naru.daemon.flags import Given, UsageError, parse

TAKES = {"host": True, "debug": False, "log-level": True, "icc": False, "version": False}
SHORT = {"H": "host", "D": "debug", "l": "log-level", "v": "version"}


@pytest.mark.parametrize(
    ("arguments", "given"),
    [
        ([], []),
        (["--host", "a", "--host=b"], [("host", "a"), ("host", "b")]),
        (["-H", "a", "-Hb", "-H=c"], [("host", "a"), ("host", "b"), ("host", "c")]),
        (["-D", "--debug=false"], [("debug", "true"), ("debug", "false")]),
        (["-Dl", "debug"], [("debug", "true"), ("log-level", "debug")]),
        (["-Dldebug"], [("debug", "true"), ("log-level", "debug")]),
        (["-D=false"], [("debug", "false")]),
        (["--icc", "-H", "--icc"], [("icc", "true"), ("host", "--icc")]),
        (["--host="], [("host", "")]),
        (["--host", "a=b"], [("host", "a=b")]),
    ],
)
def test_forms(arguments: list[str], given: list[tuple[str, str]]) -> None:
    assert parse(arguments, takes_value=TAKES, shorthands=SHORT) == [Given(*g) for g in given]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--nope"], "unknown flag: --nope"),
        (["--nope=1"], "unknown flag: --nope"),
        (["-x"], "unknown shorthand flag: 'x' in -x"),
        (["-Dx"], "unknown shorthand flag: 'x' in -Dx"),
        (["--host"], "flag needs an argument: --host"),
        (["-H"], "flag needs an argument: 'H' in -H"),
        (["run"], 'accepts no arguments, got "run"'),
        (["--icc", "false"], 'accepts no arguments, got "false"'),
        (["--", "x"], 'accepts no arguments, got "x"'),
    ],
)
def test_refusals(arguments: list[str], text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(arguments, takes_value=TAKES, shorthands=SHORT)
    assert str(caught.value) == text
