"""Units, times, tables, JSON text, references, ports: the small texts of the client."""

from __future__ import annotations

import json

import pytest

from naru.cli import jsontext, reference, times, units
from naru.cli.commands.ps import ports_text
from naru.cli.failures import CliError
from naru.cli.output import listing, table
from naru.cli.streams import Demultiplexer, DetachKeys, parse_detach_keys


def test_sizes() -> None:
    assert [units.human_size(n) for n in (0, 999, 1000, 1_982_256, 77_800_000)] == [
        "0B", "999B", "1kB", "1.98MB", "77.8MB",
    ]  # fmt: skip
    assert units.human_size4(1_982_256) == "1.982MB"
    assert units.binary_size(25_276_000_000) == "23.54GiB"
    assert [units.parse_bytes(t) for t in ("512m", "1.5g", "10", "1KiB", "2kb", "-1")] == [
        536870912, 1610612736, 10, 1024, 2048, -1,
    ]  # fmt: skip
    with pytest.raises(ValueError, match="invalid suffix: 'x'"):
        units.parse_bytes("1x")


def test_go_durations() -> None:
    assert times.parse_duration("1h2m3.5s") == 3_723_500_000_000
    assert times.parse_duration("-5ms") == -5_000_000
    with pytest.raises(ValueError, match="unknown unit"):
        times.parse_duration("1x")


def test_moments() -> None:
    assert times.parse_rfc3339("2024-02-29T12:00:00.5+01:00") == (1709204400, 500_000_000)
    assert times.api_timestamp("10m", 1000.0) == "400"
    assert times.api_timestamp("1136073600.5") == "1136073600.500000000"
    assert times.api_timestamp("2006-01-02T15:04:05Z") == "1136214245.000000000"
    with pytest.raises(ValueError, match="failed to parse value"):
        times.api_timestamp("foo")


def test_a_table_has_dockers_spacing() -> None:
    assert table([["ID", "LONG HEADER", "LAST"], ["a", "b", "c"]]) == (
        "ID        LONG HEADER   LAST\na         b             c\n"
    )


def test_listing_forms() -> None:
    rows = [{"ID": "1", "Name": "x"}]
    headers = {"ID": "ID", "Name": "NAME"}
    assert listing(rows, headers, ["ID", "Name"]) == "ID        NAME\n1         x\n"
    assert listing(rows, headers, [], "json") == '{"ID":"1","Name":"x"}\n'
    assert listing(rows, headers, [], "{{.Name}}") == "x\n"
    assert listing(rows, headers, [], "table {{.Name}}\\t{{.ID}}") == "NAME      ID\nx         1\n"
    assert listing([], headers, [], "json") == ""


@pytest.mark.parametrize(
    "value", [{}, [], {"a": [1, 2.5, None, True, 'é"\\\n<']}, [[], {}], "x", -1, {"b": {"c": []}}]
)
def test_json_agrees_with_json(value: object) -> None:
    text = jsontext.dumps(value)
    assert json.loads(text) == value
    assert jsontext.loads(text) == value
    compact = json.dumps(value, ensure_ascii=False)
    assert jsontext.indent(compact) == json.dumps(value, indent=4, ensure_ascii=False)


@pytest.mark.parametrize("text", ["", "{", '{"a":', "[1,"])
def test_broken_json(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - two interpreters, two texts
        jsontext.loads(text)


def test_references() -> None:
    assert reference.split("busybox") == ("docker.io", "library/busybox", "")
    assert reference.split("localhost:5000/a/b:c") == ("localhost:5000", "a/b", "c")
    assert reference.familiar("docker.io/library/busybox") == "busybox:latest"
    assert reference.full("a/b@sha256:1") == "docker.io/a/b@sha256:1"
    with pytest.raises(CliError, match="must be lowercase"):
        reference.split("Busy")
    with pytest.raises(CliError, match="invalid reference format"):
        reference.split("-x")


def test_ports() -> None:
    def port(private: int, public: int = 0, ip: str = "", kind: str = "tcp") -> dict[str, object]:
        return {"PrivatePort": private, "PublicPort": public, "IP": ip, "Type": kind}

    assert ports_text([port(443), port(80, 8080, "0.0.0.0"), port(80, 8080, "::")]) == (
        "443/tcp, 0.0.0.0:8080->80/tcp, [::]:8080->80/tcp"
    )
    assert ports_text([port(1), port(2), port(3), port(5)]) == "1-3/tcp, 5/tcp"
    assert ports_text([port(80, 80, "0.0.0.0"), port(81, 81, "0.0.0.0")]) == (
        "0.0.0.0:80-81->80-81/tcp"
    )


def test_detach_keys() -> None:
    assert parse_detach_keys("ctrl-p,ctrl-q") == b"\x10\x11"
    assert parse_detach_keys("ctrl-@,a") == b"\x00a"
    with pytest.raises(ValueError, match="Unknown character"):
        parse_detach_keys("ctrl-pp")
    keys = DetachKeys("ctrl-p,ctrl-q")
    assert keys.feed(b"ab\x10") == (b"ab", False)
    assert keys.feed(b"c") == (b"\x10c", False)
    assert keys.feed(b"x\x10\x10\x11y") == (b"x\x10", True)


def test_frames_cut_anywhere() -> None:
    stream = b"\x01\0\0\0\0\0\0\x03abc" + b"\x02\0\0\0\0\0\0\x02de" + b"\x01\0\0\0\0\0\0\0"
    for size in range(1, len(stream) + 1):
        got = {1: b"", 2: b""}

        def write(fd: int, data: bytes, got: dict[int, bytes] = got) -> None:
            got[fd] += data

        splitter = Demultiplexer(write)
        for at in range(0, len(stream), size):
            splitter.feed(stream[at : at + size])
        assert got == {1: b"abc", 2: b"de"}
