"""Extended attributes: which of them belong to a file, and which to the disk it lies on.

overlayfs writes its own marks among those of its layers' files. They mean something on that disk
and something else, or nothing, in a layer tar: no reader gives them away and no writer takes them.
"""

from __future__ import annotations

import errno
import os

OF_OVERLAY = ("trusted.overlay.", "user.overlay.")
"""Prefixes of overlayfs's marks; the second where it is mounted with `userxattr`."""
OPAQUE_XATTR = "trusted.overlay.opaque"
USER_OPAQUE_XATTR = "user.overlay.opaque"
"""What hides all that the layers below have in a directory, with `userxattr`."""

OF_LAYERS = ("user.", "trusted.", "security.capability", "security.ima", "system.posix_acl_")
"""Prefixes of what a layer says of a file. Labels (security.selinux) are the host's to give."""
OF_ARCHIVES = ("user.", "security.capability")
"""Prefixes of what `cp` and `export` say of a file: the archive is unpacked anywhere, by anyone."""


def read_xattrs(path: str) -> dict[str, bytes]:
    """What belongs to a file of a layer, not to overlayfs or to the host."""
    try:
        names = os.listxattr(path, follow_symlinks=False)
    except OSError as error:
        if error.errno == errno.ENOTSUP:
            return {}
        raise
    if not names:
        return {}
    kept = (n for n in names if n.startswith(OF_LAYERS) and not n.startswith(OF_OVERLAY))
    return {n: value for n in kept if (value := read_xattr(path, n)) is not None}


def read_xattr(path: str, name: str) -> bytes | None:
    """None where the file has no such attribute, or its file system none at all."""
    try:
        return os.getxattr(path, name, follow_symlinks=False)
    except OSError as error:
        if error.errno in (errno.ENODATA, errno.ENOTSUP, errno.EPERM):
            return None
        raise
