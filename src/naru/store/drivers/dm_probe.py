"""Whether the kernel has what devicemapper needs."""

from __future__ import annotations

from naru.kernel import devicemapper as dm
from naru.kernel import modules


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
            tried = modules.load("dm_thin_pool")
    return f"this kernel has no thin pools: looked for {looked}, and tried {tried}"
