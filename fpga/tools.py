"""Running the programs that make a bitstream: found in the package index's packages, streamed, logged, and blamed.

They are WebAssembly, in which absolute paths below the system's temporary folder do not exist: each runs in its own
folder and is given names without a path.
"""

from __future__ import annotations

import functools
import importlib.metadata
import re
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from sim.toolchain import BuildFailed, ToolMissing

EXTRA = "openlpu[fpga]"

LAST_LINES = 8
"""Of what a program said before it failed, where nothing looks like an error."""

ERROR = re.compile(r"\berror\b|exception|assert|cannot|unable|abort", re.IGNORECASE)
PHASE = re.compile(
    r"^(?:Info: )? *(Packing [\w ]+|Promoting globals|Creating initial|Running simulated annealing|Placed \d+ cells|"
    r"Routing[\w .]*|Running main router loop|Setting up routing queue|iter=\d+|Generating bitstream|"
    r"at iteration #\d+|\d+\.\d+(?:\.\d+)?\. Executing [A-Z_0-9]+ pass)", re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class Program:
    """A program of a Python package.

    Members
    -------
    name : of its console script. command : how to start it. version : of its package.
    """

    name: str
    command: tuple[str, ...]
    version: str


@functools.cache
def find_program(name: str) -> Program:
    """A console script of the packages that the extra brings.

    Raises ToolMissing : its package is not installed here.
    """
    for entry in importlib.metadata.entry_points(group="console_scripts", name=name):
        # Through the module, not the script: that need not be on PATH, nor start this Python.
        start = f"import sys; from {entry.module} import {entry.attr} as main; sys.argv[0] = {name!r}; sys.exit(main())"
        version = entry.dist.version if entry.dist is not None else "unknown"
        return Program(name=name, command=(sys.executable, "-P", "-c", start), version=version)
    raise ToolMissing(f"{name} is not installed; run: pip install '{EXTRA}'")


def check_programs(names: Iterable[str]) -> None:
    """Before any work whose next step could not be done. Raises ToolMissing."""
    for name in names:
        find_program(name)


def run(program: Program, arguments: Sequence[str], *, what: str, folder: Path, log: Path, failed_log: Path,
        watch: Callable[[str], None] = lambda phase: None,
        hopeless: Callable[[str], str | None] = lambda line: None) -> None:
    """Run a program in a folder, with everything that it says in `log`.

    Parameters
    ----------
    what : the step, for messages. watch : is told what the program is at, now and then.
    hopeless : is told every line, and says why the program is to be stopped, or None.
    failed_log : where the log goes if it fails; the folder is then of no more use to anybody.

    Raises BuildFailed : it did not return 0, or was stopped; the message says why, and where the other lines are.
    """
    lines: list[str] = []
    stopped: str | None = None
    with log.open("w", buffering=1) as file, subprocess.Popen(
        [*program.command, *arguments], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL, text=True, errors="replace", bufsize=1) as process:
        try:
            assert process.stdout is not None
            for line in process.stdout:
                file.write(line)
                lines.append(line.rstrip())
                if found := PHASE.match(line):
                    watch(found[1])
                if (stopped := hopeless(line)) is not None:
                    process.kill()
                    break
            code = process.wait()
        except BaseException:  # also when interrupted: nobody waits for it any more
            process.kill()
            raise
    if code != 0:
        failed_log.parent.mkdir(parents=True, exist_ok=True)
        failed_log.write_bytes(log.read_bytes())
        if stopped is not None:
            raise BuildFailed(f"{what}: {stopped}\n  all that {program.name} said: {failed_log}")
        said = "\n  ".join(reason(lines)) or "nothing"
        how = f"was killed by signal {-code} (out of memory?)" if code < 0 else f"failed (exit code {code})"
        raise BuildFailed(f"{what}: {program.name} {how} and said\n  {said}\n  all that it said: {failed_log}")


def reason(lines: Sequence[str]) -> list[str]:
    """The lines that say why a program failed."""
    spoken = [line for line in lines if line.strip()]
    # A program's own verdict first, then a Python traceback's last line, which stands for itself.
    if verdicts := [line for line in spoken if line.startswith("ERROR")]:
        return verdicts[-LAST_LINES:]
    if any(line.startswith("Traceback") for line in spoken):
        return spoken[-1:]
    return [line for line in spoken if ERROR.search(line)][-LAST_LINES:] or spoken[-LAST_LINES:]
