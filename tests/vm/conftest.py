"""These run in the guest of scripts/test-vm alone: they need a kernel that most hosts lack."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from naru.kernel import mounts
from tests.vm.pools import devices, until

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if os.environ.get("NARU_TEST_VM"):
        return
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.skip(reason="only in the guest of `make test-vm`"))


@pytest.fixture
def root() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=os.environ.get("NARU_TEST_STORAGE")) as where:
        yield Path(where)
        for target in mounts.mounts_below(Path(where)):
            mounts.unmount(target)
    assert until(lambda: not devices()), devices()
