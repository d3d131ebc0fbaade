"""The daemon's configuration: what its flags, its daemon.json and its environment say together.

A flag and a key of the file may not both set the same option (Docker's rule). The table of options
is `daemon/options`; `Config` has one attribute for each row.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from naru.daemon import endpoints, flags
from naru.daemon.flags import UsageError
from naru.daemon.option_structures import AddressPool, RuntimeChoice
from naru.daemon.option_types import go_text
from naru.daemon.options import OPTIONS, REFUSED, REFUSED_KEYS, OfProgram, Option, Program
from naru.kernel.cgroups import refusal_of_parent
from naru.spec.containers import Ulimit
from naru.spec.disk import FreeSpace

Given = Mapping[str, list[str]]
"""The flags of a command line: name -> the texts it was given, in order."""


class ConfigError(Exception):
    """The configuration is not acceptable; the text is shown as it is."""


class Config(msgspec.Struct, frozen=True, kw_only=True):
    program: Program
    bip: str
    bridge: str  # "" for our own default bridge, "none" for no default bridge
    cgroup_parent: str
    config_file: str
    containerd: str
    data_root: Path
    debug: bool
    default_address_pools: tuple[AddressPool, ...]
    default_runtime: str  # "": crun where present, else runc
    default_shm_size: int  # bytes
    default_ulimits: tuple[Ulimit, ...]
    dns: tuple[str, ...]
    dns_opts: tuple[str, ...]
    dns_search: tuple[str, ...]
    exec_opts: tuple[str, ...]
    exec_root: Path
    fixed_cidr: str
    group: str
    hosts: tuple[str, ...]  # as given; never empty
    icc: bool
    init: bool
    insecure_registries: tuple[str, ...]
    ip: str
    ip_forward: bool
    ip_masq: bool
    iptables: bool
    labels: tuple[str, ...]
    layer_blobs: str  # "keep" or "drop"
    live_restore: bool
    log_driver: str
    log_format: str
    log_level: str
    log_opts: Mapping[str, str]
    max_concurrent_downloads: int
    max_concurrent_uploads: int
    min_free_space: FreeSpace
    mtu: int
    pidfile: Path
    raw_logs: bool
    registry_mirrors: tuple[str, ...]
    runtimes: tuple[RuntimeChoice, ...]
    shutdown_timeout: int
    storage_driver: str  # "": choose
    storage_opts: tuple[str, ...]
    tls: bool
    tlscacert: str
    tlscert: str
    tlskey: str
    tlsverify: bool
    userland_proxy: bool

    @property
    def bridge_name(self) -> str:
        """The default bridge's interface: the one named by --bridge, or our own."""
        return self.bridge or self.program.bridge_name

    @property
    def cgroup_driver(self) -> str:
        """ "cgroupfs", "systemd", or "" when not chosen."""
        return _cgroup_driver(self.exec_opts)


class CommandLine(msgspec.Struct, frozen=True):
    """What was asked of the program; `action`: run, validate, version or help."""

    action: str
    given: Given


_ACTIONS = {"validate": False, "version": False, "help": False}
_SHORT_ACTIONS = {"v": "version", "h": "help"}


def command_line(arguments: Sequence[str]) -> CommandLine:
    """Read the flags without looking at any file; `UsageError` for what is not one."""
    takes_value = {option.flag: option.type.takes_value for option in OPTIONS}
    takes_value |= {option.flag: option.type.takes_value for option in REFUSED}
    shorthands = {option.short: option.flag for option in OPTIONS if option.short}
    given: dict[str, list[str]] = {}
    for flag, text in flags.parse(
        arguments, takes_value=takes_value | _ACTIONS, shorthands=shorthands | _SHORT_ACTIONS
    ):
        given.setdefault(flag, []).append(text)
    for option in REFUSED:
        if option.flag in given:
            value = _from_flag(option.flag, option.type, given.pop(option.flag))
            if value != option.neutral:
                raise UsageError(f"--{option.flag} is not supported by this engine (yet)")
    for action in ("help", "version", "validate"):
        if given.pop(action, ["false"])[-1] == "true":
            return CommandLine(action, given)
    return CommandLine("run", given)


def load(program: Program, given: Given, *, environ: Mapping[str, str] = os.environ) -> Config:
    """Flags, file and environment as one; `ConfigError` or `UsageError` says what is wrong."""
    values = {option.field: _default(option, program, environ) for option in OPTIONS}
    for option in OPTIONS:
        if option.flag in given:
            values[option.field] = _from_flag(option.flag, option.type, given[option.flag])
    path = values["config_file"]
    try:
        values |= _from_file(Path(path), given, required="config-file" in given)
    except ConfigError as error:
        raise ConfigError(
            f"unable to configure the {program.product} daemon with file {path}: {error}"
        ) from error
    return _completed(program, values, environ)


def reload(config: Config, given: Given) -> Config:
    """The configuration with what the file now says of reloadable options; the rest stays."""
    fresh = load(config.program, given)
    reloadable = {option.field for option in OPTIONS if option.reloadable}
    return msgspec.structs.replace(config, **{name: getattr(fresh, name) for name in reloadable})


