from __future__ import annotations

import pytest

from naru.api.messages import Answer, Handler, Request, Response
from naru.api.router import RouteTable


def handler(name: str) -> Handler:
    async def answer(request: Request) -> Answer:
        return Response(name)

    answer.__name__ = name
    return answer


def table(*patterns: str) -> RouteTable:
    router = RouteTable()
    for pattern in patterns:
        router.add("GET", pattern, handler(pattern))
    return router


def found(router: RouteTable, path: str, method: str = "GET") -> tuple[str, dict[str, str]] | None:
    match = router.match(method, path)
    return None if match is None else (match.handler.__name__, match.params)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/containers/json", ("/containers/json", {})),
        ("/containers/abc/json", ("/containers/{id}/json", {"id": "abc"})),
        ("/containers/a/b/json", None),
        ("/containers//json", None),
        ("/containers/abc/json/", None),
        ("/images/json", ("/images/json", {})),
        ("/images/reg:5000/a/b:c/json", ("/images/{name:.*}/json", {"name": "reg:5000/a/b:c"})),
        ("/images/a%b/json", ("/images/{name:.*}/json", {"name": "a%b"})),
        ("/volumes/x", ("/volumes/{name:.*}", {"name": "x"})),
        ("/volumes/x/y\nz", ("/volumes/{name:.*}", {"name": "x/y\nz"})),
        ("/exec.d/x", None),
        ("", None),
        ("containers/json", None),
    ],
)
def test_patterns(path: str, expected: tuple[str, dict[str, str]] | None) -> None:
    router = table(
        "/images/{name:.*}/json",
        "/images/json",
        "/containers/{id}/json",
        "/containers/json",
        "/volumes/{name:.*}",
        "/exec/{id}",
    )
    assert found(router, path) == expected


def test_methods_are_apart() -> None:
    router = table("/containers/{id}")
    router.add("DELETE", "/containers/{id}", handler("delete"))
    assert found(router, "/containers/x", "DELETE") == ("delete", {"id": "x"})
    assert found(router, "/containers/x", "POST") is None


def test_a_fixed_path_wins_over_an_earlier_placeholder() -> None:
    router = table("/networks/{id}", "/networks/prune")
    assert found(router, "/networks/prune") == ("/networks/prune", {})


@pytest.mark.parametrize("pattern", ["/a/b", "/a/{id}"])
def test_a_route_is_registered_once(pattern: str) -> None:
    router = table(pattern)
    with pytest.raises(ValueError, match="registered twice"):
        router.add("GET", pattern, handler("again"))


@pytest.mark.parametrize("pattern", ["{id}", "/{id}/json", "containers"])
def test_a_route_begins_with_a_fixed_segment(pattern: str) -> None:
    with pytest.raises(ValueError, match="fixed segment"):
        table(pattern)
