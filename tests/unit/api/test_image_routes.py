"""What `/images` makes of the parameters that came with its newest versions."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any, cast

import pytest
from tests.harness.edge import Edge

from naru.api.routes.images import ImageRoutes


class Listing:
    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []

    def images(self, **options: Any) -> list[dict[str, Any]]:
        self.asked.append(options)
        return [{"Id": "x", "Containers": 2}]


@pytest.fixture
def listing(edge: Edge) -> Listing:
    found = Listing()
    image = SimpleNamespace(index="")
    library = SimpleNamespace(find=lambda ref, platform=None: image, blobs=None)
    ImageRoutes(
        library=cast(Any, library), listing=cast(Any, found), removal=cast(Any, None)
    ).register(edge.router)
    return found


async def get(edge: Edge, path: str) -> tuple[int, Any]:
    client = await edge.connect()
    await client.send(f"GET {path} HTTP/1.1\r\nHost: d\r\n\r\n".encode())
    status, _, body = await client.answer()
    return status, json.loads(body)


async def test_containers_are_counted_for_new_clients(edge: Edge, listing: Listing) -> None:
    assert (await get(edge, "/v1.51/images/json"))[1][0]["Containers"] == 2
    assert (await get(edge, "/v1.50/images/json"))[1][0]["Containers"] == -1


async def test_identity_needs_manifests(edge: Edge, listing: Listing) -> None:
    status, error = await get(edge, "/images/json?identity=1")
    assert (status, error["message"]) == (
        400,
        "conflicting options: identity requires manifests=1",
    )
    assert (await get(edge, "/v1.53/images/json?identity=1"))[0] == 200
    assert (await get(edge, "/images/json?identity=1&manifests=1"))[0] == 200
    assert [asked["identity"] for asked in listing.asked] == [False, True]


async def test_attestations_came_with_1_55(edge: Edge, listing: Listing) -> None:
    assert await get(edge, "/images/a/b:1/attestations") == (200, [])
    status, error = await get(edge, "/v1.54/images/a/b:1/attestations")
    assert (status, error) == (404, {"message": "page not found"})
    both = "platform=linux/amd64&platform=linux/arm64"
    status, error = await get(edge, f"/images/x/attestations?{both}")
    assert (status, error["message"]) == (400, "only one platform value is currently supported")
