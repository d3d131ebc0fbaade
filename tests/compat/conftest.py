"""What the tests that compare engines share."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest
from tests.harness.beside import World


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """naru, dockerd and podman beside a registry."""
    with contextlib.closing(World(tmp_path_factory.mktemp("beside"))) as made:
        yield made
