"""The limits of a container and its restart policy: what `update` can change later, too."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from naru.cli.flags import Values

FLAGS = """
--blkio-weight uint16 = Relative block IO weight, 10 to 1000, 0 for none
--cpu-period int = CFS period in microseconds
--cpu-quota int = CFS quota in microseconds
--cpu-rt-period int = Real-time period in microseconds
--cpu-rt-runtime int = Real-time runtime in microseconds
-c --cpu-shares int = Relative CPU weight
--cpus decimal = Number of CPUs
--cpuset-cpus string = CPUs to run on (0-3, 0,1)
--cpuset-mems string = Memory nodes to use (0-3, 0,1)
-m --memory bytes = Memory limit
--memory-reservation bytes = Soft memory limit
--memory-swap bytes = Limit of memory plus swap, -1 for unlimited swap
--pids-limit int = Limit of processes, -1 for none
"""


def resources(values: Values) -> dict[str, Any]:
    """The limits as members of a HostConfig."""
    return {
        "CpuShares": values["cpu-shares"],
        "Memory": values["memory"],
        "NanoCpus": values["cpus"],
        "BlkioWeight": values["blkio-weight"],
        "CpuPeriod": values["cpu-period"],
        "CpuQuota": values["cpu-quota"],
        "CpuRealtimePeriod": values["cpu-rt-period"],
        "CpuRealtimeRuntime": values["cpu-rt-runtime"],
        "CpusetCpus": values["cpuset-cpus"],
        "CpusetMems": values["cpuset-mems"],
        "MemoryReservation": values["memory-reservation"],
        "MemorySwap": values["memory-swap"],
        "PidsLimit": values["pids-limit"],
    }


def restart_policy(text: str) -> dict[str, Any]:
    """`on-failure:3` -> {Name, MaximumRetryCount}."""
    name, colon, count = text.partition(":")
    if text and not name:
        raise ValueError("invalid restart policy format: no policy provided before colon")
    if colon and not count.lstrip("+-").isdigit():
        raise ValueError("invalid restart policy format: maximum retry count must be an integer")
    return {"Name": name, "MaximumRetryCount": int(count or 0)}
