"""What the stock clients send to `/networks`, and what they are answered."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from naru.api import versions
from naru.api.messages import Query, Response
from naru.api.routes.networks import NetworkRoutes
from naru.engine.networking.creation import NetworkCreate
from naru.spec import jsonread
from naru.spec.errors import InvalidParameter
from naru.spec.networks import EndpointIPAMConfig, EndpointSettings


class Networks:
    def __init__(self) -> None:
        self.calls: list[Any] = []
        self.found: list[Any] = []

    def search(self, filters: dict[str, list[str]]) -> list[Any]:
        self.calls.append(filters)
        return self.found

    async def create(self, request: NetworkCreate) -> tuple[str, str]:
        self.calls.append(request)
        return "id", ""

    async def connect(self, ref: str, container: str, settings: EndpointSettings) -> None:
        self.calls.append((ref, container, settings))

    async def disconnect(self, ref: str, container: str, *, force: bool) -> None:
        self.calls.append((ref, container, force))

    async def prune(self, filters: dict[str, list[str]]) -> list[str]:
        return []


class Router:
    def __init__(self) -> None:
        self.routes: dict[tuple[str, str], Callable[[Any], Any]] = {}

    def add(self, method: str, pattern: str, handler: Callable[[Any], Any]) -> None:
        self.routes[method, pattern] = handler


class Request:
    def __init__(self, body: bytes = b"{}", query: dict[str, list[str]] | None = None) -> None:
        self.version = versions.NEWEST
        self.params = {"id": "front"}
        self.query = Query(query or {})
        self._body = body

    async def json(self, shape: type[Any]) -> Any:
        return jsonread.decode(self._body, shape)


@pytest.fixture
def networks() -> Networks:
    return Networks()


async def ask(networks: Networks, method: str, pattern: str, request: Request) -> Response:
    router = Router()
    NetworkRoutes(networks=networks).register(router)  # type: ignore[arg-type]
    answer = await router.routes[method, pattern](request)
    assert isinstance(answer, Response)
    return answer


async def test_create_reads_what_dockers_client_sends(networks: Networks) -> None:
    body = (
        b'{"Name":"front","Driver":"bridge","Scope":"","EnableIPv4":true,"EnableIPv6":null,'
        b'"IPAM":{"Driver":"default","Options":{},"Config":[{"Subnet":"10.0.0.0/24"}]},'
        b'"Internal":false,"Attachable":false,"Ingress":false,"ConfigOnly":false,'
        b'"ConfigFrom":null,"Options":{},"Labels":{"a":"b"}}'
    )
    answer = await ask(networks, "POST", "/networks/create", Request(body))
    assert (answer.status, answer.body) == (201, b'{"Id":"id","Warning":""}')
    [request] = networks.calls
    assert request.ipam.config[0].subnet == "10.0.0.0/24"
    assert request.labels == {"a": "b"}


async def test_connect_and_disconnect(networks: Networks) -> None:
    body = (
        b'{"Container":"web","EndpointConfig":{"IPAMConfig":{"IPv4Address":"10.0.0.9"},'
        b'"Links":null,"Aliases":["www"],"DriverOpts":null}}'
    )
    answer = await ask(networks, "POST", "/networks/{id}/connect", Request(body))
    assert answer.status == 200
    body = b'{"Container":"web","Force":true}'
    await ask(networks, "POST", "/networks/{id}/disconnect", Request(body))
    settings = EndpointSettings(
        ipam_config=EndpointIPAMConfig(ipv4_address="10.0.0.9"), aliases=["www"]
    )
    assert networks.calls == [("front", "web", settings), ("front", "web", True)]


async def test_filters_reach_the_service(networks: Networks) -> None:
    request = Request(query={"filters": ['{"name":{"x":true}}']})
    answer = await ask(networks, "GET", "/networks", request)
    assert answer.body == b"[]"
    assert networks.calls == [{"name": ["x"]}]


async def test_nothing_pruned_is_null(networks: Networks) -> None:
    answer = await ask(networks, "POST", "/networks/prune", Request())
    assert answer.body == b'{"NetworksDeleted":null}'


async def test_a_wrong_type_names_its_field(networks: Networks) -> None:
    with pytest.raises(InvalidParameter, match="Labels"):
        await ask(networks, "POST", "/networks/create", Request(b'{"Name":"x","Labels":3}'))


async def test_a_list_has_members_for_old_clients_alone(networks: Networks) -> None:
    networks.found = [{"Name": "front", "Options": {}, "Labels": {}}]
    request = Request()
    assert b"Containers" not in (await ask(networks, "GET", "/networks", request)).body
    request.version = (1, 51)
    answer = await ask(networks, "GET", "/networks", request)
    assert answer.body == b'[{"Name":"front","Containers":{},"Options":{},"Labels":{}}]'
