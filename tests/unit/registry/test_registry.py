"""Credentials, endpoints, challenges and error texts."""

from __future__ import annotations

import asyncio
import base64
import errno
import json
import socket
from collections.abc import Mapping

import pytest

from naru.registry import answers, credentials
from naru.registry.answers import Refused
from naru.registry.credentials import ANONYMOUS, Credentials
from naru.registry.endpoints import Endpoint, Resolver
from naru.registry.login import registry_of
from naru.registry.tokens import Authorizer, parse_challenges
from naru.spec.errors import InternalError, InvalidParameter, NotFound, Unauthorized
from naru.spec.reference import parse


def _header(value: object, *, url: bool = True, padded: bool = True) -> str:
    encode = base64.urlsafe_b64encode if url else base64.b64encode
    text = encode(json.dumps(value).encode()).decode()
    return text if padded else text.rstrip("=")


@pytest.mark.parametrize("url", [True, False])
@pytest.mark.parametrize("padded", [True, False])
def test_auth_headers(url: bool, padded: bool) -> None:
    value = {"username": "ü?>", "password": "p~", "serveraddress": "x", "email": None}
    decoded = credentials.decode_header(_header(value, url=url, padded=padded))
    assert decoded == Credentials("ü?>", "p~")
    assert "p~" not in repr(decoded)


def test_other_forms_of_auth() -> None:
    assert credentials.decode_header("") == ANONYMOUS
    assert credentials.decode_header(_header({})) == ANONYMOUS
    auth = base64.b64encode(b"me:secret:with:colons").decode()
    assert credentials.decode_header(_header({"auth": auth})) == Credentials(
        "me", "secret:with:colons"
    )
    any_case = {"Username": "me", "PASSWORD": "word", "username": None}
    assert credentials.decode_header(_header(any_case)) == Credentials("me", "word")
    token = credentials.decode_header(_header({"identitytoken": "refresh"}))
    assert token.identity_token == "refresh"
    for bad in ("!!!", _header([1]), _header({"username": 1})):
        with pytest.raises(InvalidParameter, match="X-Registry-Auth"):
            credentials.decode_header(bad)


def test_endpoints() -> None:
    resolver = Resolver(
        insecure=["10.0.0.0/8", "plain.example:5000"],
        mirrors=["https://hub-mirror.example", "other.example=http://mirror.example:80/"],
    )
    assert resolver.endpoints("docker.io") == [
        Endpoint("https://hub-mirror.example", mirror=True),
        Endpoint("https://registry-1.docker.io"),
    ]
    assert resolver.endpoints("docker.io", push=True) == [Endpoint("https://registry-1.docker.io")]
    assert resolver.endpoints("other.example") == [
        Endpoint("http://mirror.example:80", mirror=True), Endpoint("https://other.example"),
    ]  # fmt: skip
    for insecure in (
        "127.0.0.1:5000",
        "localhost:1",
        "[::1]:5000",
        "10.1.2.3",
        "plain.example:5000",
    ):
        assert resolver.endpoints(insecure) == [
            Endpoint(f"https://{insecure}", verify=False), Endpoint(f"http://{insecure}"),
        ]  # fmt: skip
    assert resolver.endpoints("plain.example") == [Endpoint("https://plain.example")]
    for bad in ("ftp://x", "no-scheme"):
        with pytest.raises(InvalidParameter, match="invalid mirror"):
            Resolver(mirrors=[bad])


def test_challenges() -> None:
    [bearer, basic] = parse_challenges([
        'Bearer realm="https://auth.example/token",service="reg, istry",scope="repository:a:pull"',
        "Basic realm=x",
    ])  # fmt: skip
    assert bearer.scheme == "bearer"
    assert bearer.params["service"] == "reg, istry"
    assert bearer.params["scope"] == "repository:a:pull"
    assert basic.params == {"realm": "x"}


class _Realm:
    def __init__(self) -> None:
        self.asked: list[tuple[str, str, Mapping[str, str], bytes | None]] = []

    async def fetch(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None
    ) -> bytes:
        self.asked.append((method, url, headers, body))
        return json.dumps({"token": f"t{len(self.asked)}", "refresh_token": "next"}).encode()


async def test_bearer_tokens_are_fetched_once_for_each_scope() -> None:
    realm = _Realm()
    authorizer = Authorizer(Credentials("me", "pw"), realm.fetch)
    scopes = ("repository:a:pull",)
    assert await authorizer.header(scopes) is None
    challenge = ['Bearer realm="https://r/t?x=1",service="s"']
    assert await authorizer.challenged(challenge, scopes, None)
    assert await authorizer.header(scopes) == "Bearer t1"
    assert await authorizer.header(scopes) == "Bearer t1"
    [(method, url, headers, _)] = realm.asked
    assert method == "GET"
    assert url == "https://r/t?x=1&service=s&scope=repository%3Aa%3Apull&account=me"
    assert headers["Authorization"].startswith("Basic ")
    # A new token that is refused is refused for good.
    assert not await authorizer.challenged(challenge, scopes, "Bearer t1")


