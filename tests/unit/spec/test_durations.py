from __future__ import annotations

import pytest

from naru.spec.durations import in_words

_DAY = 86400


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.4, "Less than a second"),
        (1, "1 second"),
        (59, "59 seconds"),
        (60, "About a minute"),
        (119, "About a minute"),
        (120, "2 minutes"),
        (3600, "About an hour"),
        (2 * 3600, "2 hours"),
        (47 * 3600, "47 hours"),
        (48 * 3600, "2 days"),
        (13 * _DAY, "13 days"),
        (14 * _DAY, "2 weeks"),
        (15 * _DAY, "2 weeks"),
        (60 * _DAY, "2 months"),
        (70 * _DAY, "2 months"),
        (730 * _DAY, "2 years"),
        (3 * 365 * _DAY, "3 years"),
    ],
)
def test_as_dockers_listings_say_it(seconds: float, words: str) -> None:
    assert in_words(seconds) == words
