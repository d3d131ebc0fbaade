"""These run in the guest of scripts/test-vm alone: they need a kernel that most hosts lack."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if os.environ.get("NARU_TEST_VM"):
        return
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.skip(reason="only in the guest of `make test-vm`"))
