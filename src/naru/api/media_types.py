"""The media types of a stream of JSON objects, and which of them a client takes. Pure.

`Accept` is read as Docker reads it: the highest quality wins, then the more exact range, then the
order of what is offered. https://www.rfc-editor.org/rfc/rfc9110#section-12.5.1
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

JSON = "application/json"
JSON_LINES = "application/jsonl"
NEWLINE_DELIMITED = "application/x-ndjson"
JSON_SEQUENCE = "application/json-seq"

_RECORD_SEPARATOR = b"\x1e"  # RFC 7464


def negotiated(accept: str, offers: Sequence[str], default: str) -> str:
    """The one of `offers` that `accept`, the header, prefers; `default` where it takes none."""
    best, chosen = (0.0, 0), default
    for offer in offers:
        for range_, quality in _ranges(accept):
            rank = (quality, _exactness(range_, offer))
            if quality > 0 and rank[1] and rank > best:
                best, chosen = rank, offer
    return chosen


def framed(document: bytes, media_type: str) -> bytes:
    """One object of a stream, where it begins and ends."""
    begin = _RECORD_SEPARATOR if media_type == JSON_SEQUENCE else b""
    return begin + document + b"\n"


def _ranges(accept: str) -> Iterator[tuple[str, float]]:
    for part in accept.split(","):
        range_, *parameters = (word.strip().lower() for word in part.split(";"))
        quality = 1.0
        for parameter in parameters:
            if parameter.startswith("q="):
                try:
                    quality = float(parameter[2:])
                except ValueError:
                    quality = 0.0  # what cannot be read is not asked for
        if range_:
            yield range_, quality


def _exactness(range_: str, offer: str) -> int:
    """0 for a range without the offer."""
    if range_ == offer:
        return 3
    if range_.endswith("/*") and offer.startswith(range_[:-1]):
        return 2
    return int(range_ == "*/*")
