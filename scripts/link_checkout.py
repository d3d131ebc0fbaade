"""Make the checkout importable in its own .venv, and write its executables there.

An editable install without a build back end: one `.pth` line, distribution metadata, and a script
for each entry of `[project.scripts]`, short because the start-up time of `naru` counts.
"""

from __future__ import annotations

import sys
import sysconfig
import tomllib
from pathlib import Path

checkout = Path(__file__).resolve().parent.parent
project = tomllib.loads((checkout / "pyproject.toml").read_text())["project"]
site = Path(sysconfig.get_path("purelib"))
scripts = Path(sysconfig.get_path("scripts"))

(site / "naru_engine.pth").write_text(f"{checkout / 'src'}\n")

for name, entry in project["scripts"].items():
    module, function = entry.split(":")
    program = scripts / name
    program.write_text(
        f"#!{sys.executable}\nimport sys\n\n"
        f"from {module} import {function}\n\nsys.exit({function}())\n"
    )
    program.chmod(0o755)
