from __future__ import annotations

from naru.network import files
from naru.network.files import ResolvConf

HOST = files.parse_resolv_conf(
    "# comment\nnameserver 127.0.0.53\nnameserver 10.1.1.1\nnameserver fd00::53\n"
    "search a.example b.example\noptions edns0 trust-ad\n"
)


def test_parsing() -> None:
    assert (
        ResolvConf(
            ("127.0.0.53", "10.1.1.1", "fd00::53"),
            ("a.example", "b.example"),
            ("edns0", "trust-ad"),
        )
        == HOST
    )
    assert files.parse_resolv_conf("domain x\nsearch y\n").search == ("y",)


def test_the_default_bridge_keeps_reachable_servers() -> None:
    assert files.for_bridge(HOST, given=False).servers == ("10.1.1.1",)
    assert files.for_bridge(HOST, given=False, ipv6=True).servers == ("10.1.1.1", "fd00::53")


def test_without_a_reachable_server_dockers_defaults_stand_in() -> None:
    only = ResolvConf(("127.0.0.1",))
    assert files.for_bridge(only, given=False).servers == ("8.8.8.8", "8.8.4.4")


def test_servers_given_by_the_user_stay_as_they_are() -> None:
    wanted = files.overridden(HOST, dns=["127.0.0.1"])
    assert files.for_bridge(wanted, given=True).servers == ("127.0.0.1",)


def test_a_dot_means_no_search_domain() -> None:
    assert files.overridden(HOST, search=["."]).search == ()
    assert files.overridden(HOST, search=["x"]).search == ("x",)
    assert files.overridden(HOST, options=["ndots:2"]).options == ("ndots:2",)


def test_user_networks_ask_the_embedded_server_for_names_without_dots() -> None:
    text = files.resolv_conf(files.for_resolver(HOST))
    assert text.splitlines()[1:] == [
        "nameserver 127.0.0.11",
        "search a.example b.example",
        "options edns0 trust-ad ndots:0",
    ]
    kept = files.for_resolver(ResolvConf(options=("ndots:3",)))
    assert kept.options == ("ndots:3",)


def test_hosts() -> None:
    text = files.hosts(
        addresses=["172.17.0.2"],
        hostname="web",
        domain="example.org",
        extra=files.extra_hosts(
            ["db:10.0.0.1", "six:[fd00::1]", "host:host-gateway"], ["172.17.0.1"]
        ),
    )
    assert text.splitlines() == [
        "127.0.0.1\tlocalhost",
        "::1\tlocalhost ip6-localhost ip6-loopback",
        "fe00::\tip6-localnet",
        "ff00::\tip6-mcastprefix",
        "ff02::1\tip6-allnodes",
        "ff02::2\tip6-allrouters",
        "10.0.0.1\tdb",
        "fd00::1\tsix",
        "172.17.0.1\thost",
        "172.17.0.2\tweb.example.org web",
    ]
    assert files.hostname("web") == "web\n"
