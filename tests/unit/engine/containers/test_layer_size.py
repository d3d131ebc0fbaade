"""`--storage-opt size=`: the same at a create, for a lost layer and in a migration."""

from __future__ import annotations

import pytest

from naru.engine.containers.layer_size import storage_size
from naru.spec.containers import HostConfig
from naru.spec.errors import InvalidParameter


@pytest.mark.parametrize(
    ("text", "size"),
    [("10G", 10 << 30), ("1.5gb", 3 << 29), ("512MiB", 512 << 20), ("1p", 1 << 50), ("7", 7)],
)
def test_a_size_is_in_multiples_of_1024(text: str, size: int) -> None:
    assert storage_size(HostConfig(storage_opt={"size": text})) == size


def test_no_size_is_no_limit() -> None:
    assert storage_size(HostConfig()) is None


@pytest.mark.parametrize("text", ["many", "-5", "1e3", "inf", "10x"])
def test_what_docker_does_not_read_is_refused_with_its_words(text: str) -> None:
    with pytest.raises(InvalidParameter, match=f"^invalid size: '{text}'$"):
        storage_size(HostConfig(storage_opt={"size": text}))


def test_no_other_option_is_known() -> None:
    with pytest.raises(InvalidParameter, match=r"^Unknown option sise$"):
        storage_size(HostConfig(storage_opt={"sise": "10G"}))
