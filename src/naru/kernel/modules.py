"""Modules of the kernel."""

from __future__ import annotations

import subprocess


def load(name: str) -> str:
    """Blocks. Try to load a module -> the attempt and what came of it, for a message.

    Whether what it brings is there then is for the caller to see: it may be built in.
    """
    try:
        done = subprocess.run(
            ["modprobe", name], capture_output=True, text=True, check=False, timeout=30
        )
    except OSError as error:
        return f"modprobe {name} ({error.strerror})"
    return f"modprobe {name} ({done.stderr.strip() or 'done'})"
