"""The gate level: a machine's netlist, synthesised as real builds are, runs a program against the golden model.

Synthesis is software, and it is wrong at times: yosys 0.70 loses a multiplication without a word where DSP pipelines on
an iCE40 have no reset. So what it made of a whole machine is simulated, as instances of the family's cells: loaded
through the host port, it must generate the golden model's tokens, in the cycles that the compiler predicted, with the
same tensors, and leave its memories as the cycle simulator does.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from inspect import getsource
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from compiler.compile import compile_model
from compiler.errors import InputError
from compiler.float_model import Traits
from compiler.image import Image
from compiler.quantise import quantise
from compiler.quantised import Shape
from compiler.random_model import random_float_model
from compiler.sampling import with_sampling
from fpga import absorb, copies, graph, regions, words
from fpga.board import board, board_names
from fpga.cell_models import models
from fpga.family import TOP, family
from fpga.netlist import Netlist, read_netlist
from fpga.synthesis import SYNTHESISER, synthesis_script
from fpga.tools import find_program
from fpga.tools import run as run_program
from rtl.config import Config, preset
from rtl.protocol import Space
from rtl.technology import Technology
from rtl.verilog import ZERO_ROWS, Top, convert
from sim.commands.check import Comparison, compare
from sim.device import CycleDevice, Device, GoldenDevice, VerilatedDevice
from sim.rtl_device import RtlDevice
from sim.toolchain import cache_root, cached, digest
from sim.verilate import build, cached_verilog

_TINY: Final = preset("tiny")

MACHINES: Final[dict[Technology, Config]] = {
    Technology.ICE40: preset("icebreaker"),
    Technology.ECP5: _TINY,
    Technology.GOWIN: replace(_TINY, name="tiny2x4", lanes=2, groups=1, tile_lanes=2, tile_taps=2)}
"""The machine of each family that is small enough to be simulated as gates, and has every unit."""

SHAPE: Final = Shape(dim=16, hidden=22, layers=1, heads=4, kv_heads=2, head_dim=4, vocab=19, context=20)
"""A model with everything that larger ones have, so that a program of a few hundred cycles uses every unit."""

EXPERTS: Final = 3
TEMPERATURE: Final = 0.8
TOP_K: Final = 7
WINDOW: Final = 4

TOKENS: Final = 6

COPYING: Final = (absorb, copies, graph, regions, words)
"""Modules that change a netlist after its synthesis."""

# Constants that synthesis left open are ones here, zeros in every other simulation of ours: nothing may depend on them.
# A netlist's C++ is megabytes that run for a minute: an optimising compiler takes longer than it saves.
FLAGS: Final = ("-O3", "--x-assign", "1", "--x-initial", "fast", "--no-assert")
OPTIMISE: Final = ("-O0",)


@dataclass(frozen=True, kw_only=True)
class Gates:
    """A machine as synthesis made it.

    Members
    -------
    cfg, technology : which machine for which family.
    verilog : module `top` with the ports of rtl.verilog.Top, made of the family's cells; no behaviour is left.
    cells : how many there are of each kind. changed : how many of them were added before placement, as a large machine
        gets them, or (less than 0) were taken out, see `Family.copy`.
    seconds : that synthesis took when it was run.
    """

    cfg: Config
    technology: Technology
    verilog: str
    cells: Counter[str]
    changed: int
    seconds: float


def machine_verilog(cfg: Config, technology: Technology) -> str:
    """Verilog of a machine, elaborated for a family, as module `top`."""

    def make() -> str:
        top = Top(cfg)
        return ZERO_ROWS.sub("", convert(top, name=TOP, ports=top.ports, technology=technology))

    return cached_verilog(make, facts=f"gates {cfg!r} {technology!r}")


def synthesise(verilog: str, technology: Technology) -> tuple[str, Counter[str], int, float]:
    """Synthesise module `top` with the commands of real builds, and copy cells as they do for a large machine; the
    netlist as Verilog, its cells by kind, how many were copied, seconds.

    Raises
    ------
    ToolMissing, BuildFailed : yosys is not there, or rejects the design.
    """
    # Boards of one family differ in place and route, not here.
    some_board = next(found for found in map(board, board_names()) if found.family is technology)
    made_of = family(technology)
    script = synthesis_script(made_of.synthesis(some_board), made_of) + "check -assert\n"
    write = "read_json design.json\nwrite_verilog -noattr netlist.v\n"
    yosys = find_program(SYNTHESISER)

    def fill(folder: Path) -> None:
        (folder / "design.v").write_text(verilog)
        (folder / "gates.ys").write_text(script)
        started = time.perf_counter()
        (folder / "write.ys").write_text(write)
        log, failed_log = folder / "log", cache_root() / "logs" / f"gates-{technology.value}.log"
        run_program(yosys, ("-q", "-s", "gates.ys"), what="synthesis", folder=folder, log=log, failed_log=failed_log)
        (folder / "seconds").write_text(f"{time.perf_counter() - started:.1f}")
        design = json.loads((folder / "design.json").read_text())
        (folder / "changed").write_text(f"{made_of.copy(design['modules'][TOP])}")
        (folder / "design.json").write_text(json.dumps(design))
        run_program(yosys, ("-q", "-s", "write.ys"), what="netlist", folder=folder, log=log, failed_log=failed_log)
        (folder / "netlist.json").write_text(read_netlist(folder, made_of).dump())
        (folder / "design.json").unlink()  # tens of megabytes that netlist.v has, too

    folder = cached("gates", digest(verilog, script, write, *map(getsource, COPYING), yosys.version), fill)
    cells = Netlist.load((folder / "netlist.json").read_text()).cells
    return ((folder / "netlist.v").read_text(), cells, int((folder / "changed").read_text()),
            float((folder / "seconds").read_text()))


def gates(cfg: Config, technology: Technology) -> Gates:
    """A machine's netlist for a family, from the cache where it was made before."""
    verilog, cells, changed, seconds = synthesise(machine_verilog(cfg, technology), technology)
    return Gates(cfg=cfg, technology=technology, verilog=verilog, cells=cells, changed=changed, seconds=seconds)


