"""Manifests as texts, and the folder in which lists are made."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from pathlib import Path

import pytest

from naru.cli import jsontext
from naru.cli.failures import CliError
from naru.cli.manifest_store import ManifestStore
from naru.cli.manifests import (
    DOCKER_LIST,
    DOCKER_MANIFEST,
    OCI_INDEX,
    OCI_MANIFEST,
    ImageManifest,
    list_text,
    platform_of,
    read_document,
    verbose_text,
)
from naru.spec.reference import parse

DATA = b'{"schemaVersion": 2, "config": {"digest": "c"}, "layers": [{"digest": "l", "x": "<\\u00e9"}]}\n'
LINUX = {"architecture": "amd64", "os": "linux"}


def image(media_type: str = DOCKER_MANIFEST, name: str = "h:1/a:b") -> ImageManifest:
    return ImageManifest(name, media_type, DATA, platform_of(LINUX))


def test_shown_as_the_registry_has_it() -> None:
    shown = image().text()
    assert json.loads(shown) == json.loads(DATA)
    assert shown.startswith('{\n\t"schemaVersion": 2,\n\t"config": {\n\t\t"digest": "c"\n\t},')
    assert '"x": "<\\u00e9"' in shown
    assert shown.endswith("]\n}\n")


def test_a_document_keeps_the_bytes() -> None:
    document = image(OCI_MANIFEST).document()
    found = json.loads(document)
    assert list(found) == ["Ref", "Descriptor", "Raw", "OCIManifest"]
    assert base64.b64decode(found["Raw"]) == DATA
    assert found["Descriptor"] == {
        "mediaType": OCI_MANIFEST, "digest": image().digest, "size": len(DATA), "platform": LINUX,
    }  # fmt: skip
    assert '"x":"\\u003c\\u00e9"' in document
    again = read_document(document.encode())
    assert again is not None
    assert again.document() == document
    assert '"x": "\\u003c\\u00e9"' in again.text()  # as docker shows what it kept


def test_a_document_of_an_older_docker_is_none() -> None:
    found = json.loads(image().document())
    del found["Raw"]
    assert read_document(json.dumps(found).encode()) is None


def test_lists() -> None:
    found = json.loads(list_text([image(), image(OCI_MANIFEST)]))
    assert list(found) == ["schemaVersion", "mediaType", "manifests"]
    assert found["mediaType"] == DOCKER_LIST
    assert list(found["manifests"][0]) == ["mediaType", "size", "digest", "platform"]
    assert json.loads(list_text([image(OCI_MANIFEST), image()]))["mediaType"] == OCI_INDEX
    assert verbose_text([image()]).startswith('[\n\t{\n\t\t"Ref": "h:1/a:b",')


def test_platforms_say_what_is_known() -> None:
    said = {"variant": "v8", "os.version": "", "os": "linux", "features": ["x"], "config": {}}
    assert list(platform_of(said).items()) == [
        ("architecture", ""), ("os", "linux"), ("variant", "v8"),
    ]  # fmt: skip
    one = image()
    one.annotate({"variant": "v2"}, ["a", "b"])
    one.annotate({"os": "windows"}, ["b", "c"])
    assert list(one.platform.items()) == [
        ("architecture", "amd64"), ("os", "windows"), ("os.features", ["a", "b", "c"]),
        ("variant", "v2"),
    ]  # fmt: skip


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(CliError, match="no default available: application/x"):
        image("application/x")


def test_a_list_is_a_folder(tmp_path: Path) -> None:
    store = ManifestStore(str(tmp_path))
    target, one = parse("h:1/x/l:1"), parse("h:1/a:b")
    assert store.images(target) is None
    assert store.get(target, one) is None
    store.save(target, one, image())
    path = tmp_path / "manifests" / "h-1_x_l-1" / "h-1_a-b"
    assert path.read_text() == image().document()
    found = store.images(target)
    assert found is not None
    assert [each.data for each in found] == [DATA]
    path.write_text("{}")
    with pytest.raises(CliError, match="invalid manifest file"):
        store.get(target, one)
    store.remove(target)
    assert not store.exists(target)


def test_compact_text() -> None:
    assert jsontext.compact(' { "a b" : [ 1 , "\\" , " ] }\n') == '{"a b":[1,"\\" , "]}'
    assert jsontext.escape_html('"<&>\u2028"') == '"\\u003c\\u0026\\u003e\\u2028"'


def test_what_needs_no_registry_loads_none(tmp_path: Path) -> None:
    script = (
        "import sys; from naru.cli.main import main; main(sys.argv[1:]);"
        "print([name for name in ('aiohttp', 'msgspec', 'asyncio') if name in sys.modules])"
    )
    argv = ["--config", str(tmp_path), "manifest", "rm", "nope"]
    done = subprocess.run(
        [sys.executable, "-c", script, *argv], capture_output=True, text=True, check=True
    )
    assert (done.stdout, done.stderr) == (
        "[]\n",
        "No such manifest: docker.io/library/nope:latest\n",
    )
