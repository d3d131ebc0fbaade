"""The whole client against a daemon of a few canned answers, error paths above all."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.unit.cli.recorder import Recorder

from naru.cli.client import Client, normalise_host, query
from naru.cli.failures import CliError
from naru.cli.main import main


@pytest.fixture
def daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Recorder]:
    for name in ("NARU_HOST", "DOCKER_HOST", "DOCKER_TLS_VERIFY", "DOCKER_API_VERSION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "config"))
    with Recorder(tmp_path / "s") as recorder:
        yield recorder


def run(daemon: Recorder, *argv: str) -> int:
    return main(["-H", daemon.host, *argv])


def test_nobody_listens(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["-H", f"unix://{tmp_path}/none", "ps"]) == 1
    assert capsys.readouterr().err == (
        f"Cannot connect to the Naru daemon at unix://{tmp_path}/none. "
        "Is the naru daemon running?\n"
    )


def test_daemons_error(daemon: Recorder, capsys: pytest.CaptureFixture[str]) -> None:
    daemon.answers["DELETE", "/containers/x"] = (404, {"message": "No such container: x"})
    assert run(daemon, "rm", "x") == 1
    assert capsys.readouterr().err == "Error response from daemon: No such container: x\n"


def test_an_error_that_is_no_json(daemon: Recorder, capsys: pytest.CaptureFixture[str]) -> None:
    daemon.answers["GET", "/containers/json"] = (500, b"<html>bad</html>")
    assert run(daemon, "ps") == 1
    assert capsys.readouterr().err == "Error response from daemon: <html>bad</html>\n"


def test_version_is_negotiated_down(daemon: Recorder) -> None:
    daemon.version = "1.41"
    assert Client(daemon.host).negotiate() == "1.41"
    daemon.version = "1.99"
    assert Client(daemon.host).negotiate() == "1.50"


def test_first_some_work_then_the_failures(
    daemon: Recorder, capsys: pytest.CaptureFixture[str]
) -> None:
    daemon.answers["POST", "/containers/b/stop"] = (404, {"message": "No such container: b"})
    daemon.answers["POST", "/containers/a/stop"] = (204, b"")
    daemon.answers["POST", "/containers/c/stop"] = (304, b"")
    assert run(daemon, "stop", "-t", "0", "a", "b", "c") == 1
    captured = capsys.readouterr()
    assert captured.out == "a\nc\n"
    assert captured.err == "Error response from daemon: No such container: b\n"
    assert [request[1] for request in daemon.requests] == [
        "/containers/a/stop?t=0", "/containers/b/stop?t=0", "/containers/c/stop?t=0",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("reason", "status"),
    [
        ('exec: "x": executable file not found in $PATH: unknown', 127),
        ("exec /x: permission denied: unknown", 126),
        ("driver failed programming external connectivity", 125),
    ],
)
def test_status_of_a_start_that_fails(
    daemon: Recorder, capsys: pytest.CaptureFixture[str], reason: str, status: int
) -> None:
    daemon.answers["POST", f"/containers/{'0' * 64}/start"] = (400, {"message": reason})
    assert run(daemon, "run", "-d", "busybox", "x") == status
    assert capsys.readouterr().err == (
        f"naru: Error response from daemon: {reason}\n\n"
        "Run 'naru run --help' for more information\n"
    )


def test_missing_image_is_pulled_once(daemon: Recorder, capsys: pytest.CaptureFixture[str]) -> None:
    daemon.answers["POST", "/containers/create"] = (404, {"message": "No such image: x:latest"})
    daemon.answers["POST", "/images/create"] = (200, b'{"status":"Pulling"}\r\n')
    assert run(daemon, "run", "-d", "x") == 125
    assert [path.partition("?")[0] for _, path, _ in daemon.requests] == [
        "/containers/create", "/images/create", "/containers/create",
    ]  # fmt: skip
    assert capsys.readouterr().err.startswith("Unable to find image 'x:latest' locally\nPulling\n")


def test_pull_never(daemon: Recorder) -> None:
    daemon.answers["POST", "/containers/create"] = (404, {"message": "No such image: x:latest"})
    assert run(daemon, "run", "-d", "--pull", "never", "x") == 125
    assert len(daemon.requests) == 1


def test_warnings_and_cidfile(
    daemon: Recorder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    daemon.answers["POST", "/containers/create"] = (201, {"Id": "abc", "Warnings": ["careful"]})
    file = tmp_path / "cid"
    assert run(daemon, "create", "--cidfile", str(file), "x") == 0
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("abc\n", "WARNING: careful\n")
    assert file.read_text() == "abc"
    assert run(daemon, "create", "--cidfile", str(file), "x") == 1
    assert "container ID file found" in capsys.readouterr().err


def test_inspect_finds_the_kind(daemon: Recorder, capsys: pytest.CaptureFixture[str]) -> None:
    missing = (404, {"message": "no such thing"})
    daemon.answers["GET", "/containers/v/json"] = missing
    daemon.answers["GET", "/images/v/json"] = missing
    daemon.answers["GET", "/networks/v"] = missing
    daemon.answers["GET", "/volumes/v"] = (200, b'{"Name":"v","Labels":{},"Text":"\\u0026"}')
    assert run(daemon, "inspect", "v") == 0
    assert capsys.readouterr().out == (
        '[\n    {\n        "Name": "v",\n        "Labels": {},\n        "Text": "\\u0026"\n    }\n]\n'
    )
    daemon.answers["GET", "/volumes/v"] = missing
    assert run(daemon, "inspect", "v") == 1
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("[]\n", "Error: No such object: v\n")


def test_login_and_logout(
    daemon: Recorder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    daemon.answers["POST", "/auth"] = (200, {"Status": "Login Succeeded", "IdentityToken": ""})
    assert run(daemon, "login", "-u", "me", "-p", "secret", "localhost:5000") == 0
    assert capsys.readouterr().out == "Login Succeeded\n"
    file = tmp_path / "config" / "config.json"
    assert '"auth": "bWU6c2VjcmV0"' in file.read_text()
    assert file.stat().st_mode & 0o777 == 0o600
    assert run(daemon, "logout", "localhost:5000") == 0
    assert "bWU6c2VjcmV0" not in file.read_text()
    capsys.readouterr()


@pytest.mark.parametrize(
    ("argv", "status", "text"),
    [
        (["-H", "a", "-H", "b", "ps"], 1, "Specify only one -H"),
        (["--context", "x", "ps"], 1, "naru has no contexts"),
        (["--foo"], 125, "unknown flag: --foo"),
        (["nope"], 1, "naru: unknown command: naru nope"),
        (["build", "."], 1, "'build' is not supported"),
        (["container", "nope"], 1, "naru: unknown command: naru container nope"),
        (["run", "-d", "-a", "stdout", "x"], 1, "cannot specify both --attach and --detach"),
        (["start", "--checkpoint", "x", "y"], 1, "--checkpoint is not supported"),
    ],
)
def test_refusals(
    argv: list[str], status: int, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(argv) == status
    assert text in capsys.readouterr().err


def test_hosts() -> None:
    assert normalise_host("") == "unix:///run/naru.sock"
    assert normalise_host("tcp://h") == "tcp://h:2375"
    assert normalise_host("tcp://h", tls=True) == "tcp://h:2376"
    assert normalise_host("h:1") == "tcp://h:1"
    assert normalise_host("tcp://[::1]:80") == "tcp://[::1]:80"
    with pytest.raises(CliError, match="ssh:// is not supported"):
        normalise_host("ssh://h")


def test_queries() -> None:
    assert query(all=True, none=None, off=False, list=["a b", "c"], filters={"x": {"y": True}}) == (
        "?all=1&filters=%7B%22x%22%3A%7B%22y%22%3Atrue%7D%7D&list=a%20b&list=c"
    )


def test_check_says_what_is_wrong_and_fails(
    daemon: Recorder, capsys: pytest.CaptureFixture[str]
) -> None:
    found = (
        b'{"Kind":"orphan-blob","What":"sha256:1","Text":"no image needs it","State":"repaired",'
        b'"Remedy":"remove it"}\n'
    )
    daemon.answers["POST", "/naru/system/check"] = (200, found + b'{"Problems":1,"Left":0}\n')
    assert run(daemon, "system", "check", "--repair") == 0
    assert capsys.readouterr().out == (
        "orphan-blob: sha256:1\n    no image needs it; done: remove it\n"
        "1 problem found, 1 repaired, 0 left.\n"
    )
    assert daemon.requests[-1][:2] == ("POST", "/naru/system/check?repair=1")
    daemon.answers["POST", "/naru/system/check"] = (200, b'{"Problems":2,"Left":2}\n')
    assert run(daemon, "system", "check", "--verify") == 1
    daemon.answers["POST", "/naru/system/check"] = (200, b'{"Error":"the disk is broken"}\n')
    assert run(daemon, "system", "check") == 1
    daemon.answers["POST", "/naru/system/check"] = (200, b"")
    assert run(daemon, "system", "check") == 1
    assert capsys.readouterr().err.endswith("ended the check before it was through\n")
