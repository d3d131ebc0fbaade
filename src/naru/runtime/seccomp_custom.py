"""Seccomp profiles in Docker's format: those of `--security-opt seccomp=FILE`."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import msgspec

from naru.runtime.seccomp_machine import ARCHITECTURES, architecture, kernel, version
from naru.spec import jsonread
from naru.spec.errors import InvalidParameter


class _Arg(msgspec.Struct, frozen=True, rename="camel"):
    index: int
    value: int
    op: str
    value_two: int = 0


class _Condition(msgspec.Struct, frozen=True, rename="camel"):
    caps: list[str] = []
    arches: list[str] = []
    min_kernel: str = ""


class _Syscall(msgspec.Struct, frozen=True, rename="camel"):
    action: str
    name: str = ""
    names: list[str] = []
    args: list[_Arg] = []
    errno_ret: int | None = None
    includes: _Condition = _Condition()
    excludes: _Condition = _Condition()


class _ArchMap(msgspec.Struct, frozen=True, rename="camel"):
    architecture: str
    sub_architectures: list[str] = []


class _Profile(msgspec.Struct, frozen=True, rename="camel"):
    default_action: str
    default_errno_ret: int | None = None
    architectures: list[str] = []
    arch_map: list[_ArchMap] = []
    flags: list[str] = []
    listener_path: str = ""
    listener_metadata: str = ""
    syscalls: list[_Syscall] = []


def custom_profile(
    document: bytes, capabilities: Collection[str], arch: str | None = None
) -> dict[str, Any]:
    """Such a profile as OCI `linux.seccomp`; `InvalidParameter` names what is wrong with it."""
    try:
        profile = jsonread.decode(document, _Profile)
    except InvalidParameter as error:
        raise InvalidParameter(f"Decoding seccomp profile failed: {error}") from error
    if profile.architectures and profile.arch_map:
        raise InvalidParameter(
            "'architectures' and 'archMap' were specified in the seccomp profile, "
            "use either 'architectures' or 'archMap'"
        )
    arch = architecture(arch)
    result: dict[str, Any] = {
        "defaultAction": profile.default_action,
        "architectures": profile.architectures or _mapped(profile.arch_map, arch),
        "syscalls": [_rule(one) for one in profile.syscalls if _applies(one, capabilities, arch)],
    }
    if profile.default_errno_ret is not None:
        result["defaultErrnoRet"] = profile.default_errno_ret
    if profile.flags:
        result["flags"] = profile.flags
    if profile.listener_path:
        result["listenerPath"] = profile.listener_path
        result["listenerMetadata"] = profile.listener_metadata
    return result


def _mapped(arch_map: list[_ArchMap], arch: str) -> list[str]:
    native = f"SCMP_ARCH_{ARCHITECTURES[arch][0]}" if arch in ARCHITECTURES else ""
    for one in arch_map:
        if one.architecture == native:
            return [native, *one.sub_architectures]
    return []


def _applies(rule: _Syscall, capabilities: Collection[str], arch: str) -> bool:
    wanted, unwanted = rule.includes, rule.excludes
    if wanted.arches and arch not in wanted.arches:
        return False
    if any(capability not in capabilities for capability in wanted.caps):
        return False
    if wanted.min_kernel and kernel() < version(wanted.min_kernel):
        return False
    if arch in unwanted.arches or any(one in capabilities for one in unwanted.caps):
        return False
    return not (unwanted.min_kernel and kernel() >= version(unwanted.min_kernel))


def _rule(rule: _Syscall) -> dict[str, Any]:
    if rule.name and rule.names:
        raise InvalidParameter(
            "'name' and 'names' were specified in the seccomp profile, use either 'name' or 'names'"
        )
    result: dict[str, Any] = {
        "names": rule.names or [rule.name],
        "action": rule.action,
    }
    if rule.args:
        result["args"] = [
            {"index": one.index, "value": one.value, "valueTwo": one.value_two, "op": one.op}
            for one in rule.args
        ]
    if rule.errno_ret is not None:
        result["errnoRet"] = rule.errno_ret
    return result
