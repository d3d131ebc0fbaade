"""What the kernel and a backing file system can do for a storage driver, found out by trying."""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from pathlib import Path

from naru.kernel.mount_table import mount_table
from naru.kernel.mounts import Mount, mount, unmount


def filesystems(listing: Path = Path("/proc/filesystems")) -> set[str]:
    """File systems that the kernel has now; a module may still add to them."""
    return {line.split()[-1] for line in listing.read_text().splitlines() if line.strip()}


def backing_filesystem(path: Path) -> str:
    """The type of the file system that holds `path`, in `docker info`'s words (`extfs`)."""
    kind = filesystem_type(path)
    return "extfs" if kind in ("ext2", "ext3", "ext4") else kind


def filesystem_type(path: Path) -> str:
    device = os.stat(path).st_dev
    wanted = f"{os.major(device)}:{os.minor(device)}"
    found = "unknown"
    best = -1
    resolved = os.path.realpath(path)
    for entry in mount_table():
        inside = resolved == entry.target or resolved.startswith(entry.target.rstrip("/") + "/")
        # btrfs shows another device number per subvolume, so the path decides where none matches.
        weight = len(entry.target) + (1 << 20 if entry.device == wanted else 0)
        if inside and weight >= best:
            found, best = entry.type, weight
    return found


def in_user_namespace() -> bool:
    """Whether this process's user namespace is not the host's first one."""
    try:
        words = Path("/proc/self/uid_map").read_text().split()
    except FileNotFoundError:
        return False
    return words[:3] != ["0", "0", "4294967295"]


def supports_dtype(root: Path) -> bool:
    """Whether directory entries carry their type: overlayfs needs it to see whiteouts."""
    with tempfile.TemporaryDirectory(prefix=".dtype-", dir=root) as name:
        (Path(name) / "entry").mkdir()
        with os.scandir(name) as entries:
            # With DT_UNKNOWN, is_dir asks the kernel by stat; removing the entry first tells.
            found = list(entries)
            (Path(name) / "entry").rmdir()
            return any(entry.is_dir(follow_symlinks=False) for entry in found)


def overlay_options(*, userxattr: bool) -> list[str]:
    """Options for a union whose upper layer can be moved, compared and committed on its own.

    Each that is off would put marks on the upper layer that make it depend on the exact layers
    below (index), or that a diff would have to follow (metacopy, redirect_dir). A kernel that does
    not know one refuses the mount, so what it knows is looked up.
    """
    parameters = Path("/sys/module/overlay/parameters")
    names = ("index", "metacopy", "redirect_dir")
    off = [f"{name}=off" for name in names if (parameters / name).exists()]
    return [*off, "userxattr"] if userxattr else off


def overlay_refusal(root: Path, *, userxattr: bool) -> str | None:
    """Why overlayfs cannot work on `root`, or None: a real mount with a whiteout and a copy-up."""
    with contextlib.ExitStack() as undo:
        try:
            probe = Path(
                undo.enter_context(tempfile.TemporaryDirectory(prefix=".probe-", dir=root))
            )
            for name in ("lower", "lower2", "upper", "work", "merged"):
                (probe / name).mkdir()
            (probe / "lower" / "file").touch()
            options = [
                f"lowerdir+={probe / 'lower'}",
                f"lowerdir+={probe / 'lower2'}",
                f"upperdir={probe / 'upper'}",
                f"workdir={probe / 'work'}",
                *(["userxattr"] if userxattr else []),
            ]
            mount(Mount("overlay", "overlay", probe / "merged", options))
            undo.callback(unmount, probe / "merged")
            (probe / "merged" / "file").unlink()
            if not stat.S_ISCHR(os.lstat(probe / "upper" / "file").st_mode):
                return f"overlayfs left no whiteout on {backing_filesystem(root)}"
        except OSError as error:
            listed = "is" if "overlay" in filesystems() else "is not"
            return (
                f"overlayfs cannot be mounted on {backing_filesystem(root)} ({error});"
                f" 'overlay' {listed} in /proc/filesystems"
            )
    return None
