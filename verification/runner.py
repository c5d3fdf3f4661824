"""Runs a cocotb bench on a Verilated design from pytest.

cocotb's own build step goes through make and compiles Verilator's library again for each design; ours shares the RTL
device's steps and cache, so a small unit is built in a few seconds, once, with or without a system compiler.

A bench is a module of `verification` (or any other that can be imported) with ``@cocotb.test()`` functions; a pytest
test calls `run` with the design and the bench's name, and fails with the bench's message if the bench fails.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import cocotb_tools.config
import find_libpython
from amaranth.back import verilog
from amaranth.lib import wiring

from sim import cxx
from sim.toolchain import ToolMissing, cached, compiler_environment, digest, find_compiler, find_verilator, run_all

PARAMETERS_VARIABLE = "OPENLPU_BENCH_PARAMETERS"
LOG_LINES = 40  # of the simulator's output, shown when a bench fails

# Ports can be read and written by name, and nothing inside: with every signal open Verilator can simplify nothing, and
# a design takes twice as long to build.
VERILATOR_FLAGS = ("-O3", "--x-assign", "fast", "--x-initial", "fast", "--vpi", "--public-depth", "1")
LIBRARY = ("verilated", "verilated_threads", "verilated_vpi")
OPTIMISE = ("-O1",)  # as quick to compile as -O0 at the size of a unit
PREFIX = "Vtop"  # cocotb's main program is written for this class


class BenchFailed(AssertionError):
    """A bench failed, crashed, hung or had no tests; the message says which and what it said."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """One cocotb test that passed.

    Members
    -------
    name : ``module.function``.
    sim_time_ns : how long it ran, in simulated time.
    wall_s : and in ours.
    """

    name: str
    sim_time_ns: float
    wall_s: float


def bench_parameters() -> dict[str, Any]:
    """The ``parameters`` that the test gave to `run`; for use in the bench."""
    return json.loads(os.environ.get(PARAMETERS_VARIABLE, "{}"))


def run(
    design: wiring.Component | str,
    test_module: str,
    *,
    top: str = "dut",
    parameters: Mapping[str, Any] | None = None,
    environment: Mapping[str, str] | None = None,
    testcase: str | None = None,
    seed: int = 1,
    timeout_s: float = 600.0,
    waves: Path | None = None,
    optimise: Sequence[str] = OPTIMISE,
) -> tuple[Outcome, ...]:
    """Build a design, run a bench on it, and return what passed.

    Parameters
    ----------
    design : an Amaranth component, or Verilog text that has a module ``top``.
    test_module : the bench, by its name for ``import``.
    top : name of the top module.
    parameters : what the bench gets from `bench_parameters`; anything that JSON can hold.
    environment : further environment variables of the bench.
    testcase : a regular expression for the names of the tests to run; default all.
    seed : of Python's random numbers in the bench, and of cocotb's.
    timeout_s : a bench that has not ended by then is stopped, and has failed.
    waves : a VCD file to write.
    optimise : flags of the C++ compiler; ``("-O1",)`` pays for a large design that runs for 100,000 cycles and more.

    Raises
    ------
    BenchFailed : any test of the bench failed, or none ran.
    ToolError : the design could not be built.
    """
    text = design if isinstance(design, str) else verilog.convert(design, name=top, emit_src=False)
    program = build(text, top, trace=waves is not None, optimise=optimise)
    with tempfile.TemporaryDirectory(prefix="openlpu-bench-") as folder:
        results = Path(folder) / "results.xml"
        command = [str(program)]
        if waves is not None:
            waves.parent.mkdir(parents=True, exist_ok=True)
            command += ["--trace", "--trace-file", str(waves.absolute())]
        variables = _cocotb_environment(test_module, top, results) | {
            "COCOTB_RANDOM_SEED": str(seed),
            PARAMETERS_VARIABLE: json.dumps(dict(parameters or {})),
            **({"COCOTB_TEST_FILTER": testcase} if testcase else {}),
            **(environment or {}),
        }
        log, ending = _simulate(command, folder, variables, timeout_s)
        return _judge(test_module, results, log, ending)


def build(text: str, top: str, *, trace: bool = False, optimise: Sequence[str] = OPTIMISE) -> Path:
    """The simulator of a design with cocotb inside, from the cache where it was built before."""
    verilator, compiler = find_verilator(), find_compiler()
    main = cocotb_tools.config.share_dir / "lib" / "verilator" / "verilator.cpp"
    libraries = cocotb_tools.config.libs_dir
    defines = cxx.definitions(trace=trace)
    flags = (*VERILATOR_FLAGS, *(["--trace-vcd"] if trace else []))
    names = (*LIBRARY, *(["verilated_vcd_c"] if trace else []))

    def fill(folder: Path) -> None:
        generated = cxx.generate(text, top, folder / "cpp", prefix=PREFIX, flags=flags)
        objects = [
            *cxx.compile_objects(generated, extra=[main], defines=defines, optimise=optimise),
            *cxx.library_objects(names),
        ]
        link = [
            *compiler.command, *compiler.flags, "-pthread", *map(str, objects), "-o", "bench",
            f"-L{libraries}", f"-Wl,-rpath,{libraries}", "-lcocotbvpi_verilator",
        ]  # fmt: skip
        run_all([link], what="linking the bench", cwd=folder, environment=compiler_environment())
        shutil.rmtree(generated.folder)

    versions = (verilator.version, metadata.version("cocotb"), compiler.identity)
    key = digest(text, top, *versions, str(libraries), *flags, *defines, *optimise)
    return cached("bench", key, fill) / "bench"


def _cocotb_environment(test_module: str, top: str, results: Path) -> dict[str, str]:
    """What cocotb documents as its interface to a simulator that was started by hand."""
    libpython = find_libpython.find_libpython()
    if libpython is None:
        raise ToolMissing("this Python has no shared library, which cocotb needs; use one built with --enable-shared")
    return {
        "GPI_USERS": f"{libpython};{cocotb_tools.config.pygpi_entry_point()}",
        "PYGPI_PYTHON_BIN": sys.executable,
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        "COCOTB_TOPLEVEL": top,
        "TOPLEVEL_LANG": "verilog",
        "COCOTB_TEST_MODULES": test_module,
        "COCOTB_RESULTS_FILE": str(results),
        "COCOTB_TRUST_INERTIAL_WRITES": "1",
    }


def _simulate(command: Sequence[str], folder: str, variables: Mapping[str, str], timeout_s: float) -> tuple[str, str]:
    """Run the simulator; returns its output and how it ended, in words, empty for well."""
    log = Path(folder) / "log"
    # Settings of an outer cocotb run would be taken for ours.
    foreign = ("COCOTB_", "GPI_", "PYGPI_")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    with log.open("wb") as file:
        try:
            code = subprocess.run(
                command, cwd=folder, env=inherited | dict(variables), stdin=subprocess.DEVNULL, stdout=file,
                stderr=subprocess.STDOUT, timeout=timeout_s, check=False,
            ).returncode  # fmt: skip
            ending = "" if code == 0 else f"ended with code {code}"
        except subprocess.TimeoutExpired:
            ending = f"had not ended after {timeout_s:.0f} s"
    return log.read_text(errors="replace"), ending


def _judge(test_module: str, results: Path, log: str, ending: str) -> tuple[Outcome, ...]:
    passed: list[Outcome] = []
    problems: list[str] = []
    try:
        cases = list(ElementTree.parse(results).iter("testcase"))
    except (OSError, ElementTree.ParseError):
        cases = []
        ending = ending or "left no results"
    for case in cases:
        name = f"{case.get('classname')}.{case.get('name')}"
        bad = [child for child in case if child.tag in ("failure", "error")]
        if bad:
            message = bad[0].get("message") or bad[0].text or "no message"
            problems.append(f"{name}: {bad[0].get('type') or bad[0].tag}: {message}")
        elif case.find("skipped") is None:
            facts = {entry.get("name"): entry.get("value") for entry in case.iter("property")}
            simulated = float(facts.get("sim_time_stop") or 0) - float(facts.get("sim_time_start") or 0)
            passed.append(Outcome(name=name, sim_time_ns=simulated, wall_s=float(case.get("time") or 0)))
    if ending:
        problems.append(f"the simulator {ending}")
    elif not passed and not problems:
        problems.append("no test ran")
    if problems:
        tail = "\n".join(log.splitlines()[-LOG_LINES:])
        raise BenchFailed(f"bench {test_module}:\n  " + "\n  ".join(problems) + f"\nThe end of its output:\n{tail}")
    return tuple(passed)
