"""A registry that misbehaves on purpose: tokens, broken connections, errors, wrong bytes."""

from __future__ import annotations

import asyncio
import base64
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from naru.spec.oci import DOCKER_LIST, DOCKER_MANIFEST
from tests.system.images.archives import layers, sha


@dataclass
class Asked:
    method: str
    path: str
    headers: dict[str, str]


@dataclass
class Answer:
    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    cut: int | None = None  # send so many bytes of the body, then break the connection


class FlakyRegistry:
    """Serves one image, `image:1`, as a list of two platforms. `spoil` may replace any answer."""

    def __init__(self) -> None:
        parts = layers()
        config = json.dumps({
            "architecture": "amd64", "os": "linux", "config": {"Cmd": ["x"]},
            "rootfs": {"type": "layers", "diff_ids": [sha(part) for part in parts]},
        }).encode()  # fmt: skip
        self.blobs = {sha(data): data for data in (config, *parts)}
        manifest = json.dumps({
            "schemaVersion": 2, "mediaType": DOCKER_MANIFEST,
            "config": {"mediaType": "c", "digest": sha(config), "size": len(config)},
            "layers": [{"mediaType": "l", "digest": sha(p), "size": len(p)} for p in parts],
        }).encode()  # fmt: skip
        entry = {"mediaType": DOCKER_MANIFEST, "digest": sha(manifest), "size": len(manifest)}
        other = {"architecture": "s390x", "os": "linux"}
        index = json.dumps({
            "schemaVersion": 2, "mediaType": DOCKER_LIST, "manifests": [
                {**entry, "digest": "sha256:" + "0" * 64, "platform": other},
                {**entry, "platform": {"architecture": "amd64", "os": "linux"}},
            ],
        }).encode()  # fmt: skip
        self.manifests = {"1": index, sha(index): index, sha(manifest): manifest}
        self.digest = sha(index)
        self.layers = [sha(part) for part in parts]
        self.asked: list[Asked] = []
        self.counts: Counter[str] = Counter()
        self.spoil: Callable[[Asked, Answer], Answer] = lambda _, answer: answer
        self.bearer = ""
        self.password = ""

    async def start(self) -> str:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.host = f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self.host

    async def stop(self) -> None:
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                if not line[:1].isalpha():
                    break  # a TLS hello
                method, path, _ = line.decode().split(" ")
                headers: dict[str, str] = {}
                while (header := await reader.readline()).strip():
                    name, _, value = header.decode().partition(":")
                    headers[name.lower()] = value.strip()
                asked = Asked(method, path, headers)
                self.asked.append(asked)
                self.counts[path] += 1
                answer = self.spoil(asked, self._answer(asked))
                head = f"HTTP/1.1 {answer.status} X\r\nContent-Length: {len(answer.body)}\r\n"
                head += "".join(f"{k}: {v}\r\n" for k, v in answer.headers.items())
                writer.write(head.encode() + b"\r\n" + answer.body[: answer.cut])
                await writer.drain()
                if answer.cut is not None:
                    break
        except (ConnectionError, ValueError):
            pass
        finally:
            writer.close()

    def _answer(self, asked: Asked) -> Answer:
        if asked.path.startswith("/token"):
            wanted = base64.b64encode(f"me:{self.password}".encode()).decode()
            if asked.headers.get("authorization") != f"Basic {wanted}":
                return Answer(401, b'{"details":"incorrect username or password"}')
            return Answer(body=json.dumps({"token": self.bearer}).encode())
        if self.bearer and asked.headers.get("authorization") != f"Bearer {self.bearer}":
            realm = f'Bearer realm="http://{self.host}/token",service="test"'
            return Answer(401, headers={"WWW-Authenticate": realm})
        if asked.path == "/v2/":
            return Answer()
        *_, kind, name = asked.path.split("/")
        if kind == "manifests" and name in self.manifests:
            return Answer(body=self.manifests[name])
        if kind == "blobs" and name in self.blobs:
            return _ranged(asked, self.blobs[name])
        return Answer(404, b'{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}')


def _ranged(asked: Asked, data: bytes) -> Answer:
    at = asked.headers.get("range", "")
    if not at:
        return Answer(body=data)
    return Answer(206, data[int(at.removeprefix("bytes=").removesuffix("-")) :])
