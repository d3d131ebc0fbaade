"""The flags of `run` and `create`, and the body of POST /containers/create they make."""

from __future__ import annotations

from naru.cli.commands.create_host import host_config
from naru.cli.options import limits
from naru.cli.options.mounts import volume
from naru.cli.options.networks import endpoints
from naru.cli.options.ports import expose, publish
from naru.cli.options.variables import environments, key_values, read_lines

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from naru.cli.flags import Values

FLAGS = f"""{limits.FLAGS}
--add-host list = Add a host name to /etc/hosts (host:ip)
--annotation map = Add an annotation for the OCI runtime
-a --attach list = Attach to STDIN, STDOUT or STDERR
--blkio-weight-device list = Relative block IO weight of a device
--cap-add list = Add a Linux capability
--cap-drop list = Drop a Linux capability
--cgroup-parent string = Parent cgroup of the container
--cgroupns string = Cgroup namespace (host, private)
--cidfile string = Write the container ID to this file
--device list = Add a host device
--device-cgroup-rule list = Add a rule to the allowed devices
--device-read-bps list = Limit the read rate of a device in bytes per second
--device-read-iops list = Limit the read rate of a device in operations per second
--device-write-bps list = Limit the write rate of a device in bytes per second
--device-write-iops list = Limit the write rate of a device in operations per second
--disable-content-trust bool:true = Skip image verification
--dns list = Set a DNS server
--dns-opt list = Set a DNS option
--dns-option list = Set a DNS option
--dns-search list = Set a DNS search domain
--domainname string = NIS domain name
--entrypoint string = Replace the image's entrypoint
-e --env list = Set an environment variable
--env-file list = Read environment variables from a file
--expose list = Expose a port or a range of ports
--gpus gpu-request = GPU devices to add
--group-add list = Add a supplementary group
--health-cmd string = Command that checks health
--health-interval duration = Time between two checks
--health-retries int = Failures in a row that mean unhealthy
--health-start-interval duration = Time between checks while the container starts
--health-start-period duration = Time the container may take to start
--health-timeout duration = Longest time of one check
-h --hostname string = Host name
--init = Run an init that forwards signals and reaps processes
-i --interactive = Keep STDIN open
--ip string = IPv4 address
--ip6 string = IPv6 address
--ipc string = IPC mode
--isolation string = Isolation technology
--kernel-memory bytes = Obsolete, without effect
-l --label list = Set a label
--label-file list = Read labels from a file
--link list = Add a link to another container
--link-local-ip list = Link-local address
--log-driver string = Logging driver
--log-opt list = Option of the logging driver
--mac-address string = MAC address
--memory-swappiness int:-1 = Swappiness, 0 to 100
--mount mount = Attach a file system
--name string = Name of the container
--net network = Connect to a network
--network network = Connect to a network
--net-alias list = Add a network-scoped alias
--network-alias list = Add a network-scoped alias
--no-healthcheck = Disable the image's health check
--oom-kill-disable = Disable the OOM killer
--oom-score-adj int = OOM preference, -1000 to 1000
--pid string = PID namespace
--platform string = Platform of the image
--privileged = Give the container all privileges
-p --publish list = Publish a port to the host
-P --publish-all = Publish all exposed ports
--pull string:missing = Pull the image first (always, missing, never)
-q --quiet = Suppress the pull's output
--read-only = Mount the root file system read-only
--restart string:no = Restart policy
--rm = Remove the container when it exits
--runtime string = OCI runtime
--security-opt list = Security option
--shm-size bytes = Size of /dev/shm
--stop-signal string = Signal that stops the container
--stop-timeout int = Seconds before a stop kills
--storage-opt list = Option of the storage driver
--sysctl map = Kernel parameter
--tmpfs list = Mount a tmpfs
-t --tty = Allocate a pseudo-terminal
--ulimit ulimit = Resource limit
-u --user string = User name or UID, and group (user[:group])
--userns string = User namespace
--uts string = UTS namespace
-v --volume list = Bind a host path or a volume
--volume-driver string = Volume driver
--volumes-from list = Take the volumes of another container
-w --workdir string = Working directory
"""