def simulation(netlist: Gates) -> Path:
    """The library that runs a netlist, as `sim.verilate.build` makes it."""
    return build(f"{models(netlist.technology)}\n{netlist.verilog}", TOP, flags=FLAGS, optimise=OPTIMISE)


class GateDevice(VerilatedDevice):
    """A netlist that runs an image, as a device of `sim.device`.

    Everything is loaded, zeros too: on a board nothing is known of what memories hold.

    library : what `simulation` made of the netlist of the image's machine.
    """

    name = "gates"

    def __init__(self, image: Image, library: Path) -> None:
        self.rtl = RtlDevice(image, library=library, skip_zeros=False)

    def memories(self) -> dict[Space, npt.NDArray[np.generic]]:
        """What every readable memory holds."""
        cfg = self.rtl.image.config
        sizes = {Space.BANK: cfg.bank_rows * cfg.lanes, Space.VECTOR: cfg.vector_rows * cfg.lanes,
                 Space.ACT: cfg.act_rows * cfg.act_width}
        return {space: self.rtl.read(space, 0, size).reshape(-1) for space, size in sizes.items()}


def simulated_memories(device: CycleDevice) -> dict[Space, npt.NDArray[np.generic]]:
    """The same of the cycle simulator."""
    state = device.simulator.state
    return {Space.BANK: state.banks.transpose(1, 0, 2).flatten(), Space.VECTOR: state.memory.flatten(),
            Space.ACT: state.act.copy()}


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a run at the gate level showed.

    Members
    -------
    netlist : that was run. image : the program. steps : tokens of each sequence.
    compared : against the golden model, and the compiler's cycles.
    memories : how many elements of bank, vector and activation memory are neither what the cycle simulator wrote there
        nor, where it wrote nothing, what was there before; memories without any are left out.
    clocks, seconds : of the netlist's simulation, with loading. build_seconds : to make it, 0 where it was there.
    """

    netlist: Gates
    image: Image
    steps: int
    compared: Comparison
    memories: dict[str, int]
    clocks: int
    seconds: float
    build_seconds: float

    @property
    def good(self) -> bool:
        """Tokens, cycles, tensors and memories are equal, and tensors were compared."""
        return self.compared.good and bool(self.compared.compared) and not self.memories


def program(cfg: Config) -> Image:
    """A small random model for a machine, with as many sequences as it has; its integers travel along.

    It has experts, weights of four bits and a window, and its tokens are drawn from the likeliest, where the machine
    can.
    """
    traits = Traits(window=WINDOW if cfg.windows else None)
    if cfg.choices:
        traits = replace(traits, experts=EXPERTS, experts_used=cfg.choices)
    model = quantise(random_float_model(SHAPE, seed=1, traits=traits),
                     weight_bits=4 if cfg.weight_planes else 8)
    image = replace(compile_model(model, cfg, sequences=cfg.sequences, top_k=TOP_K if cfg.top_k else 0), model=model)
    return with_sampling(image, TEMPERATURE, seed=1) if cfg.noise_rate else image


def check(netlist: Gates, image: Image, *, steps: int = TOKENS, library: Path | None = None,
          watch: Callable[[str], None] = lambda phase: None) -> Outcome:
    """Run an image on golden model, cycle simulator and netlist, and compare.

    library : the netlist's simulation, if it is there already. watch : is told what is done next.
    """
    if image.config != netlist.cfg:
        raise InputError("the image is for another machine than the netlist")
    started = time.perf_counter()
    watch("building the netlist's simulation")
    library = library or simulation(netlist)
    built = time.perf_counter()
    watch("running golden model and netlist")
    device, cycle = GateDevice(image, library), CycleDevice(image)
    before, before_simulated = device.memories(), simulated_memories(cycle)
    devices: list[Device] = [GoldenDevice(image), cycle, device]
    found = compare(devices, image, [1], steps, tensors=True)
    after, after_simulated = device.memories(), simulated_memories(cycle)
    memories: dict[str, int] = {}
    for space, held in after.items():
        untouched = (after_simulated[space] == before_simulated[space]) & (held == before[space])
        if wrong := int(np.count_nonzero((held != after_simulated[space]) & ~untouched)):
            memories[space.name.lower()] = wrong
    return Outcome(netlist=netlist, image=image, steps=steps, compared=found[2], memories=memories,
                   clocks=device.rtl.clocks, seconds=time.perf_counter() - built, build_seconds=built - started)


def technology_of(name: str) -> Technology:
    """The family that a board's or a family's name means. Raises InputError naming the known ones."""
    if name in (values := [item.value for item in Technology]):
        return Technology(name)
    if name in board_names():
        return board(name).family
    raise InputError(f"{name!r} is neither a board nor a family; boards: {', '.join(board_names())}; "
                     f"families: {', '.join(values)}")


def check_family(technology: Technology, *, steps: int = TOKENS,
                 watch: Callable[[str], None] = lambda phase: None) -> Outcome:
    """Synthesise the family's small machine and run a program on it."""
    cfg = MACHINES[technology]
    watch(f"synthesising {cfg.name}")
    return check(gates(cfg, technology), program(cfg), steps=steps, watch=watch)
