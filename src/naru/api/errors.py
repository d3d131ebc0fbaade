"""The only place that knows status codes: an error's class decides, its text is the message."""

from __future__ import annotations

import logging

from naru.api.messages import Response
from naru.spec import errors

log = logging.getLogger(__name__)

_STATUS: tuple[tuple[type[errors.NaruError], int], ...] = (
    (errors.InvalidParameter, 400),
    (errors.Unauthorized, 401),
    (errors.Forbidden, 403),
    (errors.NotFound, 404),
    (errors.Conflict, 409),
    (errors.NotModified, 304),
    (errors.Unsupported, 501),
    (errors.Unavailable, 503),
    (errors.DeadlineExceeded, 504),
    (errors.InternalError, 500),
)


def status_of(error: BaseException) -> int:
    """The status of the nearest class in the tree of `spec/errors`; 500 for everything else."""
    for kind, status in _STATUS:
        if isinstance(error, kind):
            return status
    return 500


def answer(error: Exception, *, what: str) -> Response:
    """Encode `error` as Docker does; `what` (method and path) goes to the log with our faults."""
    status = status_of(error)
    if not isinstance(error, errors.NaruError):
        # A bug: the client learns that much, the log has the rest.
        log.exception("Handler for %s failed", what, exc_info=error)
        text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        return Response({"message": text}, status=status)
    if status >= 500:
        cause = f" (caused by {error.__cause__!r})" if error.__cause__ is not None else ""
        log.error("Handler for %s returned error: %s%s", what, error, cause)
    else:
        log.debug("Handler for %s returned error: %s", what, error)
    if status == 304:
        return Response(status=status)
    return Response({"message": str(error)}, status=status)