async def test_a_token_that_has_expired_is_renewed_once_for_all() -> None:
    realm = _Realm()
    authorizer = Authorizer(ANONYMOUS, realm.fetch)
    challenge = ['Bearer realm="https://r/t",service="s",error="invalid_token"']
    assert await authorizer.challenged(challenge, (), None)
    for number in (1, 2, 3):
        sent = await authorizer.header(())
        assert sent == f"Bearer t{number}"
        authorizer.taken((), sent)
        assert await authorizer.challenged(challenge, (), sent)
        # Another request that was sent with it learns of it after the first.
        renewed = await asyncio.gather(authorizer.header(()), authorizer.header(()))
        assert renewed == [f"Bearer t{number + 1}"] * 2
        assert await authorizer.challenged(challenge, (), sent)
    assert len(realm.asked) == 4


async def test_identity_tokens_are_renewed() -> None:
    realm = _Realm()
    authorizer = Authorizer(Credentials(identity_token="first"), realm.fetch)
    await authorizer.challenged(['Bearer realm="https://r/t",service="s"'], (), None)
    assert await authorizer.header(()) == "Bearer t1"
    assert realm.asked[0][0] == "POST"
    assert b"refresh_token=first" in (realm.asked[0][3] or b"")
    assert authorizer.identity_token == "next"


async def test_basic() -> None:
    authorizer = Authorizer(Credentials("me", "pw"), _Realm().fetch)
    assert await authorizer.challenged(["Basic realm=x"], (), None)
    assert await authorizer.header(()) == "Basic " + base64.b64encode(b"me:pw").decode()
    assert not await authorizer.challenged(["Basic realm=x"], (), None)
    with pytest.raises(Unauthorized, match="no basic auth credentials"):
        await Authorizer(ANONYMOUS, _Realm().fetch).challenged(["Basic realm=x"], (), None)


def _refused(status: int, code: str = "", message: str = "", challenge: str = "") -> Refused:
    body = json.dumps({"errors": [{"code": code, "message": message}]}) if code else "<html>"
    return Refused("GET", "https://r/v2/x", status, body.encode(), [challenge])


@pytest.mark.parametrize(
    ("error", "kind", "text"),
    [
        (
            _refused(404, "MANIFEST_UNKNOWN", "manifest unknown"),
            NotFound,
            "manifest for r.example/x:1 not found: manifest unknown: manifest unknown",
        ),
        (
            _refused(401, "DENIED", "requested access to the resource is denied"),
            NotFound,
            "pull access denied for r.example/x, repository does not exist or may require"
            " 'docker login': denied: requested access to the resource is denied",
        ),
        (
            _refused(404, "NAME_UNKNOWN", "repository name not known to registry"),
            NotFound,
            "repository r.example/x not found: name unknown: repository name not known to registry",
        ),
        (_refused(404), NotFound, "manifest for r.example/x:1 not found: manifest unknown: manifest"
                                  " unknown"),
        (_refused(401), InternalError, "unauthorized: authentication required"),
        (
            _refused(401, challenge='Bearer realm="r",error="insufficient_scope"'),
            NotFound,
            "pull access denied for r.example/x, repository does not exist or may require"
            " 'docker login': denied: requested access to the resource is denied",
        ),
        (
            Refused("GET", "https://r/t", 401, b'{"details": "incorrect username"}').at(
                "GET", "https://r/v2/x"
            ),
            InternalError,
            'Head "https://r/v2/x": unauthorized: incorrect username',
        ),
    ],
)  # fmt: skip
def test_texts(error: Refused, kind: type[Exception], text: str) -> None:
    made = answers.pull_error(parse("r.example/x:1"), error)
    assert type(made) is kind
    assert str(made) == text


def test_server_addresses() -> None:
    assert registry_of("https://index.docker.io/v1/") == "docker.io"
    assert registry_of("") == "docker.io"
    assert registry_of("https://r.example:5000/v2/") == "r.example:5000"


@pytest.mark.parametrize(("url", "number", "text"), [
    ("https://r.example/v2/", errno.ECONNREFUSED, "dial tcp r.example:443: connect: connection refused"),
    ("http://r.example/v2/", errno.EHOSTUNREACH, "dial tcp r.example:80: connect: no route to host"),
    ("https://[::1]/v2/", errno.ENETUNREACH, "dial tcp [::1]:443: connect: network is unreachable"),
    ("https://[::1]:5/v2/", errno.ECONNREFUSED, "dial tcp [::1]:5: connect: connection refused"),
])  # fmt: skip
def test_what_cannot_be_reached_is_told_with_its_port(url: str, number: int, text: str) -> None:
    told = answers.unreachable_text("GET", url, OSError(number, "x"))
    assert told == f'Get "{url}": {text}'


def test_a_name_that_nobody_answered_for_may_exist() -> None:
    for number, said in (
        (socket.EAI_NONAME, "no such host"),
        (socket.EAI_AGAIN, "Temporary failure in name resolution"),
    ):
        told = answers.unreachable_text(
            "GET", "https://r.example:5/v2/", socket.gaierror(number, "")
        )
        assert told == f'Get "https://r.example:5/v2/": dial tcp: lookup r.example: {said}'
