"""The filters of `docker images` and `docker image prune`. Pure."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence

from naru.engine.images import globs
from naru.spec.errors import InvalidParameter
from naru.spec.images import ImageRecord
from naru.spec.reference import Reference

LIST = frozenset({"dangling", "label", "before", "since", "reference", "until"})
PRUNE = frozenset({"dangling", "label", "label!", "until"})

_TRUE, _FALSE = frozenset({"true", "1"}), frozenset({"false", "0"})
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def check(filters: Mapping[str, Sequence[str]], known: frozenset[str]) -> None:
    for name in filters:
        if name not in known:
            raise InvalidParameter(f"invalid filter '{name}'")


def flag(filters: Mapping[str, Sequence[str]], name: str) -> bool | None:
    """A boolean filter; None where it is not given."""
    values = filters.get(name)
    if not values:
        return None
    yes, no = not _TRUE.isdisjoint(values), not _FALSE.isdisjoint(values)
    if yes == no:
        raise InvalidParameter(f"invalid filter '{name}=[{' '.join(values)}]'")
    return yes


def labels_match(labels: Mapping[str, str], wanted: Sequence[str]) -> bool:
    """Every `key` or `key=value` of `wanted` is there."""
    for text in wanted:
        key, equals, value = text.partition("=")
        if key not in labels or (equals and labels[key] != value):
            return False
    return True


def prune_labels_match(image: ImageRecord, filters: Mapping[str, Sequence[str]]) -> bool:
    unwanted = filters.get("label!", ())
    return labels_match(image.labels, filters.get("label", ())) and not (
        unwanted and labels_match(image.labels, unwanted)
    )


def reference_matches(name: Reference, patterns: Sequence[str]) -> bool:
    """Docker's `reference` filter: a glob over the short name, with or without its tag."""
    texts = (name.familiar, name.familiar_name)
    return any(globs.matches(text, pattern) for pattern in patterns for text in texts)


def until(filters: Mapping[str, Sequence[str]]) -> int | None:
    """`until`: a Unix time, an RFC 3339 date, or a duration before now -> ns since the epoch."""
    values = filters.get("until")
    if not values:
        return None
    if len(values) > 1:
        raise InvalidParameter("more than one until filter specified")
    text = values[0]
    if re.fullmatch(r"\d+(\.\d+)?", text):
        return int(float(text) * 1e9)
    found = list(_DURATION.finditer(text))
    if found and "".join(match[0] for match in found) == text:
        ago = sum(float(match[1]) * _SECONDS[match[2]] for match in found)
        return time.time_ns() - int(ago * 1e9)
    from naru.spec.oci import parse_time

    for form in (text, f"{text}Z", f"{text}:00Z", f"{text}:00:00Z", f"{text}T00:00:00Z"):
        if moment := parse_time(form):
            return moment
    raise InvalidParameter(f'failed to parse value as time or duration: "{text}"')
