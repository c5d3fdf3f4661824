"""Verilog to compiled C++: the steps that the RTL device and the verification benches share.

Verilator writes C++, the compiler makes objects of it; linking is the caller's, who knows what they shall become.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from sim.toolchain import (
    Compiler,
    Verilator,
    cached,
    compiler_environment,
    digest,
    find_compiler,
    find_verilator,
    processors,
    run_all,
)

# A large translation unit is where one processor still compiles while the others are done.
UNIT_BYTES = 1_000_000
DESIGN = "design.v"
"""What Verilator reads, in the folder of what it writes."""
# Several designs live in one process, each with its own copy of Verilator's library: nothing of one may reach another.
HIDDEN = "-fvisibility=hidden"


@dataclass(frozen=True, kw_only=True)
class Generated:
    """The C++ that Verilator made of a design.

    Members
    -------
    folder : where it is.
    fast : sources whose code runs each cycle.
    slow : sources whose code runs once.
    ports : names of the design's ports.
    """

    folder: Path
    fast: tuple[Path, ...]
    slow: tuple[Path, ...]
    ports: frozenset[str]


# ---------------------------------------------------------------------------------------------------------- Verilog

_MEMORY_ROW = re.compile(r"^(\s*)(\S+)\[(\d+)\] = (\d+'[sS]?[bdhBDH][0-9a-fA-F]+);$")


def fold_memory_rows(verilog: str) -> str:
    """Replace runs of memory rows with one initial value by loops.

    Amaranth initialises each row of each memory by a statement of its own. The 60,000 of a machine take Verilator
    several times as long as the machine itself.
    """
    result: list[str] = []
    run: list[tuple[str, str, int, str]] = []  # indent, memory, row, value

    def flush() -> None:
        if len(run) < 4:
            result.extend(f"{indent}{name}[{row}] = {value};" for indent, name, row, value in run)
        else:
            indent, name, first, value = run[0]
            result.append(f"{indent}for (integer i = {first}; i <= {run[-1][2]}; i = i + 1) {name}[i] = {value};")
        run.clear()

    for line in verilog.split("\n"):
        match = _MEMORY_ROW.match(line)
        if match is None:
            flush()
            result.append(line)
            continue
        row = (match[1], match[2], int(match[3]), match[4])
        if run and (run[-1][1], run[-1][2] + 1, run[-1][3]) != row[1:]:
            flush()
        run.append(row)
    flush()
    return "\n".join(result)


# -------------------------------------------------------------------------------------------------------------- C++


def generate(verilog: str, top: str, folder: Path, *, prefix: str, flags: Sequence[str]) -> Generated:
    """Verilate a design into ``folder``.

    Raises
    ------
    BuildFailed : Verilator rejects the design.
    """
    verilator = find_verilator()
    folder.mkdir(parents=True, exist_ok=True)
    source = folder / DESIGN
    source.write_text(fold_memory_rows(verilog))
    command = [
        str(verilator.program), "--cc", "--Mdir", ".", "--prefix", prefix, "--top-module", top,
        # Amaranth's Verilog is correct, but not in the style that the warnings ask for.
        "-Wno-fatal", "-Wno-lint", "-Wno-style", *flags, source.name,
    ]  # fmt: skip
    run_all([command], what=f"verilating {top}", cwd=folder, environment={"VERILATOR_ROOT": str(verilator.root)})
    sources = sorted(folder.glob(f"{prefix}*.cpp"))
    return Generated(
        folder=folder,
        fast=tuple(path for path in sources if not path.stem.endswith("__Slow")),
        slow=tuple(path for path in sources if path.stem.endswith("__Slow")),
        ports=frozenset(re.findall(r"VL_(?:IN|OUT|INOUT)\w*\(&(\w+),", (folder / f"{prefix}.h").read_text())),
    )


def definitions(*, trace: bool, coverage: bool = False) -> tuple[str, ...]:
    """The macros that Verilator's makefile would give: the features that the design was verilated with."""
    names = ("SC", "TIMING", "TRACE_FST", "TRACE_SAIF")
    values = {**{f"VM_{name}": 0 for name in names}, "VM_COVERAGE": int(coverage), "VM_TRACE": int(trace),
              "VM_TRACE_VCD": int(trace)}
    return ("-DVERILATOR=1", *(f"-D{name}={value}" for name, value in values.items()))


def compile_flags(verilator: Verilator, compiler: Compiler) -> tuple[str, ...]:
    """Flags of every compilation."""
    include = verilator.root / "include"
    return (
        *compiler.flags, "-std=gnu++17", "-fPIC", "-w",
        f"-I{include}", f"-I{include / 'vltstd'}",
    )  # fmt: skip


def library_objects(names: Sequence[str]) -> tuple[Path, ...]:
    """Verilator's own library, compiled; the same for every design and both uses, so it is compiled once.

    Optimised little: a cycle spends its time in the design's code, not here.
    """
    verilator, compiler = find_verilator(), find_compiler()

    def one(name: str) -> Path:
        # Hidden, for `HIDDEN`'s reason; but cocotb, a shared library, must find the functions of the VPI.
        defines = (*definitions(trace="vcd" in name, coverage="cov" in name), *(() if "vpi" in name else (HIDDEN,)))
        flags = (*compile_flags(verilator, compiler), *defines, "-O1")

        def fill(folder: Path) -> None:
            source = str(verilator.root / "include" / f"{name}.cpp")
            command = [*compiler.command, *flags, "-c", source, "-o", f"{name}.o"]
            run_all([command], what=f"compiling {name}", cwd=folder, environment=compiler_environment())

        # Paths of an installation are no part of what is compiled; two environments share the result.
        portable = [flag for flag in flags if not flag.startswith("-I")]
        return cached("library", digest(verilator.version, compiler.identity, *portable, name), fill) / f"{name}.o"

    with ThreadPoolExecutor(max_workers=processors()) as pool:
        return tuple(pool.map(one, names))


def compile_objects(
    generated: Generated, *, extra: Iterable[Path], defines: Sequence[str], optimise: Sequence[str]
) -> tuple[Path, ...]:
    """Compile a verilated design, with ``extra`` sources of ours, into object files in its folder.

    Each translation unit reads Verilator's headers anew, which takes a second or two; so there are few units, of about
    equal size.
    """
    verilator, compiler = find_verilator(), find_compiler()
    folder = generated.folder
    commands: list[list[str]] = []
    objects: list[Path] = []
    for kind, sources, level in (
        ("fast", (*generated.fast, *extra), tuple(optimise)),
        ("slow", generated.slow, ("-O0",)),
    ):
        for number, unit in enumerate(_units(sources)):
            name = f"{kind}{number}"
            (folder / f"{name}.cc").write_text("".join(f'#include "{path.as_posix()}"\n' for path in unit))
            flags = (*compile_flags(verilator, compiler), *defines, *level, "-I.")
            commands.append([*compiler.command, *flags, "-c", f"{name}.cc", "-o", f"{name}.o"])
            objects.append(folder / f"{name}.o")
    run_all(commands, what="compiling the design", cwd=folder, environment=compiler_environment())
    return tuple(objects)


def _units(sources: Sequence[Path]) -> list[list[Path]]:
    sizes = {path: path.stat().st_size for path in sources}
    count = max(1, min(processors(), sum(sizes.values()) // UNIT_BYTES + 1))
    units: list[list[Path]] = [[] for _ in range(count)]
    for path in sorted(sources, key=lambda path: (-sizes[path], path.name)):
        min(units, key=lambda unit: sum(sizes[one] for one in unit)).append(path)
    return [sorted(unit) for unit in units if unit]