def check_hosts(config: Config) -> None:
    """Raise `EndpointError` for a host that makes no sense, before anything is opened."""
    for host in config.hosts:
        endpoints.parse(host, default_socket=config.program.socket, tls=config.tls)


def _default(option: Option, program: Program, environ: Mapping[str, str]) -> Any:
    if isinstance(option.default, OfProgram):
        return getattr(program, option.default.attribute)
    if option.flag == "storage-driver":
        return environ.get("DOCKER_DRIVER", "")
    if option.flag == "tlsverify":
        return bool(environ.get("DOCKER_TLS_VERIFY"))
    return option.default


def _from_flag(flag: str, kind: Any, texts: list[str]) -> Any:
    try:
        return kind.from_flag(texts)
    except ValueError as error:
        raise UsageError(f'invalid argument "{texts[-1]}" for "--{flag}" flag: {error}') from error


def _from_file(path: Path, given: Given, *, required: bool) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        if required:
            raise ConfigError(f"open {path}: no such file or directory") from None
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(str(error)) from error
    try:
        document = json.loads(text) if text.strip() else {}
    except json.JSONDecodeError as error:
        raise ConfigError(f"invalid JSON: {error}") from error
    if not isinstance(document, dict):
        raise ConfigError("invalid JSON: expected an object")
    _refuse_unknown(document)
    _refuse_twice(document, given)
    values: dict[str, Any] = {}
    for option in OPTIONS:
        if option.key and document.get(option.key) is not None:
            try:
                values[option.field] = option.type.from_file(document[option.key])
            except ValueError as error:
                raise ConfigError(f"{option.key}: {error}") from error
    return values


def _refuse_unknown(document: Mapping[str, Any]) -> None:
    known = {option.key for option in OPTIONS if option.key}
    refused = {option.file_key: option for option in REFUSED}
    strange = [key for key in document if key not in known | refused.keys() | REFUSED_KEYS]
    if strange:
        raise ConfigError(
            "the following directives don't match any configuration option: "
            + ", ".join(sorted(strange))
        )
    for key, value in document.items():
        if key in known or value in (None, [], {}):
            continue
        if key in refused:
            neutral = refused[key].neutral
            if value == (list(neutral) if isinstance(neutral, tuple) else neutral):
                continue
            if key == "features" and not any(value.values() if isinstance(value, dict) else [1]):
                continue  # features that are switched off are what we do
        raise ConfigError(f"{key} is not supported by this engine (yet)")


def _refuse_twice(document: Mapping[str, Any], given: Given) -> None:
    conflicts = []
    for option in OPTIONS:
        if option.key and option.flag in given and option.key in document:
            value = _from_flag(option.flag, option.type, given[option.flag])
            shown = given[option.flag] if option.type.word in ("list", "runtime") else value
            conflicts.append(
                f"{option.key}: (from flag: {go_text(shown)},"
                f" from file: {go_text(document[option.key])})"
            )
    if conflicts:
        raise ConfigError(
            "the following directives are specified both as a flag and in the configuration file: "
            + ", ".join(conflicts)
        )


def _completed(program: Program, values: dict[str, Any], environ: Mapping[str, str]) -> Config:
    """Check what concerns several options, and fill in what follows from others."""
    if values["bridge"] and values["bip"]:
        raise ConfigError(
            "You specified -b & --bip, mutually exclusive options. Please specify only one"
        )
    if not values["iptables"] and not values["icc"]:
        raise ConfigError(
            "You specified --iptables=false with --icc=false. ICC=false uses iptables to function."
            " Please set --icc or --iptables to true"
        )
    for key, value in _pairs(values["exec_opts"]):
        if key != "native.cgroupdriver":
            raise ConfigError(f"exec-opt {key} is not supported by this engine (yet)")
        if value not in ("cgroupfs", "systemd"):
            raise ConfigError(f"invalid cgroup driver: {value}: expected cgroupfs or systemd")
    systemd = _cgroup_driver(values["exec_opts"]) == "systemd"
    if refusal := refusal_of_parent(values["cgroup_parent"], systemd=systemd):
        raise ConfigError(refusal)
    for name in ("data_root", "exec_root", "pidfile"):
        # Containers, mounts and the supervisor outlive the working directory of a shell.
        values[name] = Path(os.path.abspath(values[name])) if values[name] else Path()
    certs = Path(environ.get("DOCKER_CERT_PATH") or os.path.expanduser("~/.docker"))
    for name, file in (("tlscacert", "ca.pem"), ("tlscert", "cert.pem"), ("tlskey", "key.pem")):
        values[name] = values[name] or str(certs / file)
    values["tls"] = values["tls"] or values["tlsverify"]
    values["hosts"] = values["hosts"] or (f"unix://{program.socket}",)
    values["log_level"] = "debug" if values["debug"] else values["log_level"]
    return Config(
        program=program,
        **values,
    )


def _cgroup_driver(exec_opts: Sequence[str]) -> str:
    return dict(_pairs(exec_opts)).get("native.cgroupdriver", "")


def _pairs(texts: Sequence[str]) -> list[tuple[str, str]]:
    return [(key, value) for key, _, value in (text.partition("=") for text in texts)]
