"""The HostConfig that the flags of `run` and `create` make."""

from __future__ import annotations

from naru.cli.options import devices, limits
from naru.cli.options.checks import extra_host, ulimit
from naru.cli.options.mounts import mount
from naru.cli.options.variables import key_values

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from naru.cli.flags import Values


def host_config(
    values: Values, binds: list[str], bindings: dict[str, list[dict[str, str]]], mode: str
) -> dict[str, Any]:
    """`binds` are of -v, `bindings` of -p, `mode` of --network; ValueError with Docker's text."""
    if values["rm"] and values["restart"] not in ("no", ""):
        raise ValueError("conflicting options: cannot specify both --restart and --rm")
    swappiness = values["memory-swappiness"]
    if swappiness != -1 and not 0 <= swappiness <= 100:
        raise ValueError(f"invalid value: {swappiness}. Valid memory swappiness range is 0-100")
    for item in values["storage-opt"]:
        if "=" not in item:
            raise ValueError("invalid storage option")
    security, paths = _security(values["security-opt"])
    requests = [devices.gpu_request(values["gpus"])] if values["gpus"] else []
    requests += [
        {"Driver": "cdi", "Count": 0, "DeviceIDs": [text], "Capabilities": None, "Options": None}
        for text in values["device"]
        if devices.is_cdi(text)
    ]
    made: dict[str, Any] = {
        "Binds": binds or None,
        "ContainerIDFile": values["cidfile"],
        "LogConfig": {
            "Type": values["log-driver"],
            "Config": key_values(values["log-opt"]),
        },
        "NetworkMode": mode,
        "PortBindings": bindings,
        "RestartPolicy": limits.restart_policy(values["restart"]),
        "AutoRemove": values["rm"],
        "VolumeDriver": values["volume-driver"],
        "VolumesFrom": values["volumes-from"] or None,
        "ConsoleSize": [0, 0],
        "CapAdd": _capabilities(values["cap-add"]),
        "CapDrop": _capabilities(values["cap-drop"]),
        "CgroupnsMode": values["cgroupns"],
        "Dns": values["dns"],
        "DnsOptions": values["dns-opt"] + values["dns-option"],
        "DnsSearch": values["dns-search"],
        "ExtraHosts": [extra_host(text) for text in values["add-host"]] or None,
        "GroupAdd": values["group-add"] or None,
        "IpcMode": values["ipc"],
        "Cgroup": "",
        "Links": values["link"] or None,
        "OomScoreAdj": values["oom-score-adj"],
        "PidMode": values["pid"],
        "Privileged": values["privileged"],
        "PublishAllPorts": values["publish-all"],
        "ReadonlyRootfs": values["read-only"],
        "SecurityOpt": security,
        "UTSMode": values["uts"],
        "UsernsMode": values["userns"],
        "ShmSize": values["shm-size"],
        "Isolation": values["isolation"],
        **limits.resources(values),
        "BlkioWeightDevice": [
            devices.weight_device(text) for text in values["blkio-weight-device"]
        ],
        "BlkioDeviceReadBps": [devices.rate_bps(text) for text in values["device-read-bps"]],
        "BlkioDeviceWriteBps": [devices.rate_bps(text) for text in values["device-write-bps"]],
        "BlkioDeviceReadIOps": [devices.rate_iops(text) for text in values["device-read-iops"]],
        "BlkioDeviceWriteIOps": [devices.rate_iops(text) for text in values["device-write-iops"]],
        "CgroupParent": values["cgroup-parent"],
        "Devices": [devices.device(text) for text in values["device"] if not devices.is_cdi(text)],
        "DeviceCgroupRules": values["device-cgroup-rule"] or None,
        "DeviceRequests": requests or None,
        "MemorySwappiness": swappiness,
        "OomKillDisable": values["oom-kill-disable"],
        "Ulimits": sorted(
            (ulimit(text) for text in values["ulimit"]), key=lambda limit: str(limit["Name"])
        ),
        "CpuCount": 0,
        "CpuPercent": 0,
        "IOMaximumIOps": 0,
        "IOMaximumBandwidth": 0,
        "MaskedPaths": None,
        "ReadonlyPaths": None,
        **paths,
    }
    if values["annotation"]:
        made["Annotations"] = key_values(values["annotation"])
    if values["storage-opt"]:
        made["StorageOpt"] = key_values(values["storage-opt"])
    if values["tmpfs"]:
        made["Tmpfs"] = {
            path: options for path, _, options in (text.partition(":") for text in values["tmpfs"])
        }
    if values["sysctl"]:
        made["Sysctls"] = key_values(values["sysctl"])
    if values["runtime"]:
        made["Runtime"] = values["runtime"]
    if "init" in values.given:
        made["Init"] = values["init"]
    mounts = [mount(text) for text in values["mount"]]
    if mounts:
        made["Mounts"] = mounts
    return made


def _security(options: list[str]) -> tuple[list[str] | None, dict[str, list[str]]]:
    """(SecurityOpt with profiles read, what systempaths=unconfined sets)."""
    kept: list[str] = []
    paths: dict[str, list[str]] = {}
    for text in options:
        name, equals, value = text.partition("=")
        if not equals:
            name, colon, value = text.partition(":")
            if not colon and text != "no-new-privileges":
                raise ValueError(f'Invalid --security-opt: "{text}"')
        if name == "systempaths" and value == "unconfined":
            paths = {"MaskedPaths": [], "ReadonlyPaths": []}
            continue
        if name == "seccomp" and value not in ("unconfined", "builtin"):
            from naru.cli.jsontext import dumps, loads

            try:
                with open(value, "rb") as file:
                    profile = loads(file.read())
            except FileNotFoundError:
                raise ValueError(
                    f"opening seccomp profile ({value}) failed: open {value}: "
                    "no such file or directory"
                ) from None
            except OSError as error:
                raise ValueError(f"opening seccomp profile ({value}) failed: {error}") from None
            text = f"seccomp={dumps(profile)}"
        kept.append(text)
    return (kept if options else None), paths


def _capabilities(names: list[str]) -> list[str] | None:
    upper = (name.upper() for name in names)
    return [n if n == "ALL" or n.startswith("CAP_") else f"CAP_{n}" for n in upper] or None
