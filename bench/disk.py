"""A file system for both daemons' roots: ext4 with its journal, as most machines have it.

ext4 without a journal, which some virtual machines use, avoids inodes that were freed in the last
minute by looking at each of them for each new file: what was removed before a sample would decide
how long the sample takes.
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def disk(gigabytes: int) -> Iterator[Path]:
    """A fresh one, mounted; sparse on the disk that holds the directory for temporaries."""
    with tempfile.TemporaryDirectory(prefix="naru-test-disk-") as name:
        image, root = Path(name, "image"), Path(name, "root")
        with image.open("wb") as file:
            file.truncate(gigabytes << 30)
        subprocess.run(
            ["mkfs.ext4", "-q", "-E", "lazy_itable_init=0,lazy_journal_init=0", str(image)],
            check=True,
        )
        root.mkdir()
        subprocess.run(["mount", "-o", "loop", str(image), str(root)], check=True)
        try:
            yield root
        finally:
            # Lazily: whatever a daemon left in a namespace of its own may end a little later.
            subprocess.run(["umount", "-l", str(root)], check=True)
