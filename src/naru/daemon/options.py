"""THE table of the daemon's options: flag, daemon.json key, type, default, reloadable, help.

One row each, for `narud` and for its alias `dockerd`; a default that differs between the two is a
field of `Program`. dockerd's options that this engine does not do are listed too, so that they are
refused by name.
"""

# ruff: noqa: E501 - a row of the table is one line, so that columns can be compared

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

from naru.daemon import option_structures as structures
from naru.daemon import option_types as types
from naru.daemon.option_types import OptionType
from naru.spec.disk import DEFAULT_FREE_SPACE


class Program(msgspec.Struct, frozen=True):
    """A name that the daemon goes by, with its defaults."""

    name: str
    config_file: str
    socket: str
    data_root: str
    exec_root: str
    pidfile: str
    bridge_name: str
    product: str


NARUD = Program(
    name="narud",
    config_file="/etc/naru/daemon.json",
    socket="/run/naru.sock",
    data_root="/var/lib/naru",
    exec_root="/run/naru",
    pidfile="/run/naru.pid",
    bridge_name="naru0",
    product="Naru",
)
DOCKERD = Program(
    name="dockerd",
    config_file="/etc/docker/daemon.json",
    socket="/var/run/docker.sock",
    data_root="/var/lib/docker",
    exec_root="/var/run/docker",
    pidfile="/var/run/docker.pid",
    bridge_name="docker0",
    product="Naru (as dockerd)",
)


class OfProgram(NamedTuple):
    """A default that is the `Program`'s attribute of this name."""

    attribute: str


class Option(NamedTuple):
    """`key`: the name in daemon.json, "" for an option that only has a flag."""

    flag: str
    key: str
    type: OptionType
    default: Any
    help: str
    short: str = ""
    reloadable: bool = False

    @property
    def field(self) -> str:
        """The attribute of `Config`: the key, or the flag, as an identifier."""
        return (self.key or self.flag).replace("-", "_")


_DOWNLOADS = types.Integer(least=0, complaint="invalid max concurrent downloads")
_UPLOADS = types.Integer(least=0, complaint="invalid max concurrent uploads")
_MTU = types.Integer(least=0, complaint="invalid default MTU")
LEVELS = ("debug", "info", "warn", "error", "fatal")

OPTIONS: tuple[Option, ...] = (
    Option("add-runtime", "runtimes", structures.Runtimes(), (), "Register an additional OCI compatible runtime", reloadable=True),
    Option("bip", "bip", types.Text(), "", "IPv4 address for the default bridge"),
    Option("bridge", "bridge", types.Text(), "", "Attach containers to a network bridge", "b"),
    Option("cgroup-parent", "cgroup-parent", types.Text(), "", "Set parent cgroup for all containers"),
    Option("config-file", "", types.Text(), OfProgram("config_file"), "Daemon configuration file"),
    Option("containerd", "containerd", types.Text(), "", "Accepted for dockerd's service files; no containerd is used"),
    Option("data-root", "data-root", types.Text(), OfProgram("data_root"), "Root directory of persistent state"),
    Option("debug", "debug", types.Switch(), False, "Enable debug mode", "D", reloadable=True),
    Option("default-address-pool", "default-address-pools", structures.AddressPools(), (), "Default address pools for node specific local networks"),
    Option("default-runtime", "default-runtime", types.Text(), "", "Default OCI runtime for containers (default: crun, or runc where crun is missing)", reloadable=True),
    Option("default-shm-size", "default-shm-size", types.Size(), 64 << 20, "Default shm size for containers"),
    Option("default-ulimit", "default-ulimits", structures.Ulimits(), (), "Default ulimits for containers"),
    Option("dns", "dns", types.Addresses(), (), "DNS server to use"),
    Option("dns-opt", "dns-opts", types.Texts(), (), "DNS options to use"),
    Option("dns-search", "dns-search", types.Texts(), (), "DNS search domains to use"),
    Option("exec-opt", "exec-opts", types.PairTexts(), (), "Runtime execution options"),
    Option("exec-root", "exec-root", types.Text(), OfProgram("exec_root"), "Root directory for execution state files"),
    Option("fixed-cidr", "fixed-cidr", types.Subnet(), "", "IPv4 subnet for the containers' addresses on the default bridge"),
    Option("group", "group", types.Text(), "docker", "Group for the unix socket", "G"),
    Option("host", "hosts", types.Texts(), (), "Daemon socket(s) to connect to", "H"),
    Option("icc", "icc", types.Switch(), True, "Enable inter-container communication for the default bridge network"),
    Option("init", "init", types.Switch(), False, "Run an init in the container to forward signals and reap processes"),
    Option("insecure-registry", "insecure-registries", types.Texts(), (), "Enable insecure registry communication", reloadable=True),
    Option("ip", "ip", types.Address(), "0.0.0.0", "Host IP for port publishing from the default bridge network"),
    Option("ip-forward", "ip-forward", types.Switch(), True, "Enable IP forwarding in system configuration"),
    Option("ip-masq", "ip-masq", types.Switch(), True, "Enable IP masquerading for the default bridge network"),
    Option("iptables", "iptables", types.Switch(), True, "Enable addition of firewall rules"),
    Option("label", "labels", types.Labels(), (), "Set key=value labels to the daemon", reloadable=True),
    Option("layer-blobs", "layer-blobs", types.Choice("keep", "drop"), "keep", 'What becomes of a layer\'s compressed blob once it is unpacked; dropped is what can be made again to the byte ("keep"|"drop")'),
    Option("live-restore", "live-restore", types.Switch(), True, "Containers run on while the daemon is down: always so", reloadable=True),
    Option("log-driver", "log-driver", types.Text(), "json-file", "Default driver for container logs"),
    Option("log-format", "log-format", types.Choice("text", "json"), "text", 'Set the logging format ("text"|"json")'),
    Option("log-level", "log-level", types.Choice(*LEVELS), "info", 'Set the logging level ("debug"|"info"|"warn"|"error"|"fatal")', "l", reloadable=True),
    Option("log-opt", "log-opts", types.Pairs(), {}, "Default log driver options for containers"),
    Option("max-concurrent-downloads", "max-concurrent-downloads", _DOWNLOADS, 3, "Set the max concurrent downloads", reloadable=True),
    Option("max-concurrent-uploads", "max-concurrent-uploads", _UPLOADS, 5, "Set the max concurrent uploads", reloadable=True),
    Option("min-free-space", "min-free-space", structures.Free(), DEFAULT_FREE_SPACE, "Refuse images and containers that would leave less of the data root's disk free: a size, a percentage, or both for the lesser; 0 for no limit (default 1%,256m)", reloadable=True),
    Option("mtu", "mtu", _MTU, 1500, "Set the MTU for the default bridge network"),
    Option("pidfile", "pidfile", types.Text(), OfProgram("pidfile"), "Path to use for daemon PID file", "p"),
    Option("raw-logs", "raw-logs", types.Switch(), False, "Full timestamps without ANSI coloring"),
    Option("registry-mirror", "registry-mirrors", types.Texts(), (), "Preferred registry mirror", reloadable=True),
    Option("shutdown-timeout", "shutdown-timeout", types.Integer(), 15, "Seconds that requests in flight get at shutdown", reloadable=True),
    Option("storage-driver", "storage-driver", types.Text(), "", "Storage driver to use", "s"),
    Option("storage-opt", "storage-opts", types.PairTexts(), (), "Storage driver options"),
    Option("tls", "tls", types.Switch(), False, "Use TLS; implied by --tlsverify"),
    Option("tlscacert", "tlscacert", types.Text(), "", "Trust certs signed only by this CA (default ~/.docker/ca.pem)"),
    Option("tlscert", "tlscert", types.Text(), "", "Path to TLS certificate file (default ~/.docker/cert.pem)"),
    Option("tlskey", "tlskey", types.Text(), "", "Path to TLS key file (default ~/.docker/key.pem)"),
    Option("tlsverify", "tlsverify", types.Switch(), False, "Use TLS and verify the remote"),
    Option("userland-proxy", "userland-proxy", types.Switch(), True, "Accepted; published ports need no proxy process"),
)  # fmt: skip


