"""The profile is compiled and then run, by a small interpreter of classic BPF."""

from __future__ import annotations

import ctypes.util
import json
import struct
from typing import Any

import pytest

from naru.runtime import capabilities, seccomp, seccomp_limits
from naru.runtime.seccomp_bpf import CannotCompile, SeccompCache, compiled
from naru.runtime.seccomp_custom import custom_profile
from naru.spec.errors import InvalidParameter

needs_libseccomp = pytest.mark.skipif(
    ctypes.util.find_library("seccomp") is None, reason="needs libseccomp"
)

X86_64 = 0xC000003E
ALLOW = 0x7FFF0000
EPERM = 0x00050000 | 1
ENOSYS = 0x00050000 | 38
READ, CLONE, UNSHARE, SOCKET, PERSONALITY, IO_URING, CLONE3 = 0, 56, 272, 41, 135, 425, 435
PTRACE, MOUNT, REBOOT, IOCTL = 101, 165, 169, 16


def verdict(program: bytes, number: int, *arguments: int, arch: int = X86_64) -> int:
    """What the filter returns for a call."""
    padded = [*arguments, 0, 0, 0, 0, 0, 0][:6]
    data = struct.pack("<iIQ6Q", number, arch, 0, *padded)
    code = list(struct.iter_unpack("<HBBI", program))
    accumulator = position = 0
    while True:
        operation, if_true, if_false, k = code[position]
        position += 1
        if operation == 0x20:  # ld word
            accumulator = struct.unpack_from("<I", data, k)[0]
        elif operation == 0x54:  # and
            accumulator &= k
        elif operation == 0x06:  # ret
            return k
        elif operation == 0x05:  # ja
            position += k
        else:
            holds = {
                0x15: accumulator == k,
                0x25: accumulator > k,
                0x35: accumulator >= k,
                0x45: bool(accumulator & k),
            }[operation]
            position += if_true if holds else if_false


def default(*granted: str) -> bytes:
    held = [*capabilities.DEFAULT, *granted]
    return compiled(seccomp.default_profile(held, "amd64"))


@needs_libseccomp
def test_what_an_ordinary_container_may() -> None:
    program = default()
    assert verdict(program, READ) == ALLOW
    assert verdict(program, CLONE, 0x11) == ALLOW  # fork
    assert verdict(program, SOCKET, 2) == ALLOW
    assert verdict(program, PERSONALITY, 0xFFFFFFFF) == ALLOW
    assert verdict(program, PTRACE) == ALLOW  # kernels from 4.8


@needs_libseccomp
def test_what_it_may_not() -> None:
    program = default()
    for number in (UNSHARE, MOUNT, REBOOT, IO_URING):
        assert verdict(program, number) == EPERM
    for namespace in (0x10000000, 0x20000, 0x40000000, 0x02000000):  # user, mount, net, cgroup
        assert verdict(program, CLONE, namespace | 0x11) == EPERM
    assert verdict(program, CLONE3) == ENOSYS
    assert verdict(program, SOCKET, 40) == EPERM
    assert verdict(program, PERSONALITY, 0x0040000) == EPERM  # ADDR_NO_RANDOMIZE


@needs_libseccomp
def test_a_container_with_a_disk_limit_stays_in_it() -> None:
    held = capabilities.DEFAULT
    program = compiled(seccomp.default_profile(held, "amd64", limited=True))
    for request in (0x401C5820, 0x50009401, 0x5000940E, 0x50009417, 0x50009418):
        assert verdict(program, IOCTL, 3, request) == EPERM
        # The kernel looks at the lower half alone.
        assert verdict(program, IOCTL, 3, request | 1 << 32) == EPERM
        assert verdict(default(), IOCTL, 3, request) == ALLOW
        for bit in range(32):
            other = request ^ 1 << bit
            expected = EPERM if other in seccomp_limits.ESCAPES else ALLOW
            assert verdict(program, IOCTL, 3, other) == expected
    for request in (0, 0x5401, 0x801C581F, 0xFFFFFFFF, 0xFFFFFFFF_00005401):
        assert verdict(program, IOCTL, 3, request) == ALLOW
    assert verdict(program, READ) == ALLOW


