"""What the tests of the disk look at, and what they fill it with."""

from __future__ import annotations

import io
import json
import os
import subprocess
import tarfile
from pathlib import Path
from typing import Any

from tests.harness.daemon import Daemon


def du(path: Path) -> int:
    """Bytes, as `du` counts them: without what is mounted below, which it would count twice."""
    script = 'mount --bind "$0" /mnt && exec du -s --block-size=1 /mnt'
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", script, str(path)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return int(done.stdout.split()[0])


def usage(daemon: Daemon) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(
        daemon.naru("system", "df", "--all", "--format", "json").stdout
    )
    return found


def problems(daemon: Daemon, *options: str) -> list[tuple[str, str]]:
    """(kind, state) of what `naru system check` finds."""
    done = daemon.naru("system", "check", "--format", "json", *options, check=False)
    assert not done.stderr, done.stderr
    *found, sums = (json.loads(line) for line in done.stdout.splitlines())
    assert sums["Problems"] == len(found)
    assert done.returncode == (1 if sums["Left"] else 0)
    return [(each["Kind"], each["State"]) for each in found]


def root_tar(*sizes: int) -> bytes:
    """A root file system of files that nothing can compress."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for number, size in enumerate(sizes):
            entry = tarfile.TarInfo(f"file{number}")
            entry.size = size
            tar.addfile(entry, io.BytesIO(os.urandom(size)))
    return out.getvalue()
