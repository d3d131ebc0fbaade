"""A registry that asks for bearer tokens: scopes, logins, refresh tokens, and tokens that expire."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from bench.dockerd import DOCKERD, Dockerd
from tests.harness.beside import Docker
from tests.harness.daemon import Daemon
from tests.harness.guarded_registry import GuardedRegistry
from tests.harness.netns import NetworkNamespace
from tests.system.images.archives import docker_archive

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or not all(map(shutil.which, ("docker", "docker-registry", "openssl"))),
    reason="needs root, docker, docker-registry and openssl",
)


class World:
    def __init__(self, root: Path) -> None:
        self.root = root
        with contextlib.ExitStack() as undo:
            self.netns = undo.enter_context(contextlib.closing(NetworkNamespace()))
            self.registry = undo.enter_context(
                contextlib.closing(GuardedRegistry(root / "registry", self.netns))
            )
            one = ("--max-concurrent-uploads", "1", "--max-concurrent-downloads", "1")
            self.daemon = Daemon(netns=self.netns, options=one)
            undo.callback(self.daemon.stop)
            self.naru = Docker(self.daemon.host, root / "naru")
            self.daemon.start()
            self._undo = undo.pop_all()

    def close(self) -> None:
        self._undo.close()

    def name(self, path: str) -> str:
        return f"{self.registry.address}/{path}"

    def login(self, docker: Docker, user: str) -> str:
        password = GuardedRegistry.USERS[user].encode()
        argv = ("login", "-u", user, "--password-stdin", self.registry.address)
        return docker.run(*argv, input=password).decode()

    def load(self, docker: Docker, path: str) -> str:
        name = self.name(path)
        docker.run("load", "-q", input=docker_archive(name))
        return name


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with contextlib.closing(World(tmp_path_factory.mktemp("tokens"))) as made:
        yield made


def test_each_request_asks_for_what_it_needs(world: World) -> None:
    naru = world.naru
    told = world.login(naru, "ann")
    assert "Login Succeeded" in told
    [once] = world.registry.asked()
    assert (once["by"], once["user"], once["scopes"], once["offline"]) == (
        "password", "ann", [], True,
    )  # fmt: skip
    name = world.load(naru, "public/app:1")
    naru.run("push", "-q", name)
    asked = world.registry.asked()
    assert {each["by"] for each in asked} == {"refresh_token"}
    assert asked[-1]["user"] == "ann"
    assert asked[-1]["scopes"] == ["repository:public/app:pull,push"]
    assert asked[-1]["service"] == ["tests registry"]
    naru.run("logout", world.registry.address)
    naru.run("rmi", name)
    naru.run("pull", "-q", name)  # by nobody
    assert world.registry.asked() == [
        {"by": "password", "user": "", "scopes": ["repository:public/app:pull"], "offline": False,
         "service": ["tests registry"]}
    ]  # fmt: skip
    naru.run("rmi", name)


def test_the_client_keeps_the_refresh_token(world: World) -> None:
    world.login(world.naru, "bob")
    config = json.loads((world.root / "naru" / "config.json").read_text())
    kept = config["auths"][world.registry.address]
    assert kept["identitytoken"] == "refresh-bob"
    assert base64.b64decode(kept["auth"]).decode().partition(":")[2] in ("", "\0")
    world.naru.run("logout", world.registry.address)


def test_a_layer_is_mounted_from_where_the_token_lets_it_be_read(world: World) -> None:
    naru = world.naru
    world.login(naru, "ann")
    first = world.load(naru, "team/first:1")
    naru.run("push", "-q", first)
    second = world.name("team/second:1")
    naru.run("tag", first, second)
    world.registry.asked()
    told = naru.run("push", second).decode()
    assert told.count(f"Mounted from {world.name('team/first')}") == 2
    assert {"repository:team/second:pull,push", "repository:team/first:pull"} <= set(
        world.registry.asked()[-1]["scopes"]
    )
    naru.run("logout", world.registry.address)
    naru.run("rmi", first, second)


def test_a_right_to_read_is_none_to_write(world: World) -> None:
    naru = world.naru
    world.login(naru, "ann")
    name = world.load(naru, "team/read:1")
    naru.run("push", "-q", name)
    world.login(naru, "bob")
    naru.run("pull", "-q", name)
    assert "denied" in naru.fails("push", "-q", name) or "unauthorized" in naru.fails("push", name)
    naru.run("logout", world.registry.address)
    naru.run("rmi", name)


@pytest.mark.skipif(not shutil.which(DOCKERD), reason="needs dockerd")
def test_refusals_read_as_dockerds(world: World) -> None:
    daemon = Dockerd("--bridge=none", "--iptables=false", netns=world.netns)
    try:
        daemon.start()
        dockerd = Docker(daemon.host, world.root / "dockerd")
        found = {}
        for who, docker in (("naru", world.naru), ("dockerd", dockerd)):
            name = world.load(docker, f"team/{who}:1")
            told = [
                docker.fails("login", "-u", "ann", "-p", "wrong", world.registry.address),
                docker.fails("login", "-u", "eve", "-p", "secret", world.registry.address),
                docker.fails("pull", world.name("private/app:1")),
                docker.fails("push", "-q", name),
            ]
            world.login(docker, "bob")
            told += [
                docker.fails("pull", world.name("team/nothing:1")),
                docker.fails("pull", world.name("private/app:1")),
                docker.fails("push", "-q", name),
            ]
            docker.run("logout", world.registry.address)
            docker.run("rmi", name)
            found[who] = [text.replace(f"team/{who}", "team/x") for text in told]
        assert found["naru"] == found["dockerd"]
    finally:
        daemon.stop()


def test_tokens_expire_in_the_middle(world: World, tmp_path: Path) -> None:
    """Every third request finds all tokens void: each is renewed, and nothing is lost."""
    registry = GuardedRegistry(tmp_path / "expiring", world.netns, port=5100, revoke_every=3)
    naru = world.naru
    try:
        naru.run(
            "login", "-u", "ann", "--password-stdin", registry.address, input=b"secret"
        )  # fmt: skip
        name = f"{registry.address}/team/app:1"
        naru.run("load", "-q", input=docker_archive(name))
        image_id = naru.image_id(name)
        registry.asked()
        naru.run("push", "-q", name)
        asked = registry.asked()
        assert sum("void" in each for each in asked) >= 3
        assert [each for each in asked if "void" in each and "blobs/uploads" in each["void"]]
        naru.run("rmi", name)
        naru.run("pull", "-q", name)
        assert naru.image_id(name) == image_id
        assert any("void" in each for each in registry.asked())
        naru.run("rmi", name)
    finally:
        registry.close()
