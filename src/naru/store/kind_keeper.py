"""Unpacking over what is there already, as `docker cp` does: files replace files only."""

from __future__ import annotations

import os
import stat

from naru.spec.errors import InvalidParameter
from naru.store.extract import Extractor
from naru.store.tarentry import DIRECTORY, Entry


class KindKeeper(Extractor):
    """Refuses to put a file where a directory is, or a directory where something else is."""

    def _replace(self, directory: int, name: str, entry: Entry) -> None:
        """Called when something is in a member's place, unless both are directories."""
        status = os.stat(name, dir_fd=directory, follow_symlinks=False)
        is_directory = stat.S_ISDIR(status.st_mode)
        shown = entry.name.rstrip("/")
        if is_directory and entry.kind != DIRECTORY:
            raise InvalidParameter(f'cannot overwrite directory "{shown}" with non-directory')
        if not is_directory and entry.kind == DIRECTORY:
            raise InvalidParameter(f'cannot overwrite non-directory "{shown}" with directory')
        super()._replace(directory, name, entry)
