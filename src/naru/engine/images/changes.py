"""`--change` of commit and import: Dockerfile instructions applied to an image's config. Pure."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Sequence
from typing import Any

import msgspec

from naru.spec.containers import ContainerConfig, HealthConfig
from naru.spec.errors import InvalidParameter

_SHELL = ["/bin/sh", "-c"]
_PORT = re.compile(r"(\d+)(?:-(\d+))?(?:/(tcp|udp|sctp))?")
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h)")
_UNITS = {"ns": 1, "us": 10**3, "µs": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9,
          "h": 3600 * 10**9}  # fmt: skip


def apply_changes(config: ContainerConfig, changes: Sequence[str]) -> ContainerConfig:
    """Each of `changes` is one or more lines of CMD, ENV, LABEL, ..."""
    for change in changes:
        for line in change.splitlines():
            if line.strip():
                config = _apply(config, line.strip())
    return config


def _apply(config: ContainerConfig, line: str) -> ContainerConfig:
    word, _, rest = line.partition(" ")
    rest = rest.strip()
    verb = word.upper()
    handler = _HANDLERS.get(verb)
    if handler is None:
        if verb in ("FROM", "RUN", "COPY", "ADD", "ARG", "MAINTAINER"):
            raise InvalidParameter(f"{word.lower()} is not a valid change command")
        raise InvalidParameter(f"dockerfile parse error line 1: unknown instruction: {verb}")
    if not rest:
        raise InvalidParameter(f"{verb} requires at least one argument")
    return msgspec.structs.replace(config, **handler(config, rest))


def _command(config: ContainerConfig, text: str) -> list[str]:
    """The exec form, else a line for the shell."""
    words = _exec_form(text)
    return [*(config.shell or _SHELL), text] if words is None else words


def _exec_form(text: str) -> list[str] | None:
    """`["a", "b"]`, a JSON array of strings; None for whatever else."""
    if not text.startswith("["):
        return None
    try:
        value = json.loads(text)
    except ValueError:
        return None
    strings = isinstance(value, list) and all(isinstance(item, str) for item in value)
    return value if strings else None


def _pairs(text: str, verb: str) -> list[tuple[str, str]]:
    """`a=b c="d e"`, or the old form `a b`."""
    try:
        words = shlex.split(text, posix=True)
    except ValueError as error:
        raise InvalidParameter(f"{verb}: {error}") from error
    if words and "=" not in words[0]:
        key, _, value = text.partition(" ")
        if not value:
            raise InvalidParameter(f"{verb} must have two arguments")
        return [(key, value.strip())]
    pairs = []
    for word in words:
        key, equals, value = word.partition("=")
        if not equals:
            raise InvalidParameter(f"Syntax error - can't find = in {word!r}. Must be of the form:"
                                   " name=value")  # fmt: skip
        if not key:
            raise InvalidParameter(f"{verb} names can not be blank")
        pairs.append((key, value))
    return pairs


def _list(text: str) -> list[str]:
    words = _exec_form(text)
    return text.split() if words is None else words


def _env(config: ContainerConfig, text: str) -> dict[str, Any]:
    env = list(config.env)
    for key, value in _pairs(text, "ENV"):
        env = [item for item in env if item.partition("=")[0] != key]
        env.append(f"{key}={value}")
    return {"env": env}


def _expose(config: ContainerConfig, text: str) -> dict[str, Any]:
    ports = dict(config.exposed_ports)
    for word in text.split():
        found = _PORT.fullmatch(word.lower())
        if not found or int(found[2] or found[1]) > 65535:
            raise InvalidParameter(f"invalid containerPort: {word}")
        for port in range(int(found[1]), int(found[2] or found[1]) + 1):
            ports[f"{port}/{found[3] or 'tcp'}"] = {}
    return {"exposed_ports": ports}


def _workdir(config: ContainerConfig, text: str) -> dict[str, Any]:
    base = "" if text.startswith("/") else (config.working_dir or "/").rstrip("/") + "/"
    return {"working_dir": base + text}


def _healthcheck(config: ContainerConfig, text: str) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    while text.startswith("--"):
        option, _, text = text.partition(" ")
        name, _, value = option[2:].partition("=")
        if name == "retries" and value.isdigit():
            fields["retries"] = int(value)
        elif name in ("interval", "timeout", "start-period", "start-interval"):
            fields[name.replace("-", "_")] = _duration(value)
        else:
            raise InvalidParameter(f"Unknown flag: {name}")
        text = text.strip()
    kind, _, command = text.partition(" ")
    if kind.upper() == "NONE" and not command:
        return {"healthcheck": HealthConfig(test=["NONE"])}
    if kind.upper() != "CMD" or not command.strip():
        raise InvalidParameter(f'Unknown type "{kind}" in HEALTHCHECK (try CMD)')
    command = command.strip()
    if command.startswith("["):
        return {"healthcheck": HealthConfig(test=["CMD", *_command(config, command)], **fields)}
    return {"healthcheck": HealthConfig(test=["CMD-SHELL", command], **fields)}


def _duration(text: str) -> int:
    found = list(_DURATION.finditer(text))
    if not found or "".join(match[0] for match in found) != text:
        raise InvalidParameter(f'time: invalid duration "{text}"')
    return int(sum(float(match[1]) * _UNITS[match[2]] for match in found))


def _shell(config: ContainerConfig, text: str) -> dict[str, Any]:
    words = _list(text)
    if not text.startswith("[") or not words:
        raise InvalidParameter("SHELL requires the arguments to be in JSON form")
    return {"shell": words}


_HANDLERS: dict[str, Any] = {
    "CMD": lambda config, text: {"cmd": _command(config, text)},
    "ENTRYPOINT": lambda config, text: {"entrypoint": _command(config, text)},
    "ENV": _env,
    "EXPOSE": _expose,
    "HEALTHCHECK": _healthcheck,
    "LABEL": lambda config, text: {"labels": config.labels | dict(_pairs(text, "LABEL"))},
    "ONBUILD": lambda config, text: {"on_build": [*(config.on_build or []), text]},
    "SHELL": _shell,
    "STOPSIGNAL": lambda config, text: {"stop_signal": text},
    "USER": lambda config, text: {"user": text},
    "VOLUME": lambda config, text: {"volumes": config.volumes | {v: {} for v in _list(text)}},
    "WORKDIR": _workdir,
}
