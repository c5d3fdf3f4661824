"""numpy's BLAS has one thread: see compiler/__init__.py."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import sim.cli
from pathlib import Path
import numpy
assert (numpy.ones((256, 256)) @ numpy.ones((256, 256)))[0, 0] == 256
print(len(list(Path("/proc/self/task").iterdir())))
"""


def threads(**environment: str) -> int:
    """Of a process that has imported the lpu command and multiplied."""
    kept = {name: value for name, value in os.environ.items() if name != "OPENBLAS_NUM_THREADS"}
    made = subprocess.run([sys.executable, "-c", PROGRAM], env=kept | environment, check=True, capture_output=True)
    return int(made.stdout)


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="counts the threads that Linux tells of")
def test_the_lpu_command_has_one_thread_unless_told_otherwise():
    assert threads() == 1
    if len(os.sched_getaffinity(0)) > 1:  # that threads would be counted
        assert threads(OPENBLAS_NUM_THREADS="2") == 2
