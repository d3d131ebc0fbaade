"""`naru network create|ls|rm|connect|disconnect`."""

from __future__ import annotations

import sys

from naru.cli.client import percent, query
from naru.cli.failures import ApiError, CliError, Quit
from naru.cli.filters import filters, labels_text
from naru.cli.flags import Parser
from naru.cli.options.networks import endpoint
from naru.cli.options.variables import key_values
from naru.cli.output import listing
from naru.cli.times import go_time, parse_rfc3339
from naru.cli.units import short_id

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from naru.cli.flags import Values
    from naru.cli.main import Context

CREATE_FLAGS = """
--attachable = Allow containers to attach by hand
--aux-address map = Addresses the driver uses itself
--config-from string = Network to copy the configuration from
--config-only = Create a configuration-only network
-d --driver string:bridge = Network driver
--gateway strings = Gateway of the subnet
--ingress = Create a swarm ingress network
--internal = Restrict external access
--ip-range strings = Allocate container addresses from this range
--ipam-driver string:default = IPAM driver
--ipam-opt map = Option of the IPAM driver
--ipv4 bool:true = Assign IPv4 addresses
--ipv6 = Assign IPv6 addresses
--label list = Set a label
-o --opt map = Option of the network driver
--scope string = Scope of the network
--subnet strings = Subnet in CIDR form
"""
LS_FLAGS = """
-f --filter filter = Filter output by conditions
--format string = 'table', 'table TEMPLATE', 'json' or a Go template
--no-trunc = Do not truncate the output
-q --quiet = Only display network IDs
"""
CONNECT_FLAGS = """
--alias strings = Add a network-scoped alias
--driver-opt strings = Option of the network driver
--gw-priority int = The highest one gives the default gateway
--ip string = IPv4 address
--ip6 string = IPv6 address
--link list = Add a link to another container
--link-local-ip strings = Add a link-local address
"""
HEADERS = {
    "ID": "NETWORK ID", "Name": "NAME", "Driver": "DRIVER", "Scope": "SCOPE", "IPv6": "IPV6",
    "IPv4": "IPV4", "Internal": "INTERNAL", "Labels": "LABELS", "CreatedAt": "CREATED AT",
}  # fmt: skip


def _contains(subnet: str, address: str) -> bool:
    import ipaddress

    try:
        return ipaddress.ip_address(address.partition("/")[0]) in ipaddress.ip_network(
            subnet, strict=False
        )
    except ValueError as error:
        raise CliError(str(error)) from None


def ipam_config(values: Values) -> list[dict[str, Any]]:
    """Subnets with the ranges, gateways and addresses that lie in them."""
    subnets: list[str] = values["subnet"]
    if len(subnets) < len(values["ip-range"]) or len(subnets) < len(values["gateway"]):
        raise CliError("every ip-range or gateway must have a corresponding subnet")
    made: dict[str, dict[str, Any]] = {subnet: {"Subnet": subnet} for subnet in subnets}

    def place(address: str, what: str) -> dict[str, Any]:
        for subnet, config in made.items():
            if _contains(subnet, address):
                return config
        raise CliError(f"no matching subnet for {what} {address}")

    for text in values["ip-range"]:
        config = place(text, "range")
        if "IPRange" in config:
            raise CliError(
                f"cannot configure multiple ranges ({text}, {config['IPRange']}) "
                f"on the same subnet ({config['Subnet']})"
            )
        config["IPRange"] = text
    for text in values["gateway"]:
        config = place(text, "gateway")
        if "Gateway" in config:
            raise CliError(
                f"cannot configure multiple gateways ({text}, {config['Gateway']}) "
                f"for the same subnet ({config['Subnet']})"
            )
        config["Gateway"] = text
    for name, address in key_values(values["aux-address"]).items():
        place(address, "aux-address").setdefault("AuxiliaryAddresses", {})[name] = address
    return list(made.values())


