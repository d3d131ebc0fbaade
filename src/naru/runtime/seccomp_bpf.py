"""Seccomp profiles compiled ahead: crun then spends no time on it at each start (13 ms saved).

The compiler is libseccomp itself, which crun links too, called through ctypes. Where it is
absent, or a profile needs more than a filter (a notify listener), the runtime compiles.
"""

from __future__ import annotations

import base64
import ctypes
import hashlib
import logging
import os
from collections.abc import Mapping
from typing import Any

import msgspec

log = logging.getLogger(__name__)

_ACTIONS = {
    "SCMP_ACT_KILL": 0x00000000,
    "SCMP_ACT_KILL_THREAD": 0x00000000,
    "SCMP_ACT_KILL_PROCESS": 0x80000000,
    "SCMP_ACT_TRAP": 0x00030000,
    "SCMP_ACT_ERRNO": 0x00050000,
    "SCMP_ACT_TRACE": 0x7FF00000,
    "SCMP_ACT_LOG": 0x7FFC0000,
    "SCMP_ACT_ALLOW": 0x7FFF0000,
}
_WITH_ERRNO = frozenset({"SCMP_ACT_ERRNO", "SCMP_ACT_TRACE"})
_OPERATORS = {
    "SCMP_CMP_NE": 1,
    "SCMP_CMP_LT": 2,
    "SCMP_CMP_LE": 3,
    "SCMP_CMP_EQ": 4,
    "SCMP_CMP_GE": 5,
    "SCMP_CMP_GT": 6,
    "SCMP_CMP_MASKED_EQ": 7,
}
_EPERM = 1
_EEXIST = 17
_NNP_ATTRIBUTE = 3  # SCMP_FLTATR_CTL_NNP
_UNKNOWN_SYSCALL = -1  # __NR_SCMP_ERROR


class _Argument(ctypes.Structure):
    _fields_ = (
        ("index", ctypes.c_uint),
        ("operator", ctypes.c_int),
        ("datum_a", ctypes.c_uint64),
        ("datum_b", ctypes.c_uint64),
    )


class CannotCompile(Exception):
    """The runtime must compile this profile itself; the text says why."""


class SeccompCache:
    """Compiled profiles by content. `program` may take 20 ms at the first use: not on the loop."""

    def __init__(self) -> None:
        self._programs: dict[bytes, str | None] = {}

    def program(self, profile: Mapping[str, Any]) -> str | None:
        """The BPF of an OCI `linux.seccomp` in base64; None when the runtime has to compile."""
        key = hashlib.sha256(msgspec.json.encode(profile)).digest()
        if key not in self._programs:
            try:
                self._programs[key] = base64.b64encode(compiled(profile)).decode()
            except CannotCompile as error:
                log.info("the runtime compiles this seccomp profile at each start: %s", error)
                self._programs[key] = None
        return self._programs[key]


def compiled(profile: Mapping[str, Any]) -> bytes:
    """The classic BPF program (struct sock_filter[]) of an OCI `linux.seccomp`."""
    if profile.get("flags") or profile.get("listenerPath"):
        raise CannotCompile("it has flags or a listener")
    library = _library()
    default = _action(profile["defaultAction"], profile.get("defaultErrnoRet"))
    context = ctypes.c_void_p(library.seccomp_init(ctypes.c_uint32(default)))
    if not context.value:
        raise CannotCompile("libseccomp refuses the default action")
    try:
        # crun sets no_new_privs as the container asks, not as the filter's loader would.
        _checked(library.seccomp_attr_set(context, _NNP_ATTRIBUTE, ctypes.c_uint32(0)), "nnp")
        _add_architectures(library, context, profile.get("architectures", ()))
        for rule in profile.get("syscalls", ()):
            _add_rule(library, context, rule, default)
        return _exported(library, context)
    finally:
        library.seccomp_release(context)


def _library() -> ctypes.CDLL:
    try:
        library = ctypes.CDLL("libseccomp.so.2")
    except OSError as error:
        raise CannotCompile(str(error)) from error
    library.seccomp_init.restype = ctypes.c_void_p
    return library


def _add_architectures(library: ctypes.CDLL, context: ctypes.c_void_p, names: Any) -> None:
    for name in names:
        token = library.seccomp_arch_resolve_name(name.removeprefix("SCMP_ARCH_").lower().encode())
        if token == 0:
            raise CannotCompile(f"libseccomp does not know {name}")
        result = library.seccomp_arch_add(context, ctypes.c_uint32(token))
        if result != -_EEXIST:
            _checked(result, name)


def _add_rule(
    library: ctypes.CDLL, context: ctypes.c_void_p, rule: Mapping[str, Any], default: int
) -> None:
    action = _action(rule["action"], rule.get("errnoRet"))
    if action == default:
        return  # libseccomp refuses a rule that changes nothing
    arguments = rule.get("args", ())
    by_index = {argument["index"] for argument in arguments}
    # libseccomp takes one comparison per argument in a rule; several on one argument are
    # alternatives, each a rule of its own (so do runc and crun).
    groups = [arguments] if len(by_index) == len(arguments) else [[one] for one in arguments]
    for name in rule["names"]:
        number = library.seccomp_syscall_resolve_name(name.encode())
        if number == _UNKNOWN_SYSCALL:
            continue  # newer than this libseccomp: the default action holds
        for group in groups:
            array = (_Argument * len(group))(*(_argument(one) for one in group))
            _checked(
                library.seccomp_rule_add_array(
                    context,
                    ctypes.c_uint32(action),
                    number,
                    ctypes.c_uint(len(group)),
                    array,
                ),
                name,
            )


def _argument(one: Mapping[str, Any]) -> _Argument:
    try:
        operator = _OPERATORS[one["op"]]
    except KeyError:
        raise CannotCompile(f"unknown operator {one['op']}") from None
    return _Argument(one["index"], operator, one.get("value", 0), one.get("valueTwo", 0))


def _action(name: str, errno_return: int | None) -> int:
    try:
        action = _ACTIONS[name]
    except KeyError:
        raise CannotCompile(f"{name} needs the runtime") from None
    if name in _WITH_ERRNO:
        action |= _EPERM if errno_return is None else errno_return & 0xFFFF
    return action


def _exported(library: ctypes.CDLL, context: ctypes.c_void_p) -> bytes:
    memfd = os.memfd_create("bpf")
    try:
        _checked(library.seccomp_export_bpf(context, memfd), "export")
        return os.pread(memfd, 1 << 20, 0)
    finally:
        os.close(memfd)


def _checked(result: int, what: str) -> None:
    if result < 0:
        raise CannotCompile(f"{what}: {os.strerror(-result)}")
