"""The `filters` of `GET /containers/json` and of prune: compiled once, then asked per container.

Pure but for what it is given: containers, images and networks are looked up by the caller.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec
from msgspec import field

from naru.engine.containers import ports
from naru.engine.containers.status import health_of
from naru.spec.containers import ContainerRecord, Status
from naru.spec.errors import InvalidParameter
from naru.spec.oci import parse_time

_LIST = frozenset(
    {
        "ancestor",
        "before",
        "exited",
        "expose",
        "health",
        "id",
        "is-task",
        "isolation",
        "label",
        "name",
        "network",
        "publish",
        "since",
        "status",
        "volume",
    }
)
_PRUNE = frozenset({"until", "label", "label!"})
_HEALTH = ("starting", "healthy", "unhealthy", "none")
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h)")
_UNITS = {"ns": 1, "us": 10**3, "µs": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9,
          "h": 3600 * 10**9}  # fmt: skip

Filters = Mapping[str, Sequence[str]]
Test = Callable[[ContainerRecord], bool]


class Lookups(msgspec.Struct, frozen=True):
    """What a filter's reference means: filled in by the caller, asked once per value."""

    container: Callable[[str], ContainerRecord]
    image_ids: Callable[[str], frozenset[str]]
    """Ids of an image and of those made from it; empty when there is no such image."""


class Compiled(msgspec.Struct, frozen=True):
    tests: list[Test] = field(default_factory=list)
    wants_stopped: bool = False
    """The filter is about containers that may not run: they are shown without `all`, too."""

    def matches(self, record: ContainerRecord) -> bool:
        return all(test(record) for test in self.tests)


def for_list(filters: Filters, lookups: Lookups) -> Compiled:
    _check(filters, _LIST)
    tests: list[Test] = []
    for name, values in filters.items():
        if values:
            tests.append(_test(name, values, lookups))
    return Compiled(tests, bool(filters.get("status") or filters.get("exited")))


def for_prune(filters: Filters, now: int | None = None) -> Compiled:
    _check(filters, _PRUNE)
    tests: list[Test] = []
    if labels := filters.get("label"):
        tests.append(_labels(labels))
    for label in filters.get("label!", ()):
        has = _labels([label])
        tests.append(lambda record, has=has: not has(record))  # type: ignore[misc]
    if until := filters.get("until"):
        if len(until) > 1:
            raise InvalidParameter("more than one until filter specified")
        limit = moment(until[0], time.time_ns() if now is None else now)
        tests.append(lambda record: record.created < limit)
    return Compiled(tests)


def moment(text: str, now: int) -> int:
    """A time as clients give it: seconds since the epoch, RFC 3339, or a duration before `now`."""
    if re.fullmatch(r"\d+(\.\d+)?", text):
        return int(float(text) * 10**9)
    found = _DURATION.findall(text)
    if found and "".join(number + unit for number, unit in found) == text:
        return now - int(sum(float(number) * _UNITS[unit] for number, unit in found))
    if ns := parse_time(text if "T" not in text or text[-1:] == "Z" else f"{text}Z"):
        return ns
    raise InvalidParameter(f'failed to parse value as time or duration: "{text}"')


def _check(filters: Filters, known: frozenset[str]) -> None:
    for name in filters:
        if name not in known:
            raise InvalidParameter(f"invalid filter '{name}'")


def _test(name: str, values: Sequence[str], lookups: Lookups) -> Test:
    match name:
        case "id":
            return _any(values, lambda record: [record.id])
        case "name":
            return _any(values, lambda record: [record.name, f"/{record.name}"])
        case "label":
            return _labels(values)
        case "status":
            return _among("status", values, [each.value for each in Status], _status)
        case "health":
            return _among("health", values, _HEALTH, lambda record: health_of(record.state))
        case "exited":
            return _exited(values)
        case "ancestor":
            ids = frozenset[str]().union(*map(lookups.image_ids, values))
            return lambda record: record.image_id in ids
        case "before":
            limit = min(lookups.container(value).created for value in values)
            return lambda record: record.created < limit
        case "since":
            start = max(lookups.container(value).created for value in values)
            return lambda record: record.created > start
        case "volume":
            wanted = frozenset(values)
            return lambda record: any(
                {mount.name, mount.source, mount.destination} & wanted for mount in record.mounts
            )
        case "network":
            return _network(values)
        case "publish":
            return _ports(values, lambda record: record.host_config.port_bindings)
        case "expose":
            return _ports(values, lambda record: record.config.exposed_ports)
        case "is-task":
            wants = {value.lower() in ("1", "t", "true") for value in values}
            return lambda record: False in wants
        case _:
            return lambda record: True  # isolation: Linux containers have but one


def _any(values: Sequence[str], texts: Callable[[ContainerRecord], Iterable[str]]) -> Test:
    """As dockerd: a value is a regular expression; one that is not is plain text."""
    patterns = []
    for value in values:
        try:
            patterns.append(re.compile(value))
        except re.error:
            patterns.append(re.compile(re.escape(value)))
    return lambda record: any(p.search(text) for p in patterns for text in texts(record))


def _labels(values: Sequence[str]) -> Test:
    pairs = [value.partition("=") for value in values]

    def test(record: ContainerRecord) -> bool:
        labels = record.config.labels
        return all(
            key in labels and (not equals or labels[key] == value) for key, equals, value in pairs
        )

    return test


def _among(
    name: str,
    values: Sequence[str],
    known: Sequence[str],
    of: Callable[[ContainerRecord], str],
) -> Test:
    for value in values:
        if value not in known:
            raise InvalidParameter(
                f"invalid value for {name} ({value}): must be one of {', '.join(known)}"
            )
    wanted = frozenset(values)
    return lambda record: of(record) in wanted


def _status(record: ContainerRecord) -> str:
    return record.state.status.value


def _exited(values: Sequence[str]) -> Test:
    codes: set[int] = set()
    for value in values:
        try:
            codes.add(int(value))
        except ValueError:
            raise InvalidParameter(f"invalid filter 'exited={value}'") from None
    return lambda record: (
        record.state.exit_code in codes
        and not record.running
        and record.state.status is not Status.CREATED
    )


def _network(values: Sequence[str]) -> Test:
    wanted = frozenset(values)

    def test(record: ContainerRecord) -> bool:
        return any(
            name in wanted
            or (endpoint.network_id and endpoint.network_id in wanted)
            or any(endpoint.network_id.startswith(value) for value in wanted if len(value) >= 12)
            for name, endpoint in record.endpoints.items()
        )

    return test


def _ports(values: Sequence[str], of: Callable[[ContainerRecord], Iterable[str]]) -> Test:
    wanted: set[tuple[int, str]] = set()
    for value in values:
        number, protocol = ports.split(value)
        first, dash, last = number.partition("-")
        top = ports.number_of(last if dash else first)
        wanted.update((each, protocol) for each in range(ports.number_of(first), top + 1))

    def test(record: ContainerRecord) -> bool:
        for port in of(record):
            number, protocol = ports.split(port)
            if number.isdigit() and (int(number), protocol) in wanted:
                return True
        return False

    return test
