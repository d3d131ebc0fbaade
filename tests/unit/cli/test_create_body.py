"""argv of `naru create` against the bodies that docker's client 28.2 sends for the same argv.

`create_bodies.json` was recorded from that client: the first entry whole, the others as what
differs from it.
"""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest

from naru.cli.commands.create_body import FLAGS, body
from naru.cli.flags import Parser, UsageError
from naru.cli.options.checks import CHECKS
from naru.cli.reference import split

CASES: list[dict[str, Any]] = json.loads(Path(__file__).with_name("create_bodies.json").read_text())
BASE = CASES[0]["body"]


def changes(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key in before.keys() | after.keys():
        if key not in after:
            found[key] = "<absent>"
        elif key not in before:
            found[key] = after[key]
        elif before[key] != after[key]:
            both = isinstance(before[key], dict) and isinstance(after[key], dict)
            found[key] = changes(before[key], after[key]) if both else after[key]
    return found


def made(argv: str) -> dict[str, Any]:
    parser = Parser("naru create", "", FLAGS, least=1, interspersed=False, checks=CHECKS)
    values, (image, *command) = parser.parse(shlex.split(argv))
    result = body(values, image, command)
    split(image)
    return result


def test_the_plain_body() -> None:
    assert made("busybox") == BASE


@pytest.mark.parametrize("case", CASES[1:], ids=lambda case: case["argv"])
def test_as_docker_sends_it(case: dict[str, Any]) -> None:
    if "error" not in case:
        assert changes(BASE, made(case["argv"])) == case["changes"]
        return
    with pytest.raises(Exception) as caught:  # noqa: PT011 - the text is what is compared
        made(case["argv"])
    text = str(caught.value)
    if not isinstance(caught.value, UsageError) and not case["error"].startswith("invalid ref"):
        text = f"naru: {text}"
    assert text.split("\n")[0] == case["error"]


def test_environment_of_the_client(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("KNOWN", "here")
    monkeypatch.delenv("UNKNOWN", raising=False)
    file = tmp_path / "env"
    file.write_text("# comment\nA=1\nKNOWN\nUNKNOWN\n\n  B=two words\n")
    asked = made(f"--env-file {file} -e KNOWN -e UNKNOWN -e A=2 busybox")["Env"]
    assert asked == ["A=1", "KNOWN=here", "B=two words", "KNOWN=here", "UNKNOWN", "A=2"]


def test_labels_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "labels"
    file.write_text("a=b\nc\n")
    assert made(f"--label-file {file} -l a=z busybox")["Labels"] == {"a": "z", "c": ""}


def test_a_relative_bind_becomes_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    binds = made("-v ./data:/d -v vol:/v busybox")["HostConfig"]["Binds"]
    assert binds == [f"{tmp_path}/data:/d", "vol:/v"]


def test_a_seccomp_profile_is_read(tmp_path: Path) -> None:
    file = tmp_path / "profile.json"
    file.write_text('{ "defaultAction":  "SCMP_ACT_ALLOW" }')
    options = made(f"--security-opt seccomp={file} busybox")["HostConfig"]["SecurityOpt"]
    assert options == ['seccomp={"defaultAction":"SCMP_ACT_ALLOW"}']
