from __future__ import annotations

import subprocess
import sys

_CODE = """
import os, resource
from naru.kernel import descriptors

def soft():
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]

resource.setrlimit(resource.RLIMIT_NOFILE, (200, 400))
with descriptors.limit_as_given():
    assert soft() == 200
assert descriptors.raise_limit() == 400 == soft()
assert descriptors.raise_limit() == 400
with descriptors.limit_as_given():
    assert soft() == 200
assert soft() == 400
"""


def test_what_is_started_gets_the_limit_that_we_were_given() -> None:
    subprocess.run([sys.executable, "-c", _CODE], check=True)
