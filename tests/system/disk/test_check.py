"""`naru system check` beside a working daemon: it finds what is wrong, and only that."""

from __future__ import annotations

import concurrent.futures
import json
import shutil
import signal
from pathlib import Path

from tests.harness.daemon import Daemon
from tests.system.disk.place import problems, root_tar

STRANGER = "e" * 64


def test_finds_and_repairs(own_daemon: Daemon) -> None:
    own_daemon.docker("run", "-d", "--name", "runs", "busybox", "sleep", "1000")
    assert problems(own_daemon, "--verify") == []
    _spoil(own_daemon)
    found = dict(problems(own_daemon, "--verify"))
    assert found == {
        "half-done": "found", "orphan-blob": "found", "damaged-blob": "found",
        "orphan-layer": "found", "leftover": "found", "orphan-volume": "left",
    }  # fmt: skip
    text = own_daemon.naru("system", "check", check=False)
    assert text.returncode == 1
    assert f"orphan-layer: {STRANGER}" in text.stdout
    repaired = problems(own_daemon, "--verify", "--repair")
    left = {each for each in repaired if each[1] != "repaired"}
    assert left == {("orphan-volume", "left"), ("missing-blob", "left")}
    assert set(problems(own_daemon, "--verify")) == left
    own_daemon.docker("rmi", "doomed")
    assert (own_daemon.data_root / "volumes/precious/_data/file").read_text() == "mine"
    shutil.rmtree(own_daemon.data_root / "volumes/precious")
    assert own_daemon.naru("system", "check").stdout == "No problems found.\n"
    # Nothing of it was anybody's.
    assert own_daemon.docker("exec", "runs", "echo", "alive").stdout == "alive\n"
    assert own_daemon.docker("run", "--rm", "busybox", "echo", "new").stdout == "new\n"


def _spoil(daemon: Daemon) -> None:
    root = daemon.data_root
    driver = daemon.docker("info", "--format", "{{.Driver}}").stdout.strip()
    (root / driver / STRANGER / "diff").mkdir(parents=True)
    for folder in (
        root / "containers",
        daemon.exec_root / "containers",
        daemon.exec_root / "netns",
    ):
        (folder / STRANGER).mkdir(parents=True)
    (daemon.exec_root / "netns" / STRANGER).rmdir()
    (root / "blobs/partial/ingest-1").write_bytes(b"half")
    (root / "blobs/sha256" / STRANGER).write_bytes(b"nobody's")
    (root / "volumes/half/_data").mkdir(parents=True)
    (root / "volumes/precious/_data").mkdir(parents=True)
    (root / "volumes/precious/_data/file").write_text("mine")
    daemon.docker("import", "-", "doomed", input=root_tar(10))
    image = daemon.docker("images", "-q", "--no-trunc", "doomed").stdout.strip()
    config = root / "blobs/sha256" / image.removeprefix("sha256:")
    data = config.read_bytes()
    config.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))


def test_a_lost_layer_comes_back_with_the_image(own_daemon: Daemon, tmp_path: Path) -> None:
    own_daemon.docker("save", "-o", str(tmp_path / "image.tar"), "busybox")
    own_daemon.docker("create", "--name", "lost", "busybox")
    driver = own_daemon.data_root / own_daemon.docker("info", "-f", "{{.Driver}}").stdout.strip()
    for layer in driver.iterdir():
        if len(layer.name) == 64:
            shutil.rmtree(layer)
    before = problems(own_daemon, "--repair")
    assert ("missing-layer", "repaired") in before
    assert ("missing-layer", "left") in before  # the image's, and the container's
    own_daemon.docker("rm", "lost")
    own_daemon.docker("load", "-i", str(tmp_path / "image.tar"))
    assert problems(own_daemon, "--verify") == []
    assert own_daemon.docker("run", "--rm", "busybox", "echo", "back").stdout == "back\n"


