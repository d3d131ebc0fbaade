"""What a container with a disk limit may not ask of its file system: to be counted elsewhere.

Whoever owns a file may give it to another project, and may make a btrfs subvolume, which counts for
itself; neither takes a capability. The default profile leaves these requests out of `ioctl` there.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

_BITS = 32
"""The kernel takes the lower half of `ioctl`'s second argument, and so must a comparison."""

ESCAPES = frozenset({
    0x401C5820,  # FS_IOC_FSSETXATTR
    0x50009401,  # BTRFS_IOC_SNAP_CREATE
    0x5000940E,  # BTRFS_IOC_SUBVOL_CREATE
    0x50009417,  # BTRFS_IOC_SNAP_CREATE_V2
    0x50009418,  # BTRFS_IOC_SUBVOL_CREATE_V2
})  # fmt: skip


def all_but(values: Collection[int]) -> Iterator[tuple[int, int]]:
    """(mask, masked value), one of which fits every 32-bit number that is not in `values`.

    A filter knows no "not one of": each pair is the shortest beginning that none of them has.
    """
    for shift in reversed(range(_BITS)):
        mask = (1 << _BITS) - (1 << shift)
        begun = {value >> shift for value in values}
        for beginning in sorted({each ^ 1 for each in begun} - begun):
            yield mask, beginning << shift
