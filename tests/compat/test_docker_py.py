"""docker-py, unmodified: the calls that its users and Testcontainers make most."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator

import docker
import pytest
from docker.errors import APIError, ContainerError, ImageNotFound, NotFound
from tests.harness.daemon import Daemon


@pytest.fixture(scope="module")
def client(daemon: Daemon) -> Iterator[docker.DockerClient]:
    connected = docker.DockerClient(base_url=daemon.host, timeout=60)
    yield connected
    connected.close()


def test_version_is_negotiated(client: docker.DockerClient) -> None:
    assert client.ping()
    version = client.version()
    assert version["ApiVersion"] == "1.55"
    assert version["MinAPIVersion"] == "1.24"
    assert client.info()["Driver"] == "overlay2"


def test_run_returns_the_output(client: docker.DockerClient) -> None:
    assert client.containers.run("busybox", "echo hello", remove=True) == b"hello\n"


def test_run_that_fails_raises(client: docker.DockerClient) -> None:
    with pytest.raises(ContainerError) as caught:
        client.containers.run("busybox", ["sh", "-c", "echo no >&2; exit 3"], remove=True)
    assert caught.value.exit_status == 3


def test_detached_container_and_its_verbs(client: docker.DockerClient) -> None:
    container = client.containers.run("busybox", ["sh", "-c", "echo up; sleep 60"], detach=True)
    try:
        assert container.status in ("created", "running")
        container.reload()
        assert container.status == "running"
        for line in container.logs(stream=True, follow=True):
            assert line == b"up\n"
            break
        assert container.exec_run("echo inside").output == b"inside\n"
        assert container.exec_run(["sh", "-c", "exit 4"]).exit_code == 4
        out, err = container.exec_run(["sh", "-c", "echo o; echo e >&2"], demux=True).output
        assert (out, err) == (b"o\n", b"e\n")
        assert container.top()["Titles"][0] == "UID"
        assert container.stats(stream=False)["pids_stats"]["current"] >= 1
        container.pause()
        container.unpause()
        container.stop(timeout=1)
        assert container.wait()["StatusCode"] == 137
    finally:
        container.remove(force=True)
    with pytest.raises(NotFound):
        client.containers.get(container.id)


def test_a_list_without_limit_leaves_out_nothing(client: docker.DockerClient) -> None:
    """docker-py says `limit=-1`, which is not all but one."""
    container = client.containers.create("busybox", "true")
    try:
        assert client.containers.list(all=True, filters={"id": container.id}) == [container]
        assert container.diff() is None
    finally:
        container.remove()


def test_what_is_not_there_is_empty(client: docker.DockerClient) -> None:
    assert client.api.prune_builds()["SpaceReclaimed"] == 0
    assert client.plugins.list() == []


def test_archives_both_ways(client: docker.DockerClient) -> None:
    container = client.containers.create("busybox", "true")
    try:
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as tar:
            member = tarfile.TarInfo("hello")
            member.size = 6
            tar.addfile(member, io.BytesIO(b"hello\n"))
        assert container.put_archive("/tmp", packed.getvalue())
        stream, stat = container.get_archive("/tmp/hello")
        assert stat["name"] == "hello"
        assert stat["size"] == 6
        with tarfile.open(fileobj=io.BytesIO(b"".join(stream))) as tar:
            extracted = tar.extractfile("hello")
            assert extracted is not None
            assert extracted.read() == b"hello\n"
    finally:
        container.remove()


def test_attach_socket_carries_stdin(client: docker.DockerClient) -> None:
    container = client.containers.create("busybox", "cat", stdin_open=True)
    try:
        socket = container.attach_socket(params={"stdin": 1, "stdout": 1, "stream": 1})
        container.start()
        socket._sock.sendall(b"ping\n")
        received = b""
        while len(received) < 8 + 5:
            received += socket.read(8 + 5 - len(received))
        assert received[8:] == b"ping\n"
        socket.close()
    finally:
        container.remove(force=True)


def test_networks_and_volumes(client: docker.DockerClient) -> None:
    network = client.networks.create("py-net")
    volume = client.volumes.create("py-vol", labels={"a": "b"})
    try:
        container = client.containers.run(
            "busybox", "sleep 30", detach=True, network="py-net", volumes={"py-vol": {"bind": "/v"}}
        )
        container.reload()
        assert "py-net" in container.attrs["NetworkSettings"]["Networks"]
        assert client.volumes.get("py-vol").attrs["Labels"] == {"a": "b"}
        with pytest.raises(APIError, match="volume is in use"):
            volume.remove()
        container.remove(force=True)
    finally:
        network.remove()
        volume.remove()


def test_missing_things_raise_their_errors(client: docker.DockerClient) -> None:
    with pytest.raises(ImageNotFound):
        client.images.get("nosuchimage")
    with pytest.raises(NotFound):
        client.networks.get("nosuchnetwork")
    with pytest.raises(NotFound):
        client.volumes.get("nosuchvolume")


def test_image_calls(client: docker.DockerClient) -> None:
    image = client.images.get("busybox")
    assert image.tag("busybox-copy", tag="v1")
    assert "busybox-copy:v1" in client.images.get("busybox-copy:v1").tags
    client.images.remove("busybox-copy:v1")
    saved = b"".join(image.save(named=True))
    assert client.images.load(saved)[0].id == image.id


def test_events_can_be_resumed(client: docker.DockerClient) -> None:
    client.containers.run("busybox", "true", remove=True, name="resumed")
    events = client.api.events(since=0, until=2**31, filters={"container": "resumed"}, decode=True)
    actions = []
    for event in events:
        actions.append(event["Action"])
        if event["Action"] == "destroy":
            break
    events.close()
    assert actions[0] == "create"
    assert actions[-1] == "destroy"
