import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from naru.engine.containers import json_lines
from naru.engine.containers.json_lines import PARTIAL

AT = 1_700_000_000_120_000_000
TIME = "2023-11-14T22:13:20.12Z"


def encode(output: bytes, **options: object) -> json_lines.Encoded:
    return json_lines.encode(
        output, stream="stdout", at=AT, final=bool(options.pop("final", False)), **options
    )  # type: ignore[arg-type]


def texts(lines: bytes) -> list[str]:
    return [json.loads(line)["log"] for line in lines.splitlines()]


def test_one_line_is_byte_for_byte_docker_s() -> None:
    assert encode(b'a "b" \\ <&>\t\r\x1b[0m\n').lines == (
        b'{"log":"a \\"b\\" \\\\ \\u003c\\u0026\\u003e\\u0009\\r\\u001b[0m\\n",'
        b'"stream":"stdout","time":"2023-11-14T22:13:20.12Z"}\n'
    )


def test_attributes_stand_before_the_time() -> None:
    assert encode(b"x\n", attrs=b'{"tag":"t"}').lines == (
        b'{"log":"x\\n","stream":"stdout","attrs":{"tag":"t"},"time":"%b"}\n' % TIME.encode()
    )


def test_several_lines_and_an_unfinished_one() -> None:
    encoded = encode(b"a\n\nb\nrest")
    assert texts(encoded.lines) == ["a\n", "\n", "b\n"]
    assert (encoded.consumed, encoded.entries) == (5, 3)
    assert texts(encode(b"rest", final=True).lines) == ["rest"]


@pytest.mark.parametrize("size", [PARTIAL - 1, PARTIAL, PARTIAL + 1, 3 * PARTIAL])
def test_a_long_line_becomes_partial_entries(size: int) -> None:
    got = texts(encode(b"one\n" + b"x" * size + b"\ntwo\n").lines)
    assert "".join(got) == "one\n" + "x" * size + "\ntwo\n"
    assert all(len(text) <= PARTIAL for text in got)
    assert len(got) == 2 + size // PARTIAL + 1


def test_a_long_unfinished_line_is_logged_in_part() -> None:
    encoded = encode(b"x" * (PARTIAL + 5))
    assert texts(encoded.lines) == ["x" * PARTIAL]
    assert encoded.consumed == PARTIAL


def test_a_cut_spares_characters() -> None:
    text = "é" * PARTIAL
    got = texts(encode(b"x" + text.encode() + b"\n").lines)
    assert "".join(got) == "x" + text + "\n"


def test_bytes_that_are_no_utf8_become_one_replacement_each() -> None:
    assert texts(encode(b"a\xff\xe2\x82z\n").lines) == ["a\ufffd\ufffd\ufffdz\n"]


def test_line_separators_are_escaped_as_go_does() -> None:
    lines = encode("a\\\u2028\u2029\n".encode()).lines
    assert b'"a\\\\\\u2028\\u2029\\n"' in lines


@given(st.lists(st.text(max_size=60), max_size=30).map("\n".join), st.booleans())
def test_any_text_comes_back(text: str, final: bool) -> None:
    output = text.encode()
    encoded = encode(output, final=final)
    entries = [json_lines.decode(line) for line in encoded.lines.split(b"\n")[:-1]]
    assert len(entries) == encoded.entries
    assert "".join(e.log for e in entries if e is not None).encode() == output[: encoded.consumed]
    if final:
        assert encoded.consumed == len(output)


@given(
    st.lists(st.sampled_from([1, 5, PARTIAL - 1, PARTIAL, PARTIAL + 1]), max_size=6),
    st.lists(st.integers(1, 30_000), min_size=1, max_size=8),
)
def test_the_division_depends_on_the_bytes_alone(lengths: list[int], cuts: list[int]) -> None:
    """Fed in pieces or at once, the same entries come out: what repeating after a kill rests on."""
    output = b"".join(b"x" * length + b"\n" for length in lengths)
    at_once = texts(encode(output, final=True).lines)
    pieces, rest, at = [], b"", 0
    while at < len(output):
        size = cuts[len(pieces) % len(cuts)]
        rest += output[at : at + size]
        at += size
        encoded = encode(rest)
        pieces.append(encoded.lines)
        rest = rest[encoded.consumed :]
    pieces.append(encode(rest, final=True).lines)
    assert texts(b"".join(pieces)) == at_once


@pytest.mark.parametrize(
    ("at", "text"),
    [(0, "1970-01-01T00:00:00Z"), (AT, TIME), (AT + 1, "2023-11-14T22:13:20.120000001Z")],
)
def test_times(at: int, text: str) -> None:
    assert json_lines.format_time(at) == text
    entry = json_lines.Entry(time=text)
    assert entry.fixed_time == json_lines.fixed_time(at)


def test_a_damaged_line_is_none() -> None:
    assert json_lines.decode(b'{"log":"abc') is None
