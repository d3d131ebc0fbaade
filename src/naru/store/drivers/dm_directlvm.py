"""direct-lvm: a whole device becomes a volume group with a thin pool, by the LVM tools.

The same commands and names as dockerd's (`device_setup.go`): volume group `docker`, thin pool
`thinpool`, and a profile by which dmeventd makes the pool larger before it is full. It is done
once; `setup-config.json` says with what. A set-up that was killed is taken back and done anew.
"""

from __future__ import annotations

import logging
import shutil
import subprocess
from pathlib import Path
from typing import Final

import msgspec

from naru.spec.errors import InvalidParameter, Unsupported
from naru.store.drivers.dm_records import write

_log = logging.getLogger(__name__)

GROUP, POOL = "docker", "thinpool"
DEVICE: Final = f"{GROUP}-{POOL}"
"""The pool's name for device mapper."""
PROFILE: Final = f"{GROUP}-{POOL}"
_PROFILES = Path("/etc/lvm/profile")
_TOOLS = (
    "pvcreate", "pvs", "vgcreate", "vgremove", "lvcreate", "lvconvert", "lvchange", "thin_check",
    "blkid",
)  # fmt: skip


class Config(msgspec.Struct, frozen=True):
    device: str
    thinp_percent: int = 95
    thinp_metapercent: int = 1
    autoextend_threshold: int = 80
    autoextend_percent: int = 20


class _Setup(msgspec.Struct, frozen=True):
    config: Config
    done: bool = False


class DirectLvm:
    """`record` is the file that tells of the set-up."""

    def __init__(self, record: Path) -> None:
        self._record = record

    def pool(self, wanted: Config | None, *, force: bool) -> str | None:
        """The pool's name: of a set-up there is, or made for `wanted`; None without either.

        `force` makes it also on a device that holds a file system.
        """
        setup = self._read()
        if setup is None and wanted is None:
            return None
        if setup is not None and setup.done:
            if wanted not in (None, setup.config):
                raise InvalidParameter(
                    "devicemapper: changing direct-lvm config is not supported: it is"
                    f" {setup.config}"
                )
            _activate()
            return DEVICE
        if wanted is None:
            raise Unsupported(
                "devicemapper: the set-up of dm.directlvm_device was interrupted: give the same"
                " options again to finish it"
            )
        if missing := [tool for tool in _TOOLS if shutil.which(tool) is None]:
            raise Unsupported(
                f"devicemapper: dm.directlvm_device needs {', '.join(missing)}, which is not in"
                " PATH (packages lvm2 and thin-provisioning-tools)"
            )
        if setup is not None and setup.config.device == wanted.device:
            _log.warning("devicemapper: an interrupted set-up of %s is done anew", wanted.device)
            _take_back(wanted.device)
        else:
            _check(wanted.device, force=force)
        write(self._record, _Setup(wanted))
        _set_up(wanted)
        write(self._record, _Setup(wanted, done=True))
        return DEVICE

    def _read(self) -> _Setup | None:
        try:
            return msgspec.json.decode(self._record.read_bytes(), type=_Setup)
        except FileNotFoundError:
            return None


def _set_up(config: Config) -> None:
    _log.info("devicemapper: %s becomes volume group %s", config.device, GROUP)
    _run("pvcreate", "-f", "-y", config.device)
    _run("vgcreate", GROUP, config.device)
    for name, percent in ((POOL, config.thinp_percent), (f"{POOL}meta", config.thinp_metapercent)):
        _run("lvcreate", "--wipesignatures", "y", "-y", "-n", name, GROUP,
             "--extents", f"{percent}%VG")  # fmt: skip
    _run("lvconvert", "-y", "--zero", "n", "-c", "512K", "--thinpool", f"{GROUP}/{POOL}",
         "--poolmetadata", f"{GROUP}/{POOL}meta")  # fmt: skip
    _PROFILES.mkdir(mode=0o755, parents=True, exist_ok=True)
    (_PROFILES / f"{PROFILE}.profile").write_text(
        "activation {\n"
        f"    thin_pool_autoextend_threshold={config.autoextend_threshold}\n"
        f"    thin_pool_autoextend_percent={config.autoextend_percent}\n"
        "}\n"
    )
    _run("lvchange", "--metadataprofile", PROFILE, f"{GROUP}/{POOL}")


def _check(device: str, *, force: bool) -> None:
    """Refuse a device that belongs to somebody."""
    if group := _group_of(device):
        raise Unsupported(
            f"devicemapper: {device} is already part of a volume group {group!r}: must remove this"
            " device from any volume group or provide a different device"
        )
    found = _output("blkid", "-p", "-o", "value", "-s", "TYPE", device)
    if found and not force:
        raise Unsupported(
            f"devicemapper: {device} has a filesystem already ({found}), use"
            " dm.directlvm_device_force=true if you want to wipe the device"
        )


def _take_back(device: str) -> None:
    if _group_of(device) == GROUP:
        _run("vgremove", "-f", "-y", GROUP)


def _group_of(device: str) -> str:
    return _output("pvs", "--noheadings", "-o", "vg_name", device)


def _activate() -> None:
    """After a reboot it may not have been done; it is no error where it has."""
    _run("lvchange", "-a", "y", "-K", f"{GROUP}/{POOL}")


def _output(*command: str) -> str:
    """What it prints, nothing where it fails: it does so where there is nothing to tell of."""
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    return done.stdout.strip() if done.returncode == 0 else ""


def _run(*command: str) -> None:
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if done.returncode:
        why = (done.stderr or done.stdout).strip()
        raise Unsupported(f"devicemapper: {' '.join(command)}: {why}")