class Refused(NamedTuple):
    """An option of dockerd's that this engine does not do; only `neutral` is accepted."""

    flag: str
    type: OptionType
    neutral: Any
    key: str = ""

    @property
    def file_key(self) -> str:
        return self.key or self.flag


_OFF = (types.Switch(), False)
_UNSET = (types.Text(), "")

REFUSED: tuple[Refused, ...] = (
    Refused("allow-nondistributable-artifacts", types.Texts(), ()),
    Refused("api-cors-header", *_UNSET),
    Refused("authorization-plugin", types.Texts(), (), "authorization-plugins"),
    Refused("cdi-spec-dir", types.Texts(), (), "cdi-spec-dirs"),
    Refused("containerd-namespace", types.Text(), "moby"),
    Refused("containerd-plugins-namespace", types.Text(), "plugins.moby"),
    Refused("cpu-rt-period", types.Integer(), 0),
    Refused("cpu-rt-runtime", types.Integer(), 0),
    Refused("cri-containerd", *_OFF),
    Refused("default-cgroupns-mode", *_UNSET),
    Refused("default-gateway", *_UNSET),
    Refused("default-gateway-v6", *_UNSET),
    Refused("default-ipc-mode", types.Text(), "private"),
    Refused("default-network-opt", types.Texts(), (), "default-network-opts"),
    Refused("experimental", *_OFF),
    Refused("feature", types.Texts(), (), "features"),
    Refused("firewall-backend", types.Text(), "nftables"),
    Refused("fixed-cidr-v6", *_UNSET),
    Refused("host-gateway-ip", *_UNSET),
    Refused("http-proxy", *_UNSET),
    Refused("https-proxy", *_UNSET),
    Refused("init-path", *_UNSET),
    Refused("ip6tables", *_OFF),
    Refused("ipv6", *_OFF),
    Refused("max-download-attempts", types.Integer(), 5),
    Refused("metrics-addr", *_UNSET),
    Refused("network-control-plane-mtu", types.Integer(), 1500),
    Refused("no-new-privileges", *_OFF),
    Refused("no-proxy", *_UNSET),
    Refused("node-generic-resource", types.Texts(), (), "node-generic-resources"),
    Refused("oom-score-adjust", types.Integer(), 0),
    Refused("rootless", *_OFF),
    Refused("seccomp-profile", *_UNSET),
    Refused("selinux-enabled", *_OFF),
    Refused("swarm-default-advertise-addr", *_UNSET),
    Refused("userland-proxy-path", *_UNSET),
    Refused("userns-remap", *_UNSET),
)
REFUSED_KEYS = frozenset(
    {
        "bridge-accept-fwmark",
        "builder",
        "cluster-advertise",
        "cluster-store",
        "cluster-store-opts",
        "min-api-version",
        "proxies",
    }
)
"""Keys of daemon.json that have no flag and that this engine does not do."""