def body(values: Values, image: str, command: list[str]) -> dict[str, Any]:
    """The JSON of POST /containers/create; ValueError with Docker's text."""
    attach = {name.lower() for name in values["attach"]}
    stdin = values["interactive"]
    if not attach:
        attach = {"stdout", "stderr"} | ({"stdin"} if stdin else set())
    exposed, bindings = publish(values["publish"])
    exposed = {**exposed, **expose(values["expose"])}
    binds: list[str] = []
    volumes: dict[str, dict[str, str]] = {}
    for text in values["volume"]:
        bind, anonymous = volume(text)
        if bind:
            binds.append(bind)
        else:
            volumes[anonymous] = {}
    labels = key_values(
        read_lines(values["label-file"], what="label", inherit=False) + values["label"]
    )
    environment = environments(
        read_lines(values["env-file"], what="variable", inherit=True) + values["env"]
    )
    values.values["network"] = values["network"] + values["net"]
    values.values["network-alias"] = values["network-alias"] + values["net-alias"]
    for flag, allowed in (
        ("pid", "PID"),
        ("uts", "UTS"),
        ("userns", "USER"),
        ("cgroupns", "CGROUP"),
    ):
        if not _valid_mode(flag, values[flag]):
            raise ValueError(f"--{flag}: invalid {allowed} mode")
    made: dict[str, Any] = {
        "Hostname": values["hostname"],
        "Domainname": values["domainname"],
        "User": values["user"],
        "AttachStdin": "stdin" in attach,
        "AttachStdout": "stdout" in attach,
        "AttachStderr": "stderr" in attach,
    }
    if exposed:
        made["ExposedPorts"] = exposed
    made |= {
        "Tty": values["tty"],
        "OpenStdin": stdin,
        "StdinOnce": stdin and "stdin" in attach,
        "Env": environment or None,
        "Cmd": command or None,
    }
    health = _health(values)
    if health:
        made["Healthcheck"] = health
    made |= {
        "Image": image,
        "Volumes": volumes,
        "WorkingDir": values["workdir"],
        "Entrypoint": [values["entrypoint"]] if "entrypoint" in values.given else None,
        "OnBuild": None,
        "Labels": labels,
    }
    if values["stop-signal"]:
        made["StopSignal"] = values["stop-signal"]
    if "stop-timeout" in values.given:
        made["StopTimeout"] = values["stop-timeout"]
    mode, networks = endpoints(values)
    made["HostConfig"] = host_config(values, binds, bindings, mode)
    made["NetworkingConfig"] = {"EndpointsConfig": networks}
    return made


def _valid_mode(flag: str, value: str) -> bool:
    if flag == "cgroupns":
        return value in ("", "host", "private")
    return value in ("", "host") or (
        flag == "pid" and value.startswith("container:") and len(value) > 10
    )


def _health(values: Values) -> dict[str, Any]:
    for name in ("interval", "timeout", "retries", "start-period", "start-interval"):
        if values[f"health-{name}"] < 0:
            raise ValueError(f"--health-{name} cannot be negative")
    given = [name for name in values.given if name.startswith("health-")]
    if values["no-healthcheck"]:
        if given:
            raise ValueError("--no-healthcheck conflicts with --health-* options")
        return {"Test": ["NONE"]}
    if not given:
        return {}
    made: dict[str, Any] = {}
    if values["health-cmd"]:
        made["Test"] = ["CMD-SHELL", values["health-cmd"]]
    for name, flag in (
        ("Interval", "health-interval"),
        ("Timeout", "health-timeout"),
        ("StartPeriod", "health-start-period"),
        ("StartInterval", "health-start-interval"),
        ("Retries", "health-retries"),
    ):
        if values[flag]:
            made[name] = values[flag]
    return made
