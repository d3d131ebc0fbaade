"""`naru stats`: resource usage, once or as a live table."""

from __future__ import annotations

import sys

from naru.cli.client import query
from naru.cli.commands.verbs import at
from naru.cli.failures import ApiError
from naru.cli.flags import Parser
from naru.cli.jsontext import loads
from naru.cli.output import listing
from naru.cli.units import binary_size, human_size_precise, short_id

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from naru.cli.flags import Values
    from naru.cli.main import Context

FLAGS = """
-a --all = Show all containers (default shows just running)
--format string = 'table', 'table TEMPLATE', 'json' or a Go template
--no-stream = Only show the first result
--no-trunc = Do not truncate output
"""
HEADERS = {
    "Container": "CONTAINER", "ID": "CONTAINER ID", "Name": "NAME", "CPUPerc": "CPU %",
    "MemUsage": "MEM USAGE / LIMIT", "MemPerc": "MEM %", "NetIO": "NET I/O",
    "BlockIO": "BLOCK I/O", "PIDs": "PIDS",
}  # fmt: skip
_MISSING = {"CPUPerc": "--", "MemUsage": "-- / --", "MemPerc": "--", "NetIO": "--",
            "BlockIO": "--", "PIDs": "--"}  # fmt: skip


def cpu_percent(sample: dict[str, Any]) -> float:
    now, before = sample["cpu_stats"], sample.get("precpu_stats") or {}
    usage = now["cpu_usage"]["total_usage"] - (before.get("cpu_usage") or {}).get("total_usage", 0)
    system = now.get("system_cpu_usage", 0) - before.get("system_cpu_usage", 0)
    if usage <= 0 or system <= 0:
        return 0.0
    cpus = now.get("online_cpus") or len(now["cpu_usage"].get("percpu_usage") or []) or 1
    return float(usage / system * cpus * 100)


def memory(sample: dict[str, Any]) -> tuple[int, int]:
    """(used without what the page cache can give back, limit)."""
    stats = sample.get("memory_stats") or {}
    usage = stats.get("usage") or 0
    detail = stats.get("stats") or {}
    cache = detail.get("total_inactive_file", detail.get("inactive_file", 0))
    return (usage - cache if cache < usage else usage), stats.get("limit") or 0


def row(name: str, sample: dict[str, Any] | None, *, full: bool) -> dict[str, object]:
    if not sample or not sample.get("id"):
        return {"Container": name, "ID": name if full else short_id(name), "Name": "--", **_MISSING}
    used, limit = memory(sample)
    networks = (sample.get("networks") or {}).values()
    received = sum(entry["rx_bytes"] for entry in networks)
    sent = sum(entry["tx_bytes"] for entry in networks)
    blocks = (sample.get("blkio_stats") or {}).get("io_service_bytes_recursive") or []
    read = sum(entry["value"] for entry in blocks if entry["op"][:1] in "rR")
    written = sum(entry["value"] for entry in blocks if entry["op"][:1] in "wW")
    return {
        "Container": name,
        "ID": sample["id"] if full else short_id(sample["id"]),
        "Name": sample["name"].removeprefix("/"),
        "CPUPerc": f"{cpu_percent(sample):.2f}%",
        "MemUsage": f"{binary_size(used)} / {binary_size(limit)}",
        "MemPerc": f"{used / limit * 100 if limit else 0:.2f}%",
        "NetIO": f"{human_size_precise(received, 3)} / {human_size_precise(sent, 3)}",
        "BlockIO": f"{human_size_precise(read, 3)} / {human_size_precise(written, 3)}",
        "PIDs": str((sample.get("pids_stats") or {}).get("current", 0)),
    }


class Collector:
    """Keeps the newest sample of each container, a thread for each."""

    def __init__(self, context: Context) -> None:
        import threading

        self._context = context
        self.changed = threading.Condition()
        self.samples: dict[str, dict[str, Any] | None] = {}
        self.failure: ApiError | None = None

    def follow(self, name: str, *, stream: bool) -> None:
        import threading

        with self.changed:
            if name in self.samples:
                return
            self.samples[name] = None
        threading.Thread(target=self._read, args=(name, stream), daemon=True).start()

    def _read(self, name: str, stream: bool) -> None:
        try:
            path = at(name, "/stats") + query(stream="1" if stream else "0")
            for line in self._context.client.call("GET", path).lines():
                with self.changed:
                    self.samples[name] = loads(line)
                    self.changed.notify_all()
        except ApiError as error:
            with self.changed:
                self.failure = error
                self.changed.notify_all()
        finally:
            with self.changed:
                if stream:
                    self.samples.pop(name, None)
                self.changed.notify_all()

    def wait_all(self, timeout: float) -> None:
        """Until each has a sample; a container that has stopped sends an empty one."""
        with self.changed:
            self.changed.wait_for(
                lambda: self.failure is not None or all(self.samples.values()), timeout
            )


def run(context: Context, values: Values, names: list[str]) -> None:
    stream = not values["no-stream"]
    full, form = values["no-trunc"], values["format"]
    collector = Collector(context)
    context.client.negotiate()

    def listed() -> list[str]:
        if names:
            return names
        items = context.client.get("/containers/json" + query(all=values["all"]))
        return [item["Id"] for item in items]

    for name in listed():
        collector.follow(name, stream=stream)
    terminal = sys.stdout.isatty()
    columns = ["ID", "Name", "CPUPerc", "MemUsage", "MemPerc", "NetIO", "BlockIO", "PIDs"]
    collector.wait_all(5.0)
    if terminal and stream:
        sys.stdout.write("\x1b[2J")
    while True:
        if collector.failure is not None and names:
            raise collector.failure
        with collector.changed:
            samples = dict(collector.samples)
        rows = [row(name, sample, full=full) for name, sample in samples.items()]
        text = listing(rows, HEADERS, columns, form, kind="formatter.statsContext")
        if terminal and stream:
            text = "\x1b[H" + text.replace("\n", "\x1b[K\n") + "\x1b[J"
        sys.stdout.write(text)
        sys.stdout.flush()
        if not stream or (names and not samples):
            return
        with collector.changed:
            collector.changed.wait(1.0)
        for name in listed() if not names else ():
            collector.follow(name, stream=True)


COMMANDS = {
    "container stats": lambda path: (
        Parser(path, f"{path} [OPTIONS] [CONTAINER...]", FLAGS,
               about="Display resource usage of containers"),
        run,
    )
}  # fmt: skip
