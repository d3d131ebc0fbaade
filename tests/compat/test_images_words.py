"""What naru says of images is what dockerd says: the words of commands, and the events."""

from __future__ import annotations

import os
import re
import shutil
import subprocess

import pytest
from bench.dockerd import DOCKERD
from tests.harness.beside import Docker, World
from tests.system.images.archives import docker_archive, layers

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or not all(map(shutil.which, ("docker", DOCKERD, "docker-registry"))),
    reason="needs root, docker, dockerd and docker-registry",
)


_HEX = re.compile(r"\b[0-9a-f]{64}\b|\b[0-9a-f]{12}\b")


def said(docker: Docker, script: str) -> list[str]:
    """What each command of the script says, ids by the order in which they turn up."""
    known: dict[str, str] = {}

    def shorter(found: re.Match[str]) -> str:
        return known.setdefault(found[0][:12], f"id{len(known)}")

    lines = []
    for line in script.strip().splitlines():
        done = subprocess.run(
            [*docker.argv, *line.split()], capture_output=True, check=False, timeout=100, text=True
        )
        # Layers are deleted in an order of their own.
        told = sorted(
            "Deleted" if t.startswith("Deleted: ") else t
            for t in (done.stdout + done.stderr).splitlines()
        )
        lines.append(f"{line} -> {done.returncode}: " + _HEX.sub(shorter, " | ".join(told)))
    return lines


@pytest.mark.parametrize("script", [
    pytest.param("rmi one:1\nrmi one:1", id="last name"),
    pytest.param("tag one:1 two:1\nrmi one:1\nrmi two:1", id="two names"),
    pytest.param("tag one:1 two:1\nrmi {id}\nrmi -f {id}", id="id of several repositories"),
    pytest.param("tag one:1 one:2\nrmi {id}", id="id of one repository"),
    pytest.param("create --name c1 one:1 x\nrmi one:1\nrmi {id}\nrmi -f one:1\nrm c1", id="in use"),
    pytest.param(
        "create --name c1 one:1 x\ntag one:1 two:1\nrmi one:1\nrmi two:1\nrm c1\nrmi two:1",
        id="in use, two names",
    ),
    pytest.param(
        "create --name c1 one:1 x\ncommit c1 child:1\nrmi one:1\nrmi {id}\nrm c1\nrmi child:1",
        id="with a child",
    ),
    pytest.param("rmi nobody\nrmi nobody:7\nimage rm sha256:{id}", id="not there"),
    pytest.param("tag nobody two:1\ntag one:1 sha256:abc", id="bad tags"),
    pytest.param("images -q -f before=nobody\nimages -q -f label=tier", id="lists"),
    pytest.param("history -q one:1\nhistory nobody", id="history"),
    pytest.param("save nobody -o /dev/null\npush nobody", id="others"),
    pytest.param(
        "create --name c1 one:1 x\ncommit -m why c1 new:1\n"
        "history --format {{{{.CreatedBy}}}}|{{{{.Size}}}}|{{{{.Comment}}}} new:1\nrm c1",
        id="history of a commit",
    ),
    pytest.param(
        "images -q -f reference=o*\nimages -q -f reference=[\nimages -q -f reference=[^a]ne:?"
        "\nimages -q -f reference=*/one\nimages -q -f dangling=true",
        id="filters of lists",
    ),
    pytest.param(
        "image prune -f --filter until=foo\nimage prune -f --filter label=a\n"
        "image prune -af --filter label!=tier\nimage prune -af --filter until=2020-01-01\n"
        "image prune -af --filter label=tier=other",
        id="prune",
    ),
    pytest.param(
        "tag one:1 127.0.0.1:5000/x/one:1\ntag one:1 127.0.0.1:5000/x/one:2\n"
        "images -f reference=127.0.0.1:5000/x/one --format {{{{.Tag}}}}\n"
        "images -f reference=127.0.0.1:5000/* --format {{{{.Tag}}}}\n"
        "image inspect -f {{{{.RepoTags}}}} one:1\nrmi -f {id}",
        id="names with a registry",
    ),
])  # fmt: skip
def test_the_words_are_dockerds(world: World, script: str) -> None:
    found = {}
    for name in ("naru", "dockerd"):
        docker: Docker = getattr(world, name)
        docker.run("load", "-q", input=docker_archive("one:1"))
        image_id = docker.image_id("one:1")
        found[name] = said(docker, script.format(id=image_id.removeprefix("sha256:")))
        for container in docker.run("ps", "-aq").decode().split():
            docker.run("rm", "-f", container)
        for image in dict.fromkeys(docker.run("images", "-aq").decode().split()):
            docker.run("rmi", "-f", image)
    assert found["naru"] == found["dockerd"]


_EVENTS = """
load -q
import - imported:1
create --name c1 one:1 x
commit c1 committed:1
tag one:1 {address}/events/{engine}:1
push -q {address}/events/{engine}:1
rmi {address}/events/{engine}:1
pull -q {address}/events/{engine}:1
rmi imported:1
rm c1
rmi -f committed:1
rmi -f one:1 {address}/events/{engine}:1
image prune -f
"""


def _by_order(lines: list[str]) -> list[str]:
    """Ids by the order in which they turn up."""
    known: dict[str, str] = {}

    def number(found: re.Match[str]) -> str:
        return known.setdefault(found[0], f"id{len(known)}")

    return [_HEX.sub(number, line) for line in lines]


def test_the_events_are_dockerds(world: World) -> None:
    """In their order, with their names; "pull" and "push" tell of names, the others of ids."""
    found = {}
    for name in ("naru", "dockerd"):
        docker: Docker = getattr(world, name)
        inputs = {"load": docker_archive("one:1"), "import": layers()[0]}
        since = docker.run("info", "-f", "{{.SystemTime}}").decode().strip()
        script = _EVENTS.format(address=world.registry.address, engine=name)
        for argv in map(str.split, script.strip().splitlines()):
            docker.run(*argv, input=inputs.get(argv[0]))
        until = docker.run("info", "-f", "{{.SystemTime}}").decode().strip()
        told = docker.run(
            "events", "--since", since, "--until", until, "-f", "type=image",
            "--format", "{{.Action}} {{.Actor.ID}} {{.Actor.Attributes.name}}",
        ).decode().replace(f"events/{name}", "events/x")  # fmt: skip
        found[name] = _by_order(told.splitlines())
    assert found["naru"] == found["dockerd"]
    assert len(found["naru"]) > 12
