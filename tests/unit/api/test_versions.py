from __future__ import annotations

import pytest

from naru.api import versions
from naru.api.old_shapes import Document
from naru.api.versions import NEWEST, OMISSIONS, SHAPES, shape, shape_all
from naru.spec.errors import InvalidParameter


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/v1.41/info", ("1.41", "/info")),
        ("/v1.41/volumes/v1.2/x", ("1.41", "/volumes/v1.2/x")),
        ("/info", (None, "/info")),
        ("/v1.41", (None, "/v1.41")),
        ("/version", (None, "/version")),
        ("/v1.41x/info", (None, "/v1.41x/info")),
    ],
)
def test_split(path: str, expected: tuple[str | None, str]) -> None:
    assert versions.split(path) == expected


def test_every_version_from_the_oldest_to_the_newest_is_served() -> None:
    for minor in range(24, 56):
        assert versions.checked(f"1.{minor}") == (1, minor)
    assert versions.checked(None) == versions.NEWEST


@pytest.mark.parametrize("text", ["1.23", "1.0", "0.9", "1", ".", "1.", "..1"])
def test_older_or_odd_versions_are_refused(text: str) -> None:
    with pytest.raises(InvalidParameter, match=r"client version .* is too old"):
        versions.checked(text)


def test_rows_come_newest_first() -> None:
    assert [row.since for row in SHAPES] == sorted((row.since for row in SHAPES), reverse=True)


def test_documents_are_not_changed_in_place() -> None:
    document: Document = {
        "Id": "0123456789abcdef",
        "Config": {"Hostname": "box"},
        "ImageManifestDescriptor": {},
        "NetworkSettings": {"Networks": {"mine": {"Aliases": ["a"]}, "bridge": {"Aliases": None}}},
    }
    before = repr(document)
    old = shape((1, 44), "container.inspect", document)
    assert repr(document) == before
    assert "ImageManifestDescriptor" not in old
    assert old["NetworkSettings"]["Networks"] == {
        "mine": {"Aliases": ["a", "0123456789ab", "box"]},
        "bridge": {"Aliases": None},
    }


@pytest.mark.parametrize(
    ("version", "members"),
    [
        ((1, 50), {"FirewallBackend", "DiscoveredDevices", "Containerd"}),
        ((1, 49), {"FirewallBackend", "Containerd", "BridgeNfIptables"}),
        ((1, 48), {"Containerd", "BridgeNfIptables", "RuncCommit"}),
        ((1, 45), {"BridgeNfIptables", "RuncCommit", "RegistryConfig"}),
        ((1, 24), {"BridgeNfIptables", "RuncCommit", "RegistryConfig", "ExecutionDriver"}),
    ],
)
def test_info_through_the_versions(version: tuple[int, int], members: set[str]) -> None:
    everything = {
        "FirewallBackend",
        "DiscoveredDevices",
        "Containerd",
        "BridgeNfIptables",
        "RuncCommit",
        "RegistryConfig",
        "ExecutionDriver",
    }
    document = {"FirewallBackend": {}, "DiscoveredDevices": [], "Containerd": {}}
    assert set(shape(version, "info", document)) & everything == members


def test_info_of_1_24_names_security_options_alone() -> None:
    document = {"SecurityOptions": ["name=seccomp,profile=builtin", "name=cgroupns"]}
    assert shape((1, 24), "info", document)["SecurityOptions"] == ["seccomp", "cgroupns"]
    assert shape((1, 25), "info", document)["SecurityOptions"] == document["SecurityOptions"]


def test_images_of_old_versions() -> None:
    images: list[Document] = [{"Size": 5, "RepoTags": [], "RepoDigests": [], "Descriptor": {}}]
    [new] = shape_all((1, 48), "image.list", images)
    assert new["RepoTags"] == []
    assert new["Descriptor"] == {}
    [old] = shape_all((1, 42), "image.list", images)
    assert old["RepoTags"] == ["<none>:<none>"]
    assert old["VirtualSize"] == 5
    assert "Descriptor" not in old


def test_an_image_config_has_every_member_before_1_50() -> None:
    document = {"Config": {"Cmd": ["x"]}}
    assert shape((1, 51), "image.inspect", document)["Config"] == {"Cmd": ["x"]}
    assert shape((1, 50), "image.inspect", document)["Config"] == {"Cmd": ["x"]}
    old = shape((1, 49), "image.inspect", document)["Config"]
    assert (old["Cmd"], old["Entrypoint"], old["Tty"], old["User"]) == (["x"], None, False, "")
    assert shape((1, 44), "image.inspect", {"Config": None})["Config"] is None


def test_df_sums_up_the_build_cache_before_1_42() -> None:
    document = {"BuildCache": [{"Size": 3}, {"Size": 4}]}
    assert shape((1, 41), "df", document)["BuilderSize"] == 7
    assert "BuilderSize" not in shape((1, 42), "df", document)


def test_a_list_that_no_row_concerns_is_itself() -> None:
    documents: list[Document] = [{"Id": "x"}]
    assert shape_all((1, 24), "volume.list", documents) is documents


