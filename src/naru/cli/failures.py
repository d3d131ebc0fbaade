"""What ends a command early: a text for stderr and the exit status that goes with it."""

from __future__ import annotations


class CliError(Exception):
    """Shown to the user as it stands; `status` is the process's exit status."""

    def __init__(self, message: str, status: int = 1) -> None:
        super().__init__(message)
        self.message = message
        self.status = status


class ApiError(CliError):
    """The daemon answered with an error; `code` is the HTTP status, `reason` its own text."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"Error response from daemon: {reason}")
        self.code = code
        self.reason = reason


class CannotConnect(CliError):
    """Nobody listens where the client looked."""


class Quit(Exception):
    """Ends the process with a status, everything to say having been said."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status
