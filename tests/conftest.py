"""Fixtures shared by the suites that need a daemon; `unit` needs none of them."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator

import hypothesis
import pytest

from tests.harness.daemon import Daemon
from tests.harness.leaks import SCRATCH, Leftovers, left_behind, snapshot

# A slow machine is no failure; the number of examples bounds the time.
hypothesis.settings.register_profile("naru", deadline=None)
hypothesis.settings.load_profile("naru")

_BEFORE = pytest.StashKey[Leftovers]()


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


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Before any temporary file is made: all are below a directory of this session's own."""
    SCRATCH.mkdir(mode=0o711, exist_ok=True)
    tempfile.tempdir = os.environ["TMPDIR"] = str(SCRATCH)
    if config.option.basetemp is None:
        config.option.basetemp = SCRATCH / "p"  # some programs refuse long paths


def pytest_sessionstart(session: pytest.Session) -> None:
    session.config.stash[_BEFORE] = snapshot()


@pytest.hookimpl(trylast=True)  # pytest's own ends the fixtures of a run that was interrupted
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """A run that leaves something behind on the machine has failed."""
    left = left_behind(session.config.stash[_BEFORE], snapshot())
    if not left:
        shutil.rmtree(SCRATCH, ignore_errors=True)
    else:
        reporter = session.config.pluginmanager.get_plugin("terminalreporter")
        if reporter is not None:
            reporter.write_line("\nleft behind on this machine:\n  " + "\n  ".join(left), red=True)
        if exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