def test_a_changed_file_of_a_layer(own_daemon: Daemon) -> None:
    driver = own_daemon.docker("info", "-f", "{{.Driver}}").stdout.strip()
    applets = (own_daemon.data_root / driver).glob("*/diff/bin/busybox")
    file = next(path for path in applets if path.stat().st_size)
    assert problems(own_daemon, "--verify") == []
    half = file.stat().st_size // 2
    with file.open("r+b") as changed:
        changed.seek(half)
        byte = changed.read(1)[0]
        changed.seek(half)
        changed.write(bytes([byte ^ 1]))
    assert problems(own_daemon) == []  # without --verify nothing is read
    assert problems(own_daemon, "--verify") == [("damaged-layer", "left")]


def test_what_is_under_way_is_no_problem(own_daemon: Daemon) -> None:
    tars = [root_tar(3_000_000 + number, 1000) for number in range(3)]

    def churn(number: int) -> None:
        for _ in range(3):
            own_daemon.docker("import", "-", f"churn{number}", input=tars[number])
            own_daemon.docker("run", "--rm", "busybox", "true")
            own_daemon.docker("create", "--name", f"c{number}", "busybox")
            own_daemon.docker("rm", f"c{number}")
            own_daemon.docker("rmi", f"churn{number}")

    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        working = [pool.submit(churn, number) for number in range(3)]
        seen = []
        while not all(work.done() for work in working):
            seen += problems(own_daemon, "--repair", "--verify")
        for work in working:
            work.result()
    assert seen == []
    assert problems(own_daemon) == []


def test_a_mount_of_a_killed_daemon(own_daemon: Daemon, tmp_path: Path) -> None:
    own_daemon.docker("create", "--name", "still", "busybox")
    own_daemon.kill()
    container = next((own_daemon.data_root / "containers").iterdir()).name
    own_daemon.start()
    driver = own_daemon.docker("info", "-f", "{{.Driver}}").stdout.strip()
    merged = own_daemon.data_root / driver / container / "merged"
    own_daemon.netns.run("mount", "-t", "tmpfs", "none", str(merged))
    assert problems(own_daemon) == [("stale-mount", "found")]
    assert problems(own_daemon, "--repair") == [("stale-mount", "repaired")]
    assert problems(own_daemon) == []


def test_the_floor(own_daemon: Daemon, tmp_path: Path) -> None:
    own_daemon.docker("run", "-d", "--name", "runs", "busybox", "sleep", "1000")
    archive = tmp_path / "image.tar"
    own_daemon.docker("import", "-", "new", input=root_tar(1000))
    own_daemon.docker("save", "-o", str(archive), "new")
    own_daemon.docker("rmi", "new")
    own_daemon.docker("exec", "runs", "sh", "-c", "echo x > /file")
    _keep_free(own_daemon, "1000t")
    for command in (
        ("create", "busybox"), ("commit", "runs"), ("load", "-i", str(archive)), ("import", "-"),
    ):  # fmt: skip
        refused = own_daemon.docker(*command, input=b"\0" * 1024, check=False)
        assert refused.returncode != 0, command
        assert "no space left on device" in refused.stderr, command
        assert "min-free-space" in refused.stderr, command
    # What runs runs on.
    own_daemon.docker("exec", "runs", "sh", "-c", "echo y > /file")
    own_daemon.docker("restart", "-t", "0", "runs")
    _keep_free(own_daemon, "1%,1m")
    own_daemon.docker("create", "busybox")
    assert problems(own_daemon) == []


def _keep_free(daemon: Daemon, text: str) -> None:
    (daemon.root / "daemon.json").write_text(json.dumps({"min-free-space": text}))
    assert daemon.process is not None
    with daemon.log.open("rb") as log:
        log.seek(0, 2)
        daemon.process.send_signal(signal.SIGHUP)
        said = b""
        while b"Reloaded configuration" not in said:
            # The next request is answered by the same loop that reloads.
            daemon.docker("version")
            said += log.read()
