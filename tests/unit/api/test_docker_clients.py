"""docker-py and the docker CLI against the edge, over routes that only pretend."""

from __future__ import annotations

import asyncio
import json
import shutil
import struct
from pathlib import Path
from typing import Any

import docker
import pytest
from tests.harness.edge import Edge

from naru.api.messages import HIJACKED, Answer, Request, Response

needs_cli = pytest.mark.skipif(shutil.which("docker") is None, reason="needs the docker CLI")


def frame(stream: int, data: bytes) -> bytes:
    return struct.pack(">BxxxI", stream, len(data)) + data


@pytest.fixture
def pretended(edge: Edge) -> Edge:
    """One running container "x": attach and exec say what they were sent, in capitals."""

    async def ping(request: Request) -> Answer:
        return Response(b"OK")

    async def version(request: Request) -> Answer:
        return Response({"ApiVersion": "1.50", "Version": "0.1.0"})

    async def inspect(request: Request) -> Answer:
        state = {"Running": True, "Status": "running", "Pid": 1}
        config = {"Tty": False, "OpenStdin": True}
        return Response({"Id": "x", "State": state, "Config": config, "HostConfig": {}})

    async def attach(request: Request) -> Answer:
        conn = await request.hijack("application/vnd.docker.multiplexed-stream")
        while data := await conn.read():
            await conn.write(frame(1, data.upper()))
        await conn.write(frame(2, b"end\n"))
        return HIJACKED

    async def exec_create(request: Request) -> Answer:
        return Response({"Id": "e"}, status=201)

    async def exec_start(request: Request) -> Answer:
        await request.json(dict[str, Any])
        return await attach(request)

    async def exec_inspect(request: Request) -> Answer:
        return Response({"ID": "e", "Running": False, "ExitCode": 7})

    async def wait(request: Request) -> Answer:
        return Response({"StatusCode": 3})

    edge.route("GET", "/_ping", ping)
    edge.route("HEAD", "/_ping", ping)
    edge.route("GET", "/version", version)
    edge.route("GET", "/containers/{id}/json", inspect)
    edge.route("POST", "/containers/{id}/attach", attach)
    edge.route("POST", "/containers/{id}/wait", wait)
    edge.route("POST", "/containers/{id}/exec", exec_create)
    edge.route("POST", "/exec/{id}/start", exec_start)
    edge.route("GET", "/exec/{id}/json", exec_inspect)
    return edge


async def cli(edge: Edge, home: Path, *argv: str, stdin: bytes) -> tuple[int | None, bytes, bytes]:
    process = await asyncio.create_subprocess_exec(
        "docker", "--config", str(home), "-H", f"unix://{edge.path}", *argv,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await process.communicate(stdin)
    return process.returncode, out, err


@needs_cli
async def test_cli_attach(pretended: Edge, tmp_path: Path) -> None:
    answer = await cli(pretended, tmp_path, "attach", "--sig-proxy=false", "x", stdin=b"hello\n")
    assert answer == (3, b"HELLO\n", b"end\n")


@needs_cli
async def test_cli_exec_with_megabytes(pretended: Edge, tmp_path: Path) -> None:
    data = b"0123456789abcde\n" * (5 << 16)
    code, out, err = await cli(pretended, tmp_path, "exec", "-i", "x", "cat", stdin=data)
    assert (code, err) == (7, b"end\n")
    assert out == data.upper()


async def test_docker_py(pretended: Edge) -> None:
    def talk() -> list[Any]:
        client = docker.APIClient(base_url=f"unix://{pretended.path}", version="auto", timeout=30)
        try:
            assert client.ping()
            version = client.version()["Version"]
            created = client.exec_create("x", ["cat"])
            sock = client.exec_start(created["Id"], socket=True)
            raw = sock._sock
            raw.sendall(b"through docker-py\n")
            raw.shutdown(1)
            got = b""
            while piece := raw.recv(65536):
                got += piece
            raw.close()
            sock.close()
            code = client.exec_inspect(created["Id"])["ExitCode"]
            with pytest.raises(docker.errors.NotFound, match="page not found"):
                client.images()
            return [version, got, code]
        finally:
            client.close()

    version, got, code = await asyncio.to_thread(talk)
    assert (version, code) == ("0.1.0", 7)
    assert got == frame(1, b"THROUGH DOCKER-PY\n") + frame(2, b"end\n")


@needs_cli
async def test_cli_info_over_the_real_document(edge: Edge, tmp_path: Path) -> None:
    from naru.api.routes.system import SystemRoutes
    from naru.engine.system import Installation, System
    from naru.kernel.cgroups import Hierarchies, Mode

    installation = Installation(
        data_root=tmp_path, storage_driver="overlay2", log_driver="json-file",
        log_drivers=["json-file"], network_drivers=["bridge"], volume_drivers=["local"],
        cgroup_driver="cgroupfs", runtimes={"crun": ["crun"]}, default_runtime="crun",
        init_binary="", api_version="1.50", min_api_version="1.24",
    )  # fmt: skip
    system = System(
        installation=installation, containers=list, image_count=lambda: 0,
        event_listeners=lambda: 0, driver_status=list, cgroups=Hierarchies(Mode.UNIFIED),
    )  # fmt: skip
    SystemRoutes(
        info=system.info,
        version=system.version,
        events=None,
        disk_usage={},  # type: ignore[arg-type]
    ).register(edge.router)
    code, out, err = await cli(edge, tmp_path, "info", "--format", "{{json .}}", stdin=b"")
    assert code == 0, err
    info = json.loads(out)
    assert info["Driver"] == "overlay2"
    assert not info.get("ServerErrors")
    code, out, err = await cli(edge, tmp_path, "info", stdin=b"")
    assert code == 0
    assert b"Default Runtime: crun" in out
    assert b"Live Restore Enabled: true" in out
    code, out, err = await cli(edge, tmp_path, "version", stdin=b"")
    assert code == 0
    assert b"Server: Naru Engine" in out
