"""What can go wrong, said without HTTP: `api/errors` alone knows the status codes.

    NaruError
    ├── InvalidParameter   the request itself is wrong; the text names the field
    ├── Unauthorized       credentials are missing or were refused
    ├── Forbidden          understood, and not allowed
    ├── NotFound           no such container, image, network, volume, ...
    ├── Conflict           the object's present state does not allow it
    ├── NotModified        nothing to do: already so
    ├── Unsupported        a real Docker option that this engine does not do (yet)
    ├── Unavailable        a service that is needed does not answer
    ├── DeadlineExceeded   gave up waiting
    └── InternalError      our fault, the kernel's or the runtime's
        └── NoSpace        the disk is full, or as full as it may become

Adapters translate `OSError` and command failures with `raise ... from`. Texts equal Docker's
where clients depend on them.
"""

from __future__ import annotations


class NaruError(Exception):
    """The root of every error that may reach a client; `str(error)` is the message shown."""


class InvalidParameter(NaruError):
    pass


class Unauthorized(NaruError):
    pass


class Forbidden(NaruError):
    pass


class NotFound(NaruError):
    pass


class Conflict(NaruError):
    pass


class NotModified(NaruError):
    pass


class Unsupported(NaruError):
    pass


class Unavailable(NaruError):
    pass


class DeadlineExceeded(NaruError):
    pass


class InternalError(NaruError):
    pass


class NoSpace(InternalError):
    pass


def no_such_container(ref: str) -> NotFound:
    return NotFound(f"No such container: {ref}")


def no_such_image(ref: str) -> NotFound:
    return NotFound(f"No such image: {ref}")


def no_such_exec(ref: str) -> NotFound:
    return NotFound(f"No such exec instance: {ref}")


def no_such_network(ref: str) -> NotFound:
    return NotFound(f"network {ref} not found")


def no_such_volume(name: str) -> NotFound:
    return NotFound(f"get {name}: no such volume")