def create(context: Context, values: Values, arguments: list[str]) -> None:
    asked: dict[str, Any] = {
        "Name": arguments[0],
        "Driver": values["driver"],
        "Scope": values["scope"],
        "IPAM": {
            "Driver": values["ipam-driver"],
            "Options": key_values(values["ipam-opt"]),
            "Config": ipam_config(values),
        },
        "Internal": values["internal"],
        "Attachable": values["attachable"],
        "Ingress": values["ingress"],
        "ConfigOnly": values["config-only"],
        "ConfigFrom": {"Network": values["config-from"]} if values["config-from"] else None,
        "Options": key_values(values["opt"]),
        "Labels": key_values(values["label"]),
    }
    for flag, name in (("ipv4", "EnableIPv4"), ("ipv6", "EnableIPv6")):
        if flag in values.given:
            asked[name] = values[flag]
    print(context.client.post("/networks/create", asked)["Id"])


def ls(context: Context, values: Values, arguments: list[str]) -> None:
    items = context.client.get("/networks" + query(filters=filters(values["filter"])))
    items.sort(key=lambda item: item["Name"])
    full = values["no-trunc"]
    rows: list[dict[str, object]] = []
    for item in items:
        labels = item.get("Labels") or {}
        rows.append(
            {
                "ID": item["Id"] if full else short_id(item["Id"]),
                "Name": item["Name"],
                "Driver": item["Driver"],
                "Scope": item["Scope"],
                "IPv4": "true" if item.get("EnableIPv4") else "false",
                "IPv6": "true" if item.get("EnableIPv6") else "false",
                "Internal": "true" if item.get("Internal") else "false",
                "Labels": labels_text(labels),
                "CreatedAt": go_time(*parse_rfc3339(item["Created"])),
            }
        )
        if values["format"] not in ("", "table", "json"):
            rows[-1]["Label"] = labels.get
    if values["quiet"] and not values["format"]:
        for made in rows:
            print(made["ID"])
        return
    columns = ["ID", "Name", "Driver", "Scope"]
    print(listing(rows, HEADERS, columns, values["format"], kind="network.networkContext"), end="")


def remove(context: Context, values: Values, names: list[str]) -> None:
    failed = False
    for name in names:
        try:
            context.client.delete(f"/networks/{percent(name)}")
        except ApiError as error:
            if values["force"] and error.code == 404:
                continue
            print(error.message, file=sys.stderr)
            failed = True
        else:
            print(name, flush=True)
    if failed:
        print("exit status 1", file=sys.stderr)
        raise Quit(1)


def connect(context: Context, values: Values, arguments: list[str]) -> None:
    network, container = arguments
    for text in values["driver-opt"]:
        if "=" not in text:
            raise CliError(f"invalid key/value pair format in driver options: {text}")
    asked = {
        "alias": values["alias"],
        "driver-opt": values["driver-opt"],
        "gw-priority": values["gw-priority"],
        "ip": values["ip"],
        "ip6": values["ip6"],
        "link-local-ip": values["link-local-ip"],
    }
    context.client.post(
        f"/networks/{percent(network)}/connect",
        {"Container": container, "EndpointConfig": endpoint(asked, values["link"])},
    )


def disconnect(context: Context, values: Values, arguments: list[str]) -> None:
    network, container = arguments
    context.client.post(
        f"/networks/{percent(network)}/disconnect",
        {"Container": container, "Force": values["force"]},
    )


COMMANDS = {
    "network create": lambda path: (
        Parser(path, f"{path} [OPTIONS] NETWORK", CREATE_FLAGS, least=1, most=1,
               about="Create a network"),
        create,
    ),
    "network ls": lambda path: (
        Parser(path, f"{path} [OPTIONS]", LS_FLAGS, most=0, about="List networks"),
        ls,
    ),
    "network rm": lambda path: (
        Parser(path, f"{path} NETWORK [NETWORK...]", "-f --force = Ignore missing networks",
               least=1, about="Remove one or more networks"),
        remove,
    ),
    "network connect": lambda path: (
        Parser(path, f"{path} [OPTIONS] NETWORK CONTAINER", CONNECT_FLAGS, least=2, most=2,
               about="Connect a container to a network"),
        connect,
    ),
    "network disconnect": lambda path: (
        Parser(path, f"{path} [OPTIONS] NETWORK CONTAINER",
               "-f --force = Disconnect a stopped or missing container too", least=2, most=2,
               about="Disconnect a container from a network"),
        disconnect,
    ),
}  # fmt: skip
