from __future__ import annotations

import pytest

from naru.api import versions
from naru.api.versions import SHAPES, Document, shape, shape_all
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
    for minor in range(24, 51):
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
