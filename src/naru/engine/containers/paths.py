"""Where the files of a container are: names only, nothing is opened here."""

from __future__ import annotations

from pathlib import Path

import msgspec


class ContainerPaths(msgspec.Struct, frozen=True):
    data_root: Path
    exec_root: Path

    @property
    def containers(self) -> Path:
        return self.data_root / "containers"

    @property
    def bundles(self) -> Path:
        return self.exec_root / "containers"

    def directory(self, container_id: str) -> Path:
        """Its hosts, hostname, resolv.conf and log; made first, removed last."""
        return self.containers / container_id

    def log(self, container_id: str) -> Path:
        return self.directory(container_id) / f"{container_id}-json.log"

    def shm(self, container_id: str) -> Path:
        """The tmpfs that is /dev/shm where IPC is shared with other containers."""
        return self.directory(container_id) / "mounts" / "shm"

    def bundle(self, container_id: str) -> Path:
        return self.bundles / container_id
