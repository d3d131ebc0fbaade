"""A user at a container: attach, wait, signals, window size, and the way out.

The order is Docker's: attached first, waiting second (the daemon has answered with headers), then
started, so that neither output nor exit status can be missed.
"""

from __future__ import annotations

import os
import signal
import sys

from naru.cli.client import query
from naru.cli.failures import ApiError, CliError
from naru.cli.streams import DetachKeys, Signals, carry, proxied
from naru.cli.terminal import RawMode, is_terminal, size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from naru.cli.client import Client
    from naru.cli.http import Connection, Response

DEFAULT_DETACH = "ctrl-p,ctrl-q"


def check_terminal(*, attach_stdin: bool, tty: bool) -> None:
    if tty and attach_stdin and not is_terminal(0):
        raise CliError("the input device is not a TTY")


def signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name.removeprefix("SIG")
    except ValueError:
        return str(number)


def detach_keys(given: str, config: str | None) -> DetachKeys:
    text = given or config or DEFAULT_DETACH
    try:
        return DetachKeys(text)
    except ValueError as error:
        raise CliError(f"invalid detach keys ({text}): {error}") from None


def attach(
    client: Client,
    identifier: str,
    *,
    stdin: bool,
    stdout: bool,
    stderr: bool,
    keys: str = "",
    logs: bool = False,
) -> Connection:
    connection, _ = client.hijack(
        f"/containers/{identifier}/attach"
        + query(stream=True, stdin=stdin, stdout=stdout, stderr=stderr, detachKeys=keys, logs=logs)
    )
    return connection


def wait(client: Client, identifier: str, condition: str) -> Response:
    """Waiting has begun when this returns; the body comes at the exit."""
    return client.call("POST", f"/containers/{identifier}/wait" + query(condition=condition))


def exit_status(response: Response) -> int:
    """The container's status from the answer to `wait`."""
    answer = response.json() or {}
    error = answer.get("Error")
    if error and error.get("Message"):
        raise CliError(f"Error waiting for container: {error['Message']}", 125)
    return int(answer["StatusCode"])


def resizer(client: Client, path: str) -> Callable[[], None]:
    """A call that tells the daemon the size of this terminal; `path` is the object's."""

    def resize() -> None:
        rows, columns = size(1)
        if not rows and not columns:
            return
        try:  # noqa: SIM105 - contextlib costs 2 ms to import
            client.call("POST", f"{path}/resize" + query(h=rows, w=columns)).body()
        except ApiError:
            pass  # gone between two looks; the stream's end says so

    return resize


def interact(
    connection: Connection,
    *,
    tty: bool,
    stdin: bool,
    keys: DetachKeys,
    resize: Callable[[], None],
    kill: Callable[[str], None] | None,
    begin: Callable[[], None] | None = None,
    output: bool = True,
    ended: Response | None = None,
) -> bool:
    """Carries the session; True when the user typed the detach keys.

    `begin` starts the container once signals are caught; `kill` passes a signal on.
    """
    with Signals() as signals:
        if kill is not None:
            signals.catch(*proxied())
        if tty:
            signals.catch(signal.SIGWINCH)

        def on_signal(number: int) -> None:
            if number == signal.SIGWINCH:
                resize()
            elif kill is not None:
                kill(signal_name(number))

        if begin is not None:
            begin()
        with RawMode(0, enabled=tty and stdin):
            if tty:
                resize()
            return carry(
                connection,
                tty=tty,
                stdin=0 if stdin else None,
                output=output,
                signals=signals,
                on_signal=on_signal,
                detach=keys if tty and stdin else None,
                ended=ended,
            )


def killer(client: Client, identifier: str) -> Callable[[str], None]:
    def kill(name: str) -> None:
        try:
            client.call("POST", f"/containers/{identifier}/kill" + query(signal=name)).body()
        except ApiError as error:
            if error.code not in (404, 409):
                print(f"Error sending signal to container: {error.reason}", file=sys.stderr)

    return kill


def configured_detach_keys(folder: str) -> str | None:
    """`detachKeys` of config.json, read only where the file exists."""
    if not os.path.exists(os.path.join(folder, "config.json")):
        return None
    from naru.cli.credentials import Config

    value = Config(folder).values.get("detachKeys")
    return str(value) if value else None
