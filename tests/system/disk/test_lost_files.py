"""A power cut that took the files of containers, and left their records."""

from __future__ import annotations

import shutil

import pytest

from tests.harness.daemon import Daemon
from tests.harness.reboot import reboot
from tests.system.disk.place import problems


@pytest.mark.parametrize("lost", ["layer", "directory", "both"])
def test_what_never_ran_is_made_anew_and_what_ran_says_so(own_daemon: Daemon, lost: str) -> None:
    docker = own_daemon.docker
    ids = _containers(own_daemon)
    reboot(own_daemon)
    _lose(own_daemon, ids, lost)
    own_daemon.start()
    states = docker("ps", "-a", "--format", "{{.Names}} {{.State}}").stdout.splitlines()
    assert sorted(states) == ["made created", "ran exited", "runs exited"]
    damaged = [] if lost == "directory" else ["ran", "runs"]
    assert problems(own_daemon, "--verify", "--repair") == [("missing-layer", "left")] * len(
        damaged
    )
    for name in ids:
        started = docker("start", name, check=False)
        if name in damaged:
            assert "has lost its files" in started.stderr
            assert "has lost its files" in docker("inspect", name).stdout
        else:
            docker("exec", name, "sh", "-c", "echo kept > /file")
            docker("stop", name)
            assert "A /file" in docker("diff", name).stdout
            assert "out" in docker("logs", name).stdout
    docker("rm", "-f", *ids)
    assert problems(own_daemon, "--verify") == []


def test_check_makes_anew_what_is_lost_beside_the_daemon(own_daemon: Daemon) -> None:
    made = own_daemon.docker("create", "--network", "none", "busybox", "true").stdout.strip()
    _lose(own_daemon, {"made": made}, "both")
    found = {"missing-layer", "missing-directory"}
    assert set(problems(own_daemon)) == {(kind, "found") for kind in found}
    assert set(problems(own_daemon, "--repair")) == {(kind, "repaired") for kind in found}
    own_daemon.docker("start", "--attach", made)
    assert problems(own_daemon, "--verify") == []


def test_a_layer_that_has_lost_what_it_lies_on_is_no_empty_root(own_daemon: Daemon) -> None:
    """A file written just before the cut may be there without its content."""
    ids = _containers(own_daemon)
    reboot(own_daemon)
    lower = [own_daemon.data_root / "overlay2" / each / "lower" for each in ids.values()]
    if not lower[0].exists():
        pytest.skip("another driver than overlay2")
    for path in lower:
        path.write_text("")
    own_daemon.start()
    assert problems(own_daemon, "--verify", "--repair") == [("missing-layer", "left")] * 2
    assert "has lost its files" in own_daemon.docker("start", "ran", check=False).stderr
    own_daemon.docker("start", "made")
    assert own_daemon.docker("exec", "made", "echo", "whole").stdout == "whole\n"
    own_daemon.docker("rm", "-f", *ids)
    assert problems(own_daemon, "--verify") == []


def _containers(daemon: Daemon) -> dict[str, str]:
    """Ids by name: one that never ran, one that has run, and one that runs."""
    script = ("sh", "-c", "echo out; sleep 1000")
    create = ("create", "--network", "none", "--init", "--name")
    ids = {
        name: daemon.docker(*create, name, "busybox", *script).stdout.strip()
        for name in ("made", "ran", "runs")
    }
    daemon.docker("start", "ran", "runs")
    daemon.docker("stop", "ran")
    return ids


def _lose(daemon: Daemon, ids: dict[str, str], lost: str) -> None:
    driver = next(
        path for path in daemon.data_root.iterdir() if (path / ids["made"]).is_dir()
        and path.name != "containers"
    )  # fmt: skip
    for container_id in ids.values():
        if lost != "directory":
            shutil.rmtree(driver / container_id)
        if lost != "layer":
            shutil.rmtree(daemon.data_root / "containers" / container_id)
