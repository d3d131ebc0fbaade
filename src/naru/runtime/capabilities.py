"""Which Linux capabilities a container gets: Docker's defaults, --cap-add, --cap-drop."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from pathlib import Path

from naru.spec.errors import InvalidParameter

ALL = tuple(
    "CAP_" + name
    for name in (
        *("CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID"),
        *("SETUID", "SETPCAP", "LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST"),
        *("NET_ADMIN", "NET_RAW", "IPC_LOCK", "IPC_OWNER", "SYS_MODULE", "SYS_RAWIO"),
        *("SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE"),
        *("SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD", "LEASE", "AUDIT_WRITE"),
        *("AUDIT_CONTROL", "SETFCAP", "MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG", "WAKE_ALARM"),
        *("BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF", "CHECKPOINT_RESTORE"),
    )
)
"""Every capability that Naru knows, by its number in <linux/capability.h>."""

DEFAULT = (
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
)

_EVERYTHING = "ALL"


@cache
def supported() -> tuple[str, ...]:
    """The capabilities of the running kernel that this process may pass on (its bounding set)."""
    try:
        last = int(Path("/proc/sys/kernel/cap_last_cap").read_text())
        status = Path("/proc/self/status").read_text()
    except OSError:
        return ALL
    bounding = int(status.partition("CapBnd:")[2].split(maxsplit=1)[0], 16)
    return tuple(name for bit, name in enumerate(ALL[: last + 1]) if bounding >> bit & 1)


def effective(
    cap_add: Iterable[str], cap_drop: Iterable[str], *, privileged: bool = False
) -> list[str]:
    """The capability set of a container.

    "ALL" is allowed on either side: `--cap-drop ALL --cap-add X` leaves X, `--cap-add ALL
    --cap-drop X` all but X. A name may lack "CAP_". `InvalidParameter` for an unknown one.
    """
    known = supported()
    if privileged:
        return list(known)
    added = [_normal(name, "CapAdd") for name in cap_add]
    dropped = [_normal(name, "CapDrop") for name in cap_drop]
    if _EVERYTHING in added:
        return [name for name in known if name not in dropped]
    base = () if _EVERYTHING in dropped else DEFAULT
    wanted = {name for name in base if name not in dropped} | set(added)
    return [name for name in known if name in wanted]


def _normal(name: str, field: str) -> str:
    normal = name.upper()
    if normal == _EVERYTHING:
        return normal
    if not normal.startswith("CAP_"):
        normal = f"CAP_{normal}"
    if normal not in ALL:
        raise InvalidParameter(f'invalid {field}: unknown capability: "{normal}"')
    if normal not in supported():
        raise InvalidParameter(
            f'invalid {field}: capability not supported by your kernel: "{normal}"'
        )
    return normal
