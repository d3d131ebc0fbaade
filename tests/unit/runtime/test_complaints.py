from __future__ import annotations

from pathlib import Path

import pytest

from naru.runtime import complaints
from naru.spec.errors import InternalError, InvalidParameter

_CREATE = (
    "failed to create task for container: failed to create shim task: "
    "OCI runtime create failed: runc create failed: "
)
_START = "unable to start container process: "
_INIT = _START + "error during container init: "


@pytest.mark.parametrize(
    ("said", "shown", "code"),
    [
        (
            "executable file `nope` not found in $PATH: No such file or directory",
            _START + 'exec: "nope": executable file not found in $PATH: unknown',
            127,
        ),
        (
            "executable file `/bin/nope` not found in $PATH: No such file or directory",
            _START + 'exec: "/bin/nope": stat /bin/nope: no such file or directory: unknown',
            127,
        ),
        (
            "open executable: Operation not permitted",
            _START + 'exec: "cmd": is a directory: unknown: permission denied',
            126,
        ),
        (
            "open executable: Permission denied",
            _START + 'exec: "cmd": permission denied: unknown',
            126,
        ),
        (
            "chdir `/x`: No such file or directory",
            _START + 'chdir to cwd ("/x") set in config.json failed: '
            "no such file or directory: unknown",
            127,
        ),
        (
            "error stat'ing file `/src`: No such file or directory",
            _INIT + "stat /src: no such file or directory: unknown",
            127,
        ),
        (
            "mount `/a` to `b/c`: Not a directory",
            _INIT + 'error mounting "/a" to rootfs at "/b/c": not a directory: unknown: Are you '
            "trying to mount a directory onto a file (or vice-versa)? Check if the specified host "
            "path exists and is the expected type",
            127,
        ),
        (
            'runc run failed: unable to start container process: exec: "x": '
            "executable file not found in $PATH",
            _START + 'exec: "x": executable file not found in $PATH: unknown',
            127,
        ),
    ],
)
def test_the_containers_fault(said: str, shown: str, code: int) -> None:
    error = complaints.translated(said, command="cmd")
    assert isinstance(error, complaints.CommandFailed)
    assert isinstance(error, InvalidParameter)
    assert str(error) == _CREATE + shown
    assert error.exit_code == code


def test_the_runtimes_fault() -> None:
    error = complaints.translated("invalid rlimit `RLIMIT_FOO`", command="cmd")
    assert type(error) is complaints.RuntimeFailed
    assert isinstance(error, InternalError)
    assert not isinstance(error, InvalidParameter)
    assert str(error) == _CREATE + "invalid rlimit `RLIMIT_FOO`: unknown"
    assert error.exit_code == 128


def test_a_brace_in_a_name_is_no_format() -> None:
    error = complaints.translated("executable file `{x}` not found in $PATH", command="{y}")
    assert 'exec: "{x}": executable file not found' in str(error)


def test_of_an_exec() -> None:
    error = complaints.translated("open executable: Permission denied", command="x", exec_=True)
    assert str(error) == (
        'OCI runtime exec failed: exec failed: unable to start container process: exec: "x": '
        "permission denied: unknown"
    )


def test_the_last_error_of_a_log(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text(
        '{"msg":"first","level":"error"}\n{"msg":"the one","level":"error"}\n'
        '{"msg":"talk","level":"debug"}\n'
    )
    assert complaints.last_complaint(log) == "the one"
    assert "did not say why" in complaints.last_complaint(tmp_path / "none")
    log.write_text("plain\n")
    assert complaints.last_complaint(log) == "plain"


def test_what_a_command_wrote() -> None:
    logfmt = b'time="2026-01-01T00:00:00Z" level=error msg="container \\"x\\" does not exist"\n'
    assert complaints.of_output(logfmt, 1) == 'container "x" does not exist'
    missing = b"error opening file `/r/c/status`: No such file or directory\n"
    assert complaints.of_output(missing, 1) == "container does not exist"
    assert complaints.of_output(b"", 3) == "the runtime ended with status 3 and said nothing"
