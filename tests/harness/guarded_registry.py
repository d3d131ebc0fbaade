"""Debian's docker-registry behind a token server, on two ports of a network namespace."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from tests.harness.listening import await_listening
from tests.harness.netns import NetworkNamespace
from tests.harness.registry import Registry

_SERVICE = "tests registry"


class GuardedRegistry:
    """`address` goes before the repository's name.

    Ann may do everything below team/ and Bob read it; everybody may read what is below public/, and
    Ann write it.
    """

    USERS: Mapping[str, str] = MappingProxyType({"ann": "secret", "bob": "hidden"})

    def __init__(
        self, root: Path, netns: NetworkNamespace, *, port: int = 5000, revoke_every: int = 0
    ) -> None:
        """`revoke_every`: with that many requests, all tokens so far expire."""
        root.mkdir(parents=True)
        self.address = f"127.0.0.1:{port}"
        self._asked = root / "asked.jsonl"
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
             "-subj", "/CN=tokens", "-keyout", root / "token.key", "-out", root / "token.crt"],
            check=True, capture_output=True,
        )  # fmt: skip
        settings = root / "settings.json"
        everything = ["pull", "push"]
        settings.write_text(json.dumps({
            "port": port, "registry": port + 1, "service": _SERVICE, "users": dict(self.USERS),
            "revoke_every": revoke_every,
            "rights": {
                "": [["public/*", ["pull"]]],
                "ann": [["team/*", everything], ["public/*", everything]],
                "bob": [["team/*", ["pull"]]],
            },
        }))  # fmt: skip
        auth = {
            "token": {
                "realm": f"http://{self.address}/token", "service": _SERVICE, "issuer": "tests",
                "rootcertbundle": str(root / "token.crt"),
            }
        }  # fmt: skip
        with contextlib.ExitStack() as undo:
            undo.callback(Registry(root / "registry", netns, port + 1, auth=auth).close)
            server = subprocess.Popen(
                netns.command(sys.executable, "-m", "tests.harness.token_server", str(settings)),
                cwd=Path(__file__).parents[2],
                stdin=subprocess.DEVNULL,
            )
            undo.callback(server.wait, timeout=10)
            undo.callback(server.terminate)
            await_listening(server, netns, port)
            self._undo = undo.pop_all()

    def asked(self) -> list[dict[str, Any]]:
        """What the token server was asked since the last time, first to last."""
        lines = self._asked.read_text().splitlines()
        self._asked.write_text("")
        return [json.loads(line) for line in lines]

    def close(self) -> None:
        self._undo.close()
