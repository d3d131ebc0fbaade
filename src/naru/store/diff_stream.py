"""A layer's changes as a stream that is read while it is written."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import BinaryIO, TypeVar, cast

from naru.kernel.workers import Workers
from naru.spec.errors import NaruError
from naru.store.apart import goes_apart, writing
from naru.store.compression import Readable
from naru.store.driver import StorageDriver
from naru.store.handover import Handover

T = TypeVar("T")

_BUFFER = 1 << 18


def take_diff(
    driver: StorageDriver, layer: str, take: Callable[[Readable], T], workers: Workers | None
) -> T:
    """Blocks. Call `take` with the layer's OCI changeset tar -> its result.

    A worker writes it where the driver can be used there, else a thread. Where that fails, its
    error is the one raised.
    """
    if apart := goes_apart(driver, workers):
        with writing(apart, _write_apart, driver, layer) as source:
            return take(source)
    between = Handover()
    failures: list[BaseException] = []

    def write() -> None:
        try:
            driver.diff(layer, cast(BinaryIO, between.writer))
            between.finish()
        except BaseException as error:
            failures.append(error)
            between.fail(error)

    thread = threading.Thread(target=write, name=f"diff of {layer[:12]}")
    thread.start()
    try:
        try:
            return take(between.reader)
        finally:
            between.leave()
            thread.join()
    except BaseException:
        if failures and isinstance(failures[0], NaruError):
            raise failures[0] from None
        raise


def _write_apart(fds: list[int], driver: StorageDriver, layer: str) -> None:
    """In a worker."""
    with open(fds[0], "wb", buffering=_BUFFER) as out:
        driver.diff(layer, out)
