"""Where a registry is: its mirrors first, https before http, and whose certificate to trust."""

from __future__ import annotations

import ipaddress
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from naru.spec.errors import InternalError, InvalidParameter
from naru.spec.reference import DEFAULT_DOMAIN

HUB = "registry-1.docker.io"
_LOOPBACK = ("127.0.0.0/8", "::1/128")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """`url` has no path; `verify` is whether the server must prove its name."""

    url: str
    verify: bool = True
    mirror: bool = False

    @property
    def host(self) -> str:
        return urlsplit(self.url).netloc


class Resolver:
    """`insecure`: hosts, host:port or CIDR ranges; loopback always is. `mirrors`: URLs for Docker
    Hub, or `registry=URL` for any other registry. Raises `InvalidParameter` for a bad one."""

    def __init__(
        self,
        *,
        insecure: Sequence[str] = (),
        mirrors: Sequence[str] = (),
        certs: Path = Path("/etc/docker/certs.d"),
    ) -> None:
        self._certs = certs
        self._networks: list[ipaddress.IPv4Network | ipaddress.IPv6Network] = []
        self._hosts: set[str] = set()
        for text in (*insecure, *_LOOPBACK):
            try:
                self._networks.append(ipaddress.ip_network(text))
            except ValueError:
                if "://" in text or "/" in text:
                    raise InvalidParameter(f"insecure registry {text} is not valid") from None
                self._hosts.add(text.lower())
        self._mirrors: dict[str, list[str]] = {}
        for text in mirrors:
            registry, equals, url = text.partition("=")
            if not equals or "://" in registry:
                registry, url = DEFAULT_DOMAIN, text
            parts = urlsplit(url)
            if parts.scheme not in ("http", "https") or not parts.netloc or parts.query:
                raise InvalidParameter(f"invalid mirror: {text!r} is not a valid URI")
            self._mirrors.setdefault(registry, []).append(url.rstrip("/"))

    def endpoints(self, domain: str, *, push: bool = False) -> list[Endpoint]:
        """In the order in which to try them. Nothing is pushed to a mirror."""
        found = []
        for url in () if push else self._mirrors.get(domain, ()):
            host = urlsplit(url).netloc
            found.append(Endpoint(url, verify=not self.is_insecure(host), mirror=True))
        if domain == DEFAULT_DOMAIN:
            found.append(Endpoint(f"https://{HUB}"))
        elif self.is_insecure(domain):
            found += [Endpoint(f"https://{domain}", verify=False), Endpoint(f"http://{domain}")]
        else:
            found.append(Endpoint(f"https://{domain}"))
        return found

    def is_insecure(self, host: str) -> bool:
        name = urlsplit(f"//{host}").hostname or host
        if host.lower() in self._hosts or name.lower() in self._hosts or name == "localhost":
            return True
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return False
        return any(address in network for network in self._networks)

    def tls(self, endpoint: Endpoint) -> ssl.SSLContext:
        """What certs.d/<host> says: *.crt are authorities, *.cert with *.key is who we are."""
        context = ssl.create_default_context()
        if not endpoint.verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        folder = self._certs / endpoint.host
        try:
            for path in sorted(folder.glob("*.crt")):
                context.load_verify_locations(path)
            for path in sorted(folder.glob("*.cert")):
                key = path.with_suffix(".key")
                if not key.exists():
                    raise InternalError(
                        f"missing key {key.name} for client certificate {path.name}"
                    )
                context.load_cert_chain(path, key)
        except (OSError, ssl.SSLError) as error:
            raise InternalError(f"invalid certificates in {folder}: {error}") from error
        return context