def test_no_row_is_newer_than_what_is_served() -> None:
    assert max(row.since for row in (*SHAPES, *OMISSIONS)) <= NEWEST


def test_an_image_config_is_that_of_oci_since_1_52() -> None:
    document = {
        "Id": "i", "Parent": "", "Comment": "", "DockerVersion": "", "Author": "me",
        "Config": {"Hostname": "h", "Tty": False, "Cmd": ["x"], "Env": [], "User": "",
                   "Labels": None, "OnBuild": ["RUN y"]},
    }  # fmt: skip
    assert shape((1, 51), "image.inspect", document) == document
    assert shape((1, 52), "image.inspect", document) == {
        "Id": "i",
        "Author": "me",
        "Config": {"Cmd": ["x"], "OnBuild": ["RUN y"]},
    }


def test_identity_comes_with_1_53() -> None:
    document = {"Identity": {"Pull": []}}
    assert shape((1, 52), "image.inspect", document) == {}
    assert shape((1, 53), "image.inspect", document) == document


def test_containers_of_images_are_counted_since_1_51() -> None:
    assert shape((1, 50), "image.list", {"Containers": 3}) == {"Containers": -1}
    assert shape((1, 51), "image.list", {"Containers": 3}) == {"Containers": 3}


def test_the_default_bridge_beside_the_networks_until_1_51() -> None:
    networks = {"bridge": {"IPAddress": "172.17.0.2", "MacAddress": "02:42:ac:11:00:02"}}
    new = {"SandboxID": "s", "SandboxKey": "k", "Ports": {}, "Networks": networks}
    assert shape((1, 52), "container.inspect", {"NetworkSettings": new})["NetworkSettings"] == new
    old = shape((1, 51), "container.inspect", {"NetworkSettings": new})["NetworkSettings"]
    assert list(old) == [
        "Bridge", "SandboxID", "SandboxKey", "Ports", "HairpinMode", "LinkLocalIPv6Address",
        "LinkLocalIPv6PrefixLen", "SecondaryIPAddresses", "SecondaryIPv6Addresses", "EndpointID",
        "Gateway", "GlobalIPv6Address", "GlobalIPv6PrefixLen", "IPAddress", "IPPrefixLen",
        "IPv6Gateway", "MacAddress", "Networks",
    ]  # fmt: skip
    assert (old["IPAddress"], old["MacAddress"]) == ("172.17.0.2", "02:42:ac:11:00:02")
    assert (old["Gateway"], old["IPPrefixLen"], old["Networks"]) == ("", 0, networks)


def test_what_a_container_shows_of_its_configuration_since_1_52() -> None:
    config = {"Image": "i", "OnBuild": None, "MacAddress": "02:42:ac:11:00:02"}
    document = {"Config": config, "HostConfig": {"Memory": 0, "KernelMemoryTCP": 7}}
    assert shape((1, 51), "container.inspect", document) == document
    assert shape((1, 52), "container.inspect", document) == {
        "Config": {"Image": "i"},
        "HostConfig": {"Memory": 0},
    }


@pytest.mark.parametrize(
    ("kind", "member"),
    [
        ("container.list", "Health"),
        ("container.stats", "os_type"),
        ("network.inspect", "Status"),
    ],
)
def test_members_that_came_with_1_52(kind: str, member: str) -> None:
    assert shape((1, 51), kind, {"Id": "x", member: {}}) == {"Id": "x"}
    assert shape((1, 52), kind, {"Id": "x", member: {}}) == {"Id": "x", member: {}}


def test_the_first_members_of_events_until_1_51() -> None:
    actor = {"ID": "c", "Attributes": {"image": "i"}}
    event = {"Type": "container", "Action": "start", "Actor": actor}
    assert shape((1, 52), "event", event) == event
    assert shape((1, 51), "event", event) == {"status": "start", "id": "c", "from": "i", **event}
    image = {"Type": "image", "Action": "pull", "Actor": {"ID": "x", "Attributes": {}}}
    assert shape((1, 51), "event", image) == {"status": "pull", "id": "x", **image}
    network = {"Type": "network", "Action": "create", "Actor": {"ID": "n", "Attributes": {}}}
    assert shape((1, 51), "event", network) == network


def test_progress_is_no_more_drawn_for_new_clients() -> None:
    message = {"status": "Downloading", "progressDetail": {"current": 1}, "progress": "[>  ]"}
    assert shape((1, 51), "progress", message) == message
    assert "progress" not in shape((1, 52), "progress", message)


def test_that_a_manifest_went_in_place_of_its_index_is_told_since_1_46() -> None:
    note = {"progressDetail": {}, "aux": {"manifestPushedInsteadOfIndex": True}}
    assert shape((1, 46), "progress", note) == note
    assert shape((1, 45), "progress", note) == {}
    pushed = {"progressDetail": {}, "aux": {"Tag": "1", "Digest": "sha256:1", "Size": 1}}
    assert shape((1, 45), "progress", pushed) == pushed
