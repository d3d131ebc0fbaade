"""What the tests of devicemapper share: small pools, and what of them the kernel has."""

from __future__ import annotations

import io
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from naru.kernel import mounts
from naru.store.drivers.devicemapper import DeviceMapper
from naru.store.tarentry import REGULAR, Entry
from naru.store.tarwriter import TarWriter

A, B, C = "a" * 64, "b" * 64, "c" * 64
SMALL = {"dm.basesize": "64M", "dm.loopdatasize": "1G", "dm.loopmetadatasize": "16M"}


def devices() -> list[str]:
    listed = subprocess.run(["dmsetup", "ls"], capture_output=True, text=True, check=True).stdout
    return [line for line in listed.splitlines() if line.startswith("naru-")]


def until(true: Callable[[], object], seconds: float = 20) -> bool:
    """The kernel removes a device a little after its last user has gone, and tells nobody."""
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def start(root: Path, **options: str) -> DeviceMapper:
    given = {f"dm.{name}": value for name, value in options.items()}
    return DeviceMapper(root / "devicemapper", {**SMALL, **given})


def mount(driver: DeviceMapper, layer: str, where: Path, *, read_only: bool = False) -> Path:
    where.mkdir(exist_ok=True)
    for one in driver.mounts(layer, where, read_only=read_only):
        mounts.mount(one)
    return where


def unmount(where: Path) -> None:
    while mounts.is_mounted(where):
        mounts.unmount(where)


def tar(**files: bytes) -> io.BytesIO:
    out = io.BytesIO()
    writer = TarWriter(out)
    for name, data in files.items():
        writer.add(Entry(name, REGULAR, size=len(data)), [data])
    writer.close()
    out.seek(0)
    return out


def run(*argv: str) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
