"""The filters of the volume list and of prune, by Docker's rules. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from naru.spec.errors import InvalidParameter
from naru.spec.volumes import VolumeRecord

Filters = Mapping[str, Sequence[str]]


def check_filters(filters: Filters, known: Iterable[str]) -> None:
    for name in filters:
        if name not in known:
            raise InvalidParameter(f"invalid filter '{name}'")


def flag(filters: Filters, name: str) -> bool:
    values = list(filters[name])
    if len(values) == 1 and values[0].lower() in ("1", "t", "true"):
        return True
    if len(values) == 1 and values[0].lower() in ("0", "f", "false"):
        return False
    raise InvalidParameter(f"invalid filter '{name}=[{' '.join(values)}]'")


def matches(record: VolumeRecord, filters: Filters) -> bool:
    names, drivers = filters.get("name", ()), filters.get("driver", ())
    return (
        (not names or any(value in record.name for value in names))
        and (not drivers or record.driver in drivers)
        and all(_has_label(record, wanted) for wanted in filters.get("label", ()))
        and not any(_has_label(record, unwanted) for unwanted in filters.get("label!", ()))
    )


def _has_label(record: VolumeRecord, wanted: str) -> bool:
    key, equals, value = wanted.partition("=")
    return key in record.labels and (not equals or record.labels[key] == value)
