"""What a runtime complains about, in Docker's words.

Clients go by the words: the docker CLI ends with 127 when an error says "executable file not
found" or "no such file or directory", with 126 for "permission denied" or "is a directory", and
with 125 for anything else (docker/cli, cli/command/container/run.go). The daemon's own exit code
of a failed start follows moby's daemon/errors.go.
"""

from __future__ import annotations

import re
from pathlib import Path

import msgspec

from naru.spec.errors import InternalError, InvalidParameter, NaruError

_CREATE = (
    "failed to create task for container: failed to create shim task: OCI runtime create failed"
)
_EXEC = "OCI runtime exec failed: exec failed"
_START = "unable to start container process"
_MISMATCH = (
    "Are you trying to mount a directory onto a file (or vice-versa)? "
    "Check if the specified host path exists and is the expected type"
)

# Where a text says what happened with libc's words, Docker says it with Go's: in lower case.
_ERRNO_TEXTS = (
    "No such file or directory",
    "Permission denied",
    "Not a directory",
    "Is a directory",
    "Operation not permitted",
    "Exec format error",
    "Invalid argument",
    "Too many levels of symbolic links",
    "Device or resource busy",
    "No space left on device",
    "Read-only file system",
    "File exists",
    "Resource temporarily unavailable",
    "Cannot allocate memory",
    "Argument list too long",
)


class RuntimeFailed(InternalError):
    """`exit_code`: what `State.ExitCode` becomes, and what `docker run` is expected to end with."""

    exit_code = 128


class CommandFailed(InvalidParameter, RuntimeFailed):
    """The container's own command or mounts are to blame: a bad request, as Docker sees it."""

    def __init__(self, text: str, exit_code: int) -> None:
        super().__init__(text)
        self.exit_code = exit_code


def last_complaint(error_log: Path) -> str:
    """The last error of a `--log-format json` log."""
    try:
        lines = error_log.read_text(errors="replace").splitlines()
    except FileNotFoundError:
        lines = []
    for line in reversed(lines):
        try:
            entry = msgspec.json.decode(line, type=dict[str, object])
        except msgspec.DecodeError:
            return line
        if entry.get("level") in ("error", "fatal"):
            return str(entry.get("msg", ""))
    return "the runtime failed and did not say why"


def translated(text: str, *, exec_: bool = False) -> NaruError:
    """The error to raise for a runtime's complaint about a start."""
    said = _said(text)
    prefix = _EXEC if exec_ else f"{_CREATE}: runc create failed"
    message = f"{prefix}: {said}: unknown" if said else f"{prefix}: unknown"
    lowered = message.lower()
    if "is a directory" in lowered:
        return CommandFailed(f"{message}: permission denied", 126)
    if "not a directory" in lowered:
        return CommandFailed(f"{message}: {_MISMATCH}", 127)
    if "permission denied" in lowered:
        return CommandFailed(message, 126)
    if "executable file not found" in lowered or "no such file or directory" in lowered:
        return CommandFailed(message, 127)
    return RuntimeFailed(message)


def _said(text: str) -> str:
    """crun's wording to runc's, which is what Docker users know; others' as it is."""
    text = text.strip()
    for known in _ERRNO_TEXTS:
        text = re.sub(rf"\b{known}\b", known.lower(), text)
    for pattern, replacement in _CRUN:
        changed, count = pattern.subn(replacement, text, count=1)
        if count:
            return changed
    return text


_CRUN = (
    (
        re.compile(r"^executable file `(?P<name>[^`]*/[^`]*)` not found in \$PATH.*", re.DOTALL),
        rf'{_START}: exec: "\g<name>": stat \g<name>: no such file or directory',
    ),
    (
        re.compile(r"^executable file `(?P<name>.*)` not found.*", re.DOTALL),
        rf'{_START}: exec: "\g<name>": executable file not found in $PATH',
    ),
    (
        # crun says EPERM where runc, through Go, says EISDIR or EACCES.
        re.compile(r"^open executable: (operation not permitted|permission denied)"),
        f"{_START}: exec: permission denied",
    ),
    (
        re.compile(r"^(open executable|exec|cannot exec|execv[ep]*)(?P<rest>.*)"),
        rf"{_START}: exec\g<rest>",
    ),
    (
        re.compile(r"^chdir to `?(?P<dir>[^`:]*)`?: (?P<why>.*)"),
        rf'{_START}: chdir to cwd ("\g<dir>") set in config.json failed: \g<why>',
    ),
)
