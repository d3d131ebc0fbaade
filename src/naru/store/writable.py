"""A container's layer by its driver, with what goes wrong said in the engine's words."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from naru.spec.errors import InternalError, NoSpace, NotFound
from naru.store.driver import StorageDriver
from naru.store.room import is_full


def create(
    driver: StorageDriver, container_id: str, base: str, *, chain_id: str, size: int | None
) -> None:
    """Make it over `base`, the driver's name of the image's layers `chain_id`; or leave nothing."""
    try:
        driver.create(container_id, base, writable=True, size=size)
    except BaseException as error:
        driver.remove(container_id)
        if isinstance(error, FileNotFoundError):
            raise NotFound(f"layer {chain_id} does not exist") from error
        if is_full(error) and isinstance(error, OSError):
            raise NoSpace(f"no space left on device: {error}") from error
        if isinstance(error, OSError):
            raise InternalError(f"cannot make the container's layer: {error}") from error
        raise


@contextmanager
def mounting(driver: StorageDriver, container_id: str, target: Path) -> Iterator[None]:
    """The block mounts it."""
    try:
        yield
    except FileNotFoundError as error:
        raise NotFound(
            f"container {container_id[:12]} has lost its files: {driver.name} has no layer of it"
            f" ({error})"
        ) from error
    except OSError as error:
        raise InternalError(f"error creating {driver.name} mount to {target}: {error}") from error
