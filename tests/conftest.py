"""Fixtures shared by the suites that need a daemon; `unit` needs none of them."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.harness.daemon import Daemon


@pytest.fixture(scope="session")
def needs_root() -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root")


@pytest.fixture(scope="module")
def daemon(needs_root: None) -> Iterator[Daemon]:
    """A narud shared by the tests of one module, with the image busybox."""
    started = Daemon()
    try:
        started.start()
        started.make_busybox()
        yield started
    finally:
        started.stop()


@pytest.fixture
def own_daemon(needs_root: None) -> Iterator[Daemon]:
    """A narud of one test's own, to be killed and restarted at will."""
    started = Daemon()
    try:
        started.start()
        started.make_busybox()
        yield started
    finally:
        started.stop()
