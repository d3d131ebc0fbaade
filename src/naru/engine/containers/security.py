"""`HostConfig.SecurityOpt`, read. Pure."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from naru.spec.errors import InvalidParameter, Unsupported

_TRUE = frozenset({"1", "t", "T", "TRUE", "true", "True"})
_FALSE = frozenset({"0", "f", "F", "FALSE", "false", "False"})


class SecurityOptions(msgspec.Struct, frozen=True):
    """`seccomp`: "" for the default profile, "unconfined", or a profile's JSON."""

    no_new_privileges: bool = False
    apparmor: str = ""
    seccomp: str = ""


def parse(options: Iterable[str], *, no_new_privileges: bool = False) -> SecurityOptions:
    apparmor = seccomp = ""
    for option in options:
        if option == "no-new-privileges":
            no_new_privileges = True
            continue
        if option == "disable":
            continue  # SELinux labelling, which is never on here
        separator = "=" if "=" in option else ":"
        key, found, value = option.partition(separator)
        if not found:
            raise InvalidParameter(f'invalid --security-opt 1: "{option}"')
        match key:
            case "label":
                if value != "disable":
                    raise Unsupported(f"security-opt label={value}: SELinux is not supported")
            case "apparmor":
                apparmor = value
            case "seccomp":
                seccomp = "" if value == "builtin" else value
            case "no-new-privileges" if value in _TRUE:
                no_new_privileges = True
            case "no-new-privileges" if value in _FALSE:
                no_new_privileges = False
            case _:
                raise InvalidParameter(f'invalid --security-opt 2: "{option}"')
    return SecurityOptions(no_new_privileges, apparmor, seccomp)
