"""pflag's rules: combined letters, values in all places, where parsing stops, what is refused."""

from __future__ import annotations

import pytest

from naru.cli.flags import HelpWanted, Parser, UsageError

FLAGS = """
-i --interactive = Keep stdin
-t --tty = Terminal
-e --env list = Variable
-n --number int:7 = A number
-m --memory bytes = Memory
--sig bool:true = On by default
--sub strings = Comma separated
-f --filter filter = A filter
--wait duration = How long
"""


def parser(**options: object) -> Parser:
    return Parser("naru x", "naru x [OPTIONS] A", FLAGS, **options)  # type: ignore[arg-type]


def test_combined_letters_and_attached_values() -> None:
    values, rest = parser().parse(["-ite", "A=1", "-eB=2", "-e=C=3", "-n5", "x"])
    assert values["interactive"]
    assert values["tty"]
    assert values["env"] == ["A=1", "B=2", "C=3"]
    assert values["number"] == 5
    assert rest == ["x"]


def test_long_forms() -> None:
    values, _ = parser().parse(
        ["--env=A=1", "--env", "-t", "--tty=false", "--sig=0", "--sub", "a,b", "--sub=c"]
    )
    assert values["env"] == ["A=1", "-t"]
    assert values["tty"] is False
    assert values["sig"] is False
    assert values["sub"] == ["a", "b", "c"]
    assert values.given == {"env", "tty", "sig", "sub"}


def test_defaults() -> None:
    values, _ = parser().parse([])
    assert (values["number"], values["sig"], values["env"], values["memory"]) == (7, True, [], 0)
    assert values.get("number") is None


def test_stops_at_the_first_argument() -> None:
    values, rest = parser(interspersed=False).parse(["-t", "image", "ls", "-i", "--foo"])
    assert values["tty"]
    assert not values["interactive"]
    assert rest == ["image", "ls", "-i", "--foo"]


def test_interspersed_and_double_dash() -> None:
    values, rest = parser().parse(["a", "-i", "--", "-t", "-"])
    assert values["interactive"]
    assert not values["tty"]
    assert rest == ["a", "-t", "-"]


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--foo"], "unknown flag: --foo"),
        (["-Z"], "unknown shorthand flag: 'Z' in -Z"),
        (["-iZ"], "unknown shorthand flag: 'Z' in -Z"),
        (["--env"], "flag needs an argument: --env"),
        (["-e"], "flag needs an argument: 'e' in -e"),
        (["--=x"], "bad flag syntax: --=x"),
        (
            ["-n", "abc"],
            'invalid argument "abc" for "-n, --number" flag: strconv.ParseInt: parsing "abc": '
            "invalid syntax",
        ),
        (
            ["--tty=x"],
            'invalid argument "x" for "-t, --tty" flag: strconv.ParseBool: parsing "x": '
            "invalid syntax",
        ),
        (["-m", "abc"], 'invalid argument "abc" for "-m, --memory" flag: invalid size: \'abc\''),
        (
            ["--wait", "5"],
            'invalid argument "5" for "--wait" flag: time: missing unit in duration "5"',
        ),
    ],
)
def test_errors(argv: list[str], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        parser().parse(argv)
    assert caught.value.message == (
        f"{message}\n\nUsage:  naru x [OPTIONS] A\n\nRun 'naru x --help' for more information"
    )
    assert caught.value.status == 125


@pytest.mark.parametrize(
    ("least", "most", "argv", "message"),
    [
        (0, 0, ["a"], "'naru x' accepts no arguments"),
        (1, 1, [], "'naru x' requires 1 argument"),
        (2, 2, ["a"], "'naru x' requires 2 arguments"),
        (1, None, [], "'naru x' requires at least 1 argument"),
        (0, 2, ["a", "b", "c"], "'naru x' requires at most 2 arguments"),
        (1, 2, ["a", "b", "c"], "'naru x' requires at least 1 and at most 2 arguments"),
    ],
)
def test_counts(least: int, most: int | None, argv: list[str], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        parser(least=least, most=most).parse(argv)
    assert caught.value.message.startswith(f"naru: {message}\n")
    assert caught.value.status == 1


def test_help() -> None:
    with pytest.raises(HelpWanted):
        parser(least=1).parse(["--help"])
    text = parser(about="Does x").help()
    assert "  -e, --env list" in text
    assert "Does x" in text