@pytest.mark.parametrize("values", [{0}, {5}, {0, 1}, {0xFFFFFFFF, 7, 6}])
def test_all_but_some_fit_one_pattern(values: set[int]) -> None:
    patterns = list(seccomp_limits.all_but(values))
    near = {value ^ 1 << bit for value in values for bit in range(32)} | values
    for number in near:
        fitting = [1 for mask, value in patterns if number & mask == value]
        assert len(fitting) == (0 if number in values else 1)


@needs_libseccomp
def test_a_capability_brings_its_calls_back() -> None:
    program = default("CAP_SYS_ADMIN")
    for number in (UNSHARE, MOUNT, CLONE3):
        assert verdict(program, number) == ALLOW
    assert verdict(program, CLONE, 0x10000000) == ALLOW
    assert verdict(program, REBOOT) == EPERM
    assert verdict(default("CAP_SYS_BOOT"), REBOOT) == ALLOW


@needs_libseccomp
def test_programs_are_compiled_once() -> None:
    cache = SeccompCache()
    profile = seccomp.default_profile(capabilities.DEFAULT, "amd64")
    first = cache.program(profile)
    assert first is not None
    assert cache.program(dict(profile)) is first


@needs_libseccomp
def test_two_comparisons_of_one_argument_are_alternatives() -> None:
    rule = {
        "names": ["personality"],
        "action": "SCMP_ACT_ALLOW",
        "args": [{"index": 0, "value": value, "op": "SCMP_CMP_EQ"} for value in (1, 2)],
    }
    program = compiled(
        {
            "defaultAction": "SCMP_ACT_ERRNO",
            "architectures": ["SCMP_ARCH_X86_64"],
            "syscalls": [rule],
        }
    )
    assert [verdict(program, PERSONALITY, value) for value in (1, 2, 3)] == [ALLOW, ALLOW, EPERM]


def test_what_only_a_runtime_can_do_is_left_to_it() -> None:
    with pytest.raises(CannotCompile):
        compiled({"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/x"})
    assert SeccompCache().program({"defaultAction": "SCMP_ACT_NOTIFY"}) is None


def names(profile: dict[str, Any]) -> set[str]:
    return {name for rule in profile["syscalls"] for name in rule["names"]}


def test_architectures() -> None:
    arm = seccomp.default_profile([], "aarch64")
    assert arm["architectures"] == ["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"]
    assert "arch_prctl" not in names(arm)
    assert "arch_prctl" in names(seccomp.default_profile([], "x86_64"))


CUSTOM = {
    "defaultAction": "SCMP_ACT_ALLOW",
    "archMap": [
        {"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]},
        {"architecture": "SCMP_ARCH_AARCH64", "subArchitectures": None},
    ],
    "syscalls": [
        {"names": ["chmod", "fchmod"], "action": "SCMP_ACT_ERRNO", "errnoRet": 5},
        {"name": "mkdir", "action": "SCMP_ACT_ERRNO", "excludes": {"caps": ["CAP_SYS_ADMIN"]}},
        {"name": "rmdir", "action": "SCMP_ACT_ERRNO", "includes": {"caps": ["CAP_SYS_ADMIN"]}},
        {"name": "link", "action": "SCMP_ACT_ERRNO", "includes": {"arches": ["arm64"]}},
        {"name": "open", "action": "SCMP_ACT_ERRNO", "includes": {"minKernel": "99.0"}},
    ],
}


def test_a_custom_profile() -> None:
    document = json.dumps(CUSTOM).encode()
    plain = custom_profile(document, [], "amd64")
    assert plain["architectures"] == ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"]
    assert names(plain) == {"chmod", "fchmod", "mkdir"}
    assert plain["syscalls"][0]["errnoRet"] == 5
    admin = custom_profile(document, ["CAP_SYS_ADMIN"], "arm64")
    assert names(admin) == {"chmod", "fchmod", "rmdir", "link"}


def test_a_bad_profile_names_its_fault() -> None:
    with pytest.raises(InvalidParameter, match=r"Decoding seccomp profile failed: syscalls\[0\]"):
        custom_profile(b'{"defaultAction": "x", "syscalls": [{"action": 3, "names": []}]}', [])
    both = json.dumps({**CUSTOM, "architectures": ["SCMP_ARCH_X86"]}).encode()
    with pytest.raises(InvalidParameter, match="use either"):
        custom_profile(both, [])
