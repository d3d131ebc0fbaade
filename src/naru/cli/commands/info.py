"""`naru info`."""

from __future__ import annotations

import sys

from naru.cli.failures import CliError, Quit
from naru.cli.flags import Parser
from naru.cli.jsontext import dumps
from naru.cli.units import binary_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from naru.cli.flags import Values
    from naru.cli.main import Context


def _bool(value: object) -> str:
    return "true" if value else "false"


def security_lines(options: list[str]) -> list[str]:
    """`name=seccomp,profile=default` as a name with its details below."""
    lines: list[str] = []
    for text in options:
        name, details = "", []
        for field in text.split(","):
            key, equals, value = field.partition("=")
            if not equals:
                name = name or key
            elif key == "name":
                name = value
            else:
                details.append(f"   {key[:1].upper()}{key[1:]}: {value}")
        lines += [f"  {name}", *details]
    return lines


def server_lines(info: dict[str, Any]) -> list[str]:
    """What follows `Server:`."""
    lines = [
        f" Containers: {info.get('Containers', 0)}",
        f"  Running: {info.get('ContainersRunning', 0)}",
        f"  Paused: {info.get('ContainersPaused', 0)}",
        f"  Stopped: {info.get('ContainersStopped', 0)}",
        f" Images: {info.get('Images', 0)}",
    ]

    def add(title: str, value: object) -> None:
        if value not in (None, ""):
            lines.append(f" {title}: {value}")

    add("Server Version", info.get("ServerVersion"))
    add("Storage Driver", info.get("Driver"))
    lines += [f"  {name}: {value}" for name, value in info.get("DriverStatus") or []]
    add("Logging Driver", info.get("LoggingDriver"))
    add("Cgroup Driver", info.get("CgroupDriver"))
    add("Cgroup Version", info.get("CgroupVersion"))
    plugins = info.get("Plugins") or {}
    lines.append(" Plugins:")
    lines.append("  Volume: " + " ".join(plugins.get("Volume") or []))
    lines.append("  Network: " + " ".join(plugins.get("Network") or []))
    if plugins.get("Authorization"):
        lines.append("  Authorization: " + " ".join(plugins["Authorization"]))
    lines.append("  Log: " + " ".join(plugins.get("Log") or []))
    add("Swarm", (info.get("Swarm") or {}).get("LocalNodeState"))
    if info.get("Runtimes"):
        lines.append(" Runtimes: " + " ".join(sorted(info["Runtimes"])))
        lines.append(f" Default Runtime: {info.get('DefaultRuntime', '')}")
    lines.append(f" Init Binary: {info.get('InitBinary', '')}")
    for title, key in (
        ("containerd version", "ContainerdCommit"),
        ("runc version", "RuncCommit"),
        ("init version", "InitCommit"),
    ):
        commit = info.get(key)
        if commit is not None:
            lines.append(f" {title}: {commit.get('ID', '')}")
    if info.get("SecurityOptions"):
        lines += [" Security Options:", *security_lines(info["SecurityOptions"])]
    add("Kernel Version", info.get("KernelVersion"))
    add("Operating System", info.get("OperatingSystem"))
    add("OSType", info.get("OSType"))
    add("Architecture", info.get("Architecture"))
    lines.append(f" CPUs: {info.get('NCPU', 0)}")
    lines.append(f" Total Memory: {binary_size(info.get('MemTotal', 0))}")
    add("Name", info.get("Name"))
    add("ID", info.get("ID"))
    lines.append(f" Docker Root Dir: {info.get('DockerRootDir', '')}")
    lines.append(f" Debug Mode: {_bool(info.get('Debug'))}")
    if info.get("Debug"):
        for title, key in (("File Descriptors", "NFd"), ("Goroutines", "NGoroutines"),
                           ("System Time", "SystemTime"),
                           ("EventsListeners", "NEventsListener")):  # fmt: skip
            lines.append(f"  {title}: {info.get(key)}")
    add("HTTP Proxy", info.get("HttpProxy"))
    add("HTTPS Proxy", info.get("HttpsProxy"))
    add("No Proxy", info.get("NoProxy"))
    if info.get("Labels"):
        lines += [" Labels:", *(f"  {label}" for label in info["Labels"])]
    lines.append(f" Experimental: {_bool(info.get('ExperimentalBuild'))}")
    registry = info.get("RegistryConfig") or {}
    insecure = [
        name for name, entry in (registry.get("IndexConfigs") or {}).items() if not entry["Secure"]
    ] + (registry.get("InsecureRegistryCIDRs") or [])
    if insecure:
        lines += [" Insecure Registries:", *(f"  {name}" for name in insecure)]
    if registry.get("Mirrors"):
        lines += [" Registry Mirrors:", *(f"  {mirror}" for mirror in registry["Mirrors"])]
    lines.append(f" Live Restore Enabled: {_bool(info.get('LiveRestoreEnabled'))}")
    if info.get("ProductLicense"):
        lines.append(f" Product License: {info['ProductLicense']}")
    for pool in info.get("DefaultAddressPools") or []:
        if pool is info["DefaultAddressPools"][0]:
            lines.append(" Default Address Pools:")
        lines.append(f"   Base: {pool['Base']}, Size: {pool['Size']}")
    return [*lines, ""]


def run(context: Context, values: Values, arguments: list[str]) -> None:
    from naru.cli.main import VERSION

    failure: CliError | None = None
    info: dict[str, Any] = {}
    try:
        info = context.client.get("/info")
    except CliError as error:
        failure = error
    form = values["format"]
    debug = bool(context.option("debug"))
    if form:
        if failure is not None:
            info = {"ServerErrors": [failure.message]}
        info["ClientInfo"] = {"Debug": debug, "Version": VERSION, "Context": "default"}
        if form == "json":
            print(dumps(info))
        else:
            from naru.cli.templates import Template

            print(Template(form).run(info, root="system.dockerInfo"))
    else:
        print(
            f"Client:\n Version:    {VERSION}\n Context:    default\n Debug Mode: {_bool(debug)}\n"
        )
        print("Server:")
        if failure is None:
            print("\n".join(server_lines(info)))
    sys.stdout.flush()
    for warning in info.get("Warnings") or [] if not form else []:
        print(warning, file=sys.stderr)
    if failure is not None:
        print(failure.message, file=sys.stderr)
        raise Quit(1)


COMMANDS = {
    "system info": lambda path: (
        Parser(path, f"{path} [OPTIONS]", "-f --format string = 'json' or a Go template", most=0,
               about="Display system-wide information"),
        run,
    )
}  # fmt: skip
