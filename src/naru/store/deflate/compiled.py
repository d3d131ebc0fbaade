"""Functions made of small steps, compiled by numba where it is installed (the extra `deflate`).

They are plain Python over numpy arrays and mean the same when they are not compiled, as they are
with NUMBA_DISABLE_JIT=1; then they take some hundred times as long. Whoever imports this package's
modules imports numba, which takes half a second: only workers do.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

F = TypeVar("F", bound=Callable[..., Any])
_HERE = Path(__file__).parent


def compiled(function: F) -> F:
    import numba

    return cast(F, numba.njit(cache=_CACHE is not None)(function))


def inlined(function: F) -> F:
    """The same for what each step calls: to hand over an array would cost more than the step."""
    import numba

    return cast(F, numba.njit(cache=_CACHE is not None, forceinline=True)(function))


def _cache() -> Path | None:
    """Where machine code is kept: beside the byte code if that may be written, or in the home.

    numba looks only at the file of a function to see whether what it kept of it still holds. What
    that function calls may have changed too, so that there is a folder for each state of all files.
    """
    state = hashlib.sha256()
    for file in sorted(_HERE.glob("*.py")):
        state.update(file.read_bytes())
    for folder in (_HERE / "__pycache__", Path.home() / ".cache" / "naru"):
        kept = folder / f"native-{state.hexdigest()[:16]}"
        try:
            kept.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError:
            continue
        if os.access(kept, os.W_OK) and kept.stat().st_uid == os.geteuid():
            return kept
    return None


_CACHE = _cache()
if _CACHE is not None:
    os.environ.setdefault("NUMBA_CACHE_DIR", str(_CACHE))
