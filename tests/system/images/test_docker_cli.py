"""The stock docker CLI against the image routes alone."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from naru.api.messages import Request, Response
from naru.api.router import RouteTable
from naru.api.routes.image_transfers import ImageTransferRoutes
from naru.api.routes.images import ImageRoutes
from naru.api.routes.registry import RegistryRoutes
from naru.api.server import Server
from naru.engine.images.inquiries import Inquiries
from naru.spec import oci
from tests.system.images.archives import docker_archive, layers, oci_index_archive
from tests.system.images.conftest import Images
from tests.system.images.test_attestations_saved import nested


class Cli:
    def __init__(self, path: Path, home: Path) -> None:
        self._path = path
        self._env = {**os.environ, "HOME": str(home), "DOCKER_CONFIG": str(home)}

    async def __call__(self, *arguments: str, input: bytes = b"", fails: bool = False) -> str:
        program = shutil.which("docker")
        if program is None:
            pytest.skip("needs the docker CLI")
        process = await asyncio.create_subprocess_exec(
            program, "-H", f"unix://{self._path}", *arguments, env=self._env,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        out, _ = await asyncio.wait_for(process.communicate(input), 60)
        assert (process.returncode != 0) == fails, out.decode()
        return out.decode()


@pytest.fixture
async def docker(images: Images, tmp_path: Path) -> AsyncIterator[Cli]:
    router = RouteTable()

    async def ping(request: Request) -> Response:
        return Response(b"OK", headers={"Api-Version": "1.50", "Ostype": "linux"})

    router.add("GET", "/_ping", ping)
    router.add("HEAD", "/_ping", ping)
    ImageRoutes(library=images.library, listing=images.listing, removal=images.removal).register(
        router
    )
    ImageTransferRoutes(
        puller=images.puller, pusher=images.pusher, importer=images.importer,
        loader=images.loader, saver=images.saver,
    ).register(router)  # fmt: skip
    RegistryRoutes(inquiries=Inquiries(transport=images.transport)).register(router)
    server = Server(router=router)
    path = tmp_path / "naru.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.setblocking(False)
        await server.listen(listener)
        home = tmp_path / "home"
        home.mkdir()
        yield Cli(path, home)
        await server.close(grace=5)


async def test_the_life_of_an_image(docker: Cli, registry: str, tmp_path: Path) -> None:
    archive = tmp_path / "app.tar"
    archive.write_bytes(docker_archive("app:1"))
    assert "Loaded image: app:1" in await docker("load", "-i", str(archive))
    listed = await docker("images", "--format", "{{.Repository}}:{{.Tag}} {{.Size}}")
    assert listed.split() == ["app:1", "10kB"]
    name = f"{registry}/cli/app:1"
    await docker("tag", "app:1", name)
    pushed = await docker("push", name)
    assert "The push refers to repository" in pushed
    digest = pushed.split("digest: ")[1].split()[0]
    removed = await docker("rmi", "app:1", name)
    assert removed.splitlines()[:3] == [
        "Untagged: app:1", f"Untagged: {name}", f"Untagged: {registry}/cli/app@{digest}",
    ]  # fmt: skip
    pulled = (await docker("pull", name)).splitlines()
    assert pulled[0] == f"{1}: Pulling from cli/app"
    assert pulled[-3:] == [
        f"Digest: {digest}", f"Status: Downloaded newer image for {name}", name,
    ]  # fmt: skip
    inspected = json.loads(await docker("image", "inspect", name))[0]
    assert inspected["RepoDigests"] == [f"{registry}/cli/app@{digest}"]
    assert "step 1" in await docker("history", name)
    saved = tmp_path / "saved.tar"
    await docker("save", "-o", str(saved), name)
    await docker("rmi", "-f", inspected["Id"][7:19])
    assert "Loaded image" in await docker("load", input=saved.read_bytes())
    assert json.loads(await docker("image", "inspect", name))[0]["Id"] == inspected["Id"]
    assert digest in await docker("manifest", "inspect", "--insecure", "-v", name)
    assert "Login Succeeded" in await docker("login", "-u", "x", "-p", "y", registry)


async def test_a_push_of_a_part_of_an_index_is_noted(docker: Cli, registry: str) -> None:
    """By digest, as the CLI prints it of Docker's own."""
    name, here = f"{registry}/cli/part:1", str(oci.host_platform())
    archive = oci_index_archive(name, [here, "linux/riscv64"])
    index, [own, _] = nested(archive)
    await docker("load", "--platform", here, input=archive)
    pushed = await docker("push", name)
    assert "Not all multiplatform-content is present" in pushed
    assert f"1: digest: {own['digest']}" in pushed
    assert pushed.index(index) < pushed.rindex(own["digest"])


async def test_import_and_prune(docker: Cli) -> None:
    first = (await docker("import", "-c", "CMD x", "-", "imp:1", input=layers()[0])).strip()
    second = (await docker("import", "-", "imp:1", input=layers()[1])).strip()
    assert first != second
    listed = await docker("images", "-q", "--no-trunc", "-f", "dangling=true")
    assert listed.strip() == first
    assert f"deleted: {first}" in await docker("image", "prune", "-f")
    assert (await docker("images", "-q", "--no-trunc")).strip() == second
    assert "untagged: imp:1" in await docker("image", "prune", "-af")


async def test_texts_of_failures(docker: Cli, registry: str) -> None:
    assert await docker("rmi", "nope", fails=True) == (
        "Error response from daemon: No such image: nope:latest\n"
    )
    assert await docker("pull", f"{registry}/x:y", fails=True) == (
        f"Error response from daemon: manifest for {registry}/x:y not found:"
        " manifest unknown: manifest unknown\n"
    )
    out = await docker("pull", "127.0.0.1:1/x", fails=True)
    assert 'Get "http://127.0.0.1:1/v2/": dial tcp 127.0.0.1:1: connect: connection refused' in out
    assert "invalid reference format" in await docker("pull", "a/UPPER", fails=True)
    out = await docker("push", "127.0.0.1:1/none", fails=True)
    assert "does not exist locally with the tag: 127.0.0.1:1/none" in out
    out = await docker("load", input=b"garbage" * 200, fails=True)
    assert "invalid" in out
    out = await docker("image", "inspect", "nope", fails=True)
    assert "No such image: nope" in out
