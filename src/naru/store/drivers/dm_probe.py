"""Whether the kernel has what devicemapper needs."""

from __future__ import annotations

import subprocess

from naru.kernel import devicemapper as dm


def refusal_of_kernel() -> str | None:
    """Why this kernel has no thin pools, with what was looked for; None where it has."""
    looked = ""
    for attempt in ("present", "loaded"):
        try:
            if "thin-pool" in (found := dm.versions()):
                return None
            looked = f"target 'thin-pool' among the device mapper's ({', '.join(sorted(found))})"
        except OSError as error:
            looked = f"{dm.CONTROL} ({error.strerror or error})"
        if attempt == "present":
            tried = _load_module()
    return f"this kernel has no thin pools: looked for {looked}, and tried {tried}"


def _load_module() -> str:
    try:
        done = subprocess.run(
            ["modprobe", "dm_thin_pool"], capture_output=True, text=True, check=False, timeout=30
        )
    except OSError as error:
        return f"modprobe dm_thin_pool ({error.strerror})"
    return f"modprobe dm_thin_pool ({done.stderr.strip() or 'done'})"
