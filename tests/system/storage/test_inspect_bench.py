"""`naru storage inspect` and `bench` against a real daemon."""

from __future__ import annotations

import json
import os
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.harness.daemon import Daemon
from tests.system.storage.stage import Stage

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@pytest.fixture(scope="module", params=["overlay2", "vfs", "erofs"])
def stage(request: pytest.FixtureRequest) -> Iterator[Stage]:
    here = Stage(Daemon(options=("-s", request.param)).start())
    try:
        here.build()
        yield here
    finally:
        here.daemon.stop()


def inspect(stage: Stage, *argv: str) -> str:
    return stage.daemon.naru("storage", "inspect", *argv).stdout


def test_a_container_with_all_its_layers(stage: Stage) -> None:
    text = inspect(stage, "changed")
    assert text.startswith("container changed")
    assert "− small-1  hides that of layer 2" in text
    assert "~ small-2" in text
    assert ("copied up" in text) == (stage.driver() != "vfs")
    shown = json.loads(inspect(stage, "changed", "--format", "json"))
    roles = [layer["Role"] for layer in shown["Stack"]["Layers"]]
    assert roles == ["container", "mount points", "image", "image"]


def test_images_and_layers(stage: Stage) -> None:
    shown = json.loads(inspect(stage, "layered", "--format", "json"))
    diff_ids = [layer["DiffID"] for layer in shown["Stack"]["Layers"]]
    config = json.loads(stage.daemon.docker("image", "inspect", "layered").stdout)[0]
    assert diff_ids[::-1] == config["RootFS"]["Layers"]
    assert inspect(stage, diff_ids[1]).startswith("layer ")
    refused = stage.daemon.naru("storage", "inspect", "nosuch", check=False)
    assert "No such container, image or layer: nosuch" in refused.stderr


@pytest.mark.parametrize(
    ("path", "verdict"),
    [
        ("/etc/passwd", "comes from layer 1"),
        ("/srv/small-0", "comes from layer 2"),
        ("/srv/small-2", "comes from container"),
        ("/srv/small-1", "is not there"),
        ("/opt/old/inside", "is not there"),
        ("/etc/mtab", "comes from mount points"),
        ("/", "comes from container"),
    ],
)
def test_where_a_path_comes_from(stage: Stage, path: str, verdict: str) -> None:
    assert inspect(stage, "changed", "--path", path).startswith(f"{path}  {verdict}")


def test_a_running_container_is_looked_at_where_it_is_mounted(stage: Stage) -> None:
    with stage.running("", name="changed"):
        shown = json.loads(inspect(stage, "changed", "--format", "json"))
        assert shown["Stack"]["Merged"].endswith("/merged")
    assert "mounted  not now" in inspect(stage, "changed")


def test_a_picture(stage: Stage) -> None:
    root = ElementTree.fromstring(inspect(stage, "changed", "--svg", "-"))
    texts = {element.text for element in root.iter("{http://www.w3.org/2000/svg}text")}
    assert {"container changed", "merged", "layer 1", "layer 2", "small-1"} <= texts


def test_nothing_stays_mounted(stage: Stage) -> None:
    assert not list((stage.daemon.exec_root / "views").glob("tree-*"))


def test_the_benchmark_compares_and_cleans_up() -> None:
    daemon = Daemon().start()
    try:
        picture = daemon.root / "plot.svg"
        done = daemon.naru(
            "storage", "bench", "--quick", "--size", "4m", "--drivers", "overlay2,vfs,aufs",
            "--svg", str(picture), timeout=500,
        )  # fmt: skip
        assert "Advice: overlay2" in done.stdout
        assert "first write" in done.stdout
        ElementTree.parse(picture)
        assert not list(daemon.data_root.glob(".bench-*"))
        assert str(daemon.data_root / ".bench") not in Path("/proc/self/mountinfo").read_text()
        refused = daemon.naru("storage", "bench", "--drivers", "nosuch", check=False)
        assert "no such storage driver: nosuch" in refused.stderr
    finally:
        daemon.stop()
