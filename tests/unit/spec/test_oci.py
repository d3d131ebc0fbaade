"""Manifests, configs, platforms and times."""

from __future__ import annotations

import pytest

from naru.spec import oci
from naru.spec.errors import InvalidParameter
from naru.spec.oci import Descriptor, Platform


def test_documents_are_read_leniently() -> None:
    config = oci.read_config(
        b'{"architecture":"amd64","os":"linux","config":{"Cmd":["a"],"Env":null,"Unknown":1},'
        b'"rootfs":{"type":"layers","diff_ids":null},"history":[{"created_by":"x"}],"more":{}}'
    )
    assert config.config.cmd == ["a"]
    assert config.rootfs.diff_ids == []
    with pytest.raises(InvalidParameter, match="invalid image config"):
        oci.read_config(b"[]")
    with pytest.raises(InvalidParameter, match="schema 1"):
        oci.read_manifest(b'{"schemaVersion":1}')
    index = oci.read_manifest(b'{"schemaVersion":2,"manifests":[]}', oci.OCI_INDEX + "; charset=x")
    assert index.is_index


def test_names_are_read_exactly() -> None:
    """Else two readers of one digest could see two images."""
    described = b'{"digest":"sha256:1","size":1}'
    manifest = oci.read_manifest(
        b'{"schemaVersion":2,"layers":[],"Layers":[%s],"Config":%s}' % (described, described)
    )
    assert (manifest.layers, manifest.config.digest) == ([], "")
    config = oci.read_config(b'{"os":"linux","OS":"plan9","Config":{"Cmd":["a"]}}')
    assert (config.os, config.config.cmd) == ("linux", None)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("linux/amd64", "linux/amd64"),
        ("linux/arm64/v8", "linux/arm64"),
        ("linux/arm/v7", "linux/arm/v7"),
        ("aarch64", "linux/arm64"),
        ("linux", f"linux/{oci.host_platform().architecture}"),
    ],
)
def test_platforms(text: str, shown: str) -> None:
    assert str(oci.parse_platform(text)) == shown


def test_selection_prefers_the_exact_variant() -> None:
    def entry(digest: str, variant: str) -> Descriptor:
        return Descriptor(digest=digest, platform=Platform("arm", "linux", variant=variant))

    entries = [entry("six", "v6"), entry("seven", "v7")]
    seven = oci.select_platform(entries, oci.parse_platform("linux/arm/v7"))
    assert seven is not None
    assert seven.digest == "seven"
    six = oci.select_platform(entries[:1], oci.parse_platform("linux/arm/v7"))
    assert six is not None
    assert oci.select_platform(entries, oci.parse_platform("linux/s390x")) is None


@pytest.mark.parametrize(
    "text", ["2024-01-02T03:04:05Z", "2024-01-02T03:04:05.5Z", "1970-01-01T00:00:00.000000001Z"]
)
def test_times_come_back(text: str) -> None:
    assert oci.format_time(oci.parse_time(text)) == text


def test_no_time() -> None:
    assert oci.parse_time("0001-01-01T00:00:00Z") == 0
    assert oci.parse_time("yesterday") == 0
    assert oci.parse_time("2024-01-02T04:04:05+01:00") == oci.parse_time("2024-01-02T03:04:05Z")
