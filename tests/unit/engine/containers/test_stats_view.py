from __future__ import annotations

from tests.unit.engine.containers.test_logs import container

from naru.engine.containers import stats_view
from naru.engine.containers.stats_view import Sample
from naru.kernel.cgroup_stats import Block, BlockIo, Cpu, Memory, Pids, Stats

NET_DEV = """\
Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo
    lo:     100       1    0    0    0     0          0         0      100       1    0    0    0
  eth0:    2000      20    3    4    0     0          0         0     5000      50    6    7    0
"""


def sample(at: int, total: int) -> Sample:
    used = Stats(
        cpu=Cpu(total=total, user=total, per_cpu=[total]),
        memory=Memory(usage=10, limit=None, stat={"cache": 4}),
        block=Block(bytes=[BlockIo(8, 0, "Read", 7)]),
        pids=Pids(current=3),
    )
    return Sample(at, used, 99, 2, stats_view.interfaces(NET_DEV))


def test_shape() -> None:
    document = stats_view.encode(container(), sample(2, 50), sample(1, 20), machine_memory=1000)
    assert document["name"] == "/web"
    assert document["cpu_stats"]["cpu_usage"]["total_usage"] == 50
    assert document["precpu_stats"]["cpu_usage"]["total_usage"] == 20
    assert document["memory_stats"] == {"usage": 10, "stats": {"cache": 4}, "limit": 1000}
    assert document["pids_stats"] == {"current": 3}
    assert document["blkio_stats"]["io_service_bytes_recursive"] == [
        {"major": 8, "minor": 0, "op": "Read", "value": 7}
    ]
    assert document["blkio_stats"]["io_serviced_recursive"] is None
    assert document["networks"]["eth0"]["tx_dropped"] == 7
    assert set(document["networks"]) == {"eth0"}


def test_a_container_that_does_not_run_has_no_numbers() -> None:
    document = stats_view.encode(container(), None, None, machine_memory=1000)
    assert document["read"] == "0001-01-01T00:00:00Z"
    assert document["memory_stats"] == {}
    assert "networks" not in document


def test_system_time_is_the_first_line_without_guests() -> None:
    assert stats_view.system_cpu("cpu  1 2 3 4 5 6 7 8 9 9\ncpu0 1 1\n", tick=10) == 280
