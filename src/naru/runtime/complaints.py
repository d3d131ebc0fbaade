"""What a runtime complains about, in Docker's words.

Clients go by the words: the docker CLI ends with 127 when an error says "executable file not
found" or "no such file or directory", with 126 for "permission denied" or "is a directory", and
with 125 for anything else (docker/cli, cli/command/container/run.go). The daemon's own exit code
of a failed start follows moby's daemon/errors.go.
"""

from __future__ import annotations

import errno
import functools
import os
import re
from pathlib import Path

import msgspec

from naru.spec.errors import InternalError, InvalidParameter, NaruError

_CREATE = (
    "failed to create task for container: failed to create shim task: "
    "OCI runtime create failed: runc create failed"
)
_EXEC = "OCI runtime exec failed: exec failed"
_START = "unable to start container process"
_INIT = f"{_START}: error during container init"
_MISMATCH = (
    "Are you trying to mount a directory onto a file (or vice-versa)? "
    "Check if the specified host path exists and is the expected type"
)


# libc's words for an errno, and Go's: the same in lower case.
@functools.cache
def _errno_text() -> re.Pattern[str]:
    return re.compile("|".join(re.escape(os.strerror(number)) for number in errno.errorcode))


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


def of_output(output: bytes, status: int) -> str:
    """What a failed command wrote: plain lines (crun), or logfmt with `msg="..."` (runc)."""
    text = output.decode(errors="replace").strip()
    if not text:
        return f"the runtime ended with status {status} and said nothing"
    messages = _LOGFMT.findall(text)
    text = messages[-1].replace('\\"', '"') if messages else text
    return _in_dockers_words(text, "")


def translated(text: str, *, command: str, exec_: bool = False) -> NaruError:
    """The error to raise for a complaint about the start of `command` (argv[0])."""
    said = _in_dockers_words(text.strip(), command)
    prefix = _EXEC if exec_ else _CREATE
    message = f"{prefix}: {said}: unknown"
    lowered = message.lower()
    if "is a directory" in lowered:
        # What the CLI looks for; dockerd appends it too, since Go 1.20 says EISDIR.
        return CommandFailed(f"{message}: permission denied", 126)
    if "not a directory" in lowered:
        return CommandFailed(f"{message}: {_MISMATCH}", 127)
    if "permission denied" in lowered:
        return CommandFailed(message, 126)
    if "executable file not found" in lowered or "no such file or directory" in lowered:
        return CommandFailed(message, 127)
    return RuntimeFailed(message)


_LOGFMT = re.compile(r'\bmsg="((?:[^"\\]|\\.)*)"')
_RUNC_PREFIX = re.compile(r"^(runc (run|create) failed: |exec failed: )+")

# crun's wording, and runc's for the same. `{command}` is argv[0], which crun does not always name.
_CRUN = (
    (
        r"executable file `(?P<name>[^`]*/[^`]*)` not found in \$PATH.*",
        f'{_START}: exec: "{{name}}": stat {{name}}: no such file or directory',
    ),
    (
        r"executable file `(?P<name>[^`]*)` not found.*",
        f'{_START}: exec: "{{name}}": executable file not found in $PATH',
    ),
    (
        # crun refuses what is not a regular file with EPERM.
        r"open executable: operation not permitted",
        f'{_START}: exec: "{{command}}": is a directory',
    ),
    (r"open executable: (?P<why>.*)", f'{_START}: exec: "{{command}}": {{why}}'),
    (
        r"chdir (?:to )?`(?P<dir>[^`]*)`: (?P<why>.*)",
        f'{_START}: chdir to cwd ("{{dir}}") set in config.json failed: {{why}}',
    ),
    (
        r"mount `(?P<source>[^`]*)` to `/?(?P<target>[^`]*)`: (?P<why>.*)",
        f'{_INIT}: error mounting "{{source}}" to rootfs at "/{{target}}": {{why}}',
    ),
    (r"error stat'ing file `(?P<path>[^`]*)`: (?P<why>.*)", f"{_INIT}: stat {{path}}: {{why}}"),
    (r"error opening file `[^`]*/status`: .*", "container does not exist"),
)


def _in_dockers_words(text: str, command: str) -> str:
    text = _errno_text().sub(lambda found: found[0].lower(), _RUNC_PREFIX.sub("", text))
    for pattern, wording in _CRUN:
        found = re.fullmatch(pattern, text, re.DOTALL)
        if found is not None:
            return wording.format(command=command, **found.groupdict())
    return text
