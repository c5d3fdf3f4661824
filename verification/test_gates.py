"""Machines as synthesis made them: they run a program as golden, and a netlist that is wrong is found out."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import pytest

from compiler.image import Image
from fpga.cell_models import models
from fpga.gates import MACHINES, TOP, Gates, check, gates, program, simulation, synthesise
from rtl.encoding import decode
from rtl.isa import QUEUES, Op, members
from rtl.protocol import Space
from rtl.technology import Technology
from sim.driver import Driver, ProtocolError
from sim.toolchain import processors
from sim.verilate import CoreTimeout, VerilatedCore
from verification.settings import new_seed
from verification.vectors import Fields, bench, play

FAMILIES = pytest.mark.parametrize("family", MACHINES, ids=lambda family: family.value)

# A wrong netlist. The simulation that runs the right one has wrong ones, too, since it takes a minute to make: the
# clocks that reset is held for choose which look-up table says the opposite, if any. (Single bits of tables make poor
# bugs: most answer to inputs that never come.)

TABLES = {  # cell, parameter, inputs from the lowest on, output
    Technology.ICE40: ("SB_LUT4", "LUT_INIT", "I0, I1, I2, I3", "O"),
    Technology.ECP5: ("LUT4", "INIT", "A, B, C, D", "Z"),
    Technology.GOWIN: ("LUT4", "INIT", "I0, I1, I2, I3", "F")}
WRONG = 10  # tables
FOUND = 1  # of them must be found, at least: there are tables that no short program needs
CHOOSE = 100  # clocks of reset, from which on they are counted
PATIENCE = 20_000  # clocks for any answer; a machine that is wrong may never give one
STEPS = 2


def with_wrong_tables(netlist: str, family: Technology, rng: random.Random) -> str:
    """The netlist, in which any of `WRONG` look-up tables can be inverted."""
    cell, parameter, inputs, output = TABLES[family]
    start = f"  {cell} #(\n"
    places = [match.start() for match in re.finditer(f"^{re.escape(start)}", netlist, re.MULTILINE)]
    for number, place in sorted(enumerate(rng.sample(places, WRONG), 1), key=lambda item: -item[1]):
        chosen = f"  seeded_table #(\n    .NUMBER({number}),\n"
        netlist = netlist[:place] + chosen + netlist[place:].removeprefix(start)
    state = f"""
  reg [9:0] held = 0, seeded = 0;
  always @(posedge clk) begin
    held <= rst ? held + 1'b1 : 10'd0;
    if (!rst && held > 10'd{CHOOSE}) seeded <= held - 10'd{CHOOSE};
  end
endmodule
"""
    whole, count = re.subn(r"^endmodule\n", state, netlist, flags=re.MULTILINE)
    assert count == 1
    high_first = ", ".join(reversed(inputs.split(", ")))
    return whole + f"""
module seeded_table #(parameter [15:0] {parameter} = 0, parameter NUMBER = 0) (
    input {inputs}, output {output});
  wire [15:0] table_now = {parameter} ^ ({TOP}.seeded == NUMBER ? 16'hFFFF : 16'd0);
  wire [15:0] chosen = table_now >> {{{high_first}}};
  assign {output} = chosen[0];
endmodule
"""


@dataclass(frozen=True, kw_only=True)
class Machine:
    """A family's machine: its netlist, the program, and the simulation, which can be wrong on demand."""

    netlist: Gates
    image: Image
    library: Path


def machine(family: Technology) -> Machine:
    cfg = MACHINES[family]
    netlist = gates(cfg, family)
    # Always the same tables: whether a program needs one is no matter of luck.
    text = with_wrong_tables(netlist.verilog, family, random.Random(1))
    return Machine(netlist=netlist, image=program(cfg), library=simulation(replace(netlist, verilog=text)))


@pytest.fixture(scope="module")
def machines(request: pytest.FixtureRequest) -> Iterator[Mapping[Technology, Future[Machine]]]:
    """Of the families that the chosen tests ask for, made side by side: each keeps one processor busy."""
    wanted = {item.callspec.params["family"] for item in request.session.items
              if isinstance(item, pytest.Function) and "machines" in item.fixturenames}
    with ThreadPoolExecutor(max_workers=processors()) as pool:
        yield {family: pool.submit(machine, family) for family in MACHINES if family in wanted}


@pytest.mark.slow
@FAMILIES
def test_the_netlist_of_a_machine_runs_a_program_as_golden(
        family: Technology, machines: Mapping[Technology, Future[Machine]]) -> None:
    made = machines[family].result()
    outcome = check(made.netlist, made.image, library=made.library)
    found = outcome.compared
    assert (found.tokens, found.cycles, found.tensors, outcome.memories) == ([], [], {}, {})
    changed = made.netlist.changed  # copies of registers on ECP5; on Gowin multipliers have them inside
    assert {Technology.ECP5: changed > 0, Technology.GOWIN: changed < 0}.get(family, changed == 0)
    assert len(found.compared) >= 9 * made.image.sequences
    assert outcome.good


@FAMILIES
def test_that_program_uses_every_operation_of_every_queue(family: Technology) -> None:
    image = program(MACHINES[family])
    for queue in QUEUES:
        words = [decode(image.config, queue, word) for word in image.programs[queue.name]]
        runs = [word for word in words if word["op"] is Op.RUN]
        for field in queue.own:
            if field.enum is not None:
                found = {word[field.name] for word in runs}
                assert found == set(members(image.config, field)), f"{queue.name} {field.name}"


class Impatient:
    """A way to a machine that may not answer."""

    def __init__(self, core: VerilatedCore) -> None:
        self._core = core

    def send(self, data: bytes) -> None:
        self._core.send(data, max_cycles=PATIENCE)

    def receive(self, count: int) -> bytes:
        return self._core.receive(count, max_cycles=PATIENCE)


@dataclass(frozen=True, kw_only=True)
class Run:
    """Tokens of all sequences and cycles of each step, and what memories hold in the end."""

    steps: list[tuple[tuple[int, ...], int]]
    memories: list[bytes]


def run(made: Machine, number: int) -> Run | None:
    """What a wrong machine does, 0 for the right one; None where it does not answer, or answers nonsense."""
    cfg = made.image.config
    with VerilatedCore(made.library, reset_cycles=CHOOSE + number if number else 2) as core:
        driver = Driver(cfg, Impatient(core))
        try:
            driver.load(made.image, skip_zeros=True)
            driver.reset()
            given, steps = [1] * made.image.sequences, []
            for _ in range(STEPS):
                steps.append(driver.step(given, classify=True))
                given = list(steps[-1][0])
            sizes = {Space.VECTOR: cfg.vector_rows * cfg.lanes, Space.ACT: cfg.act_rows * cfg.act_width}
            return Run(steps=steps, memories=[driver.read(space, 0, size).tobytes() for space, size in sizes.items()])
        except (CoreTimeout, ProtocolError, ValueError, OverflowError):
            return None


@pytest.mark.slow
@FAMILIES
def test_a_wrong_look_up_table_is_found(
        family: Technology, machines: Mapping[Technology, Future[Machine]]) -> None:
    made = machines[family].result()
    right = run(made, 0)
    assert right is not None
    found = [number for number in range(1, WRONG + 1) if run(made, number) != right]
    print(f"found: {found}")
    assert len(found) >= FOUND


# What yosys is known to do wrong, and how our gateware keeps clear of it: a sum of two products on an iCE40.


def products(reset: bool) -> str:
    """Verilog of `top`: p <= a * b; q <= c * d; s <= p + q, with or without a reset of those registers."""
    clear = "if (rst) begin p <= 0; q <= 0; s <= 0; end else " if reset else ""
    return f"""module {TOP}(input clk, rst, input signed [7:0] a, b, c, d, output reg signed [16:0] s);
  reg signed [15:0] p, q;
  always @(posedge clk) {clear}begin p <= a * b; q <= c * d; s <= p + q; end
endmodule
"""


@cache
def differing_sums(reset: bool, gate_level: bool) -> int:
    """In how many clocks the design's output is not the sum of two products."""
    design = products(reset)
    if gate_level:
        design = models(Technology.ICE40) + synthesise(design, Technology.ICE40)[0]
    inputs, outputs = Fields({"clk": 1, "rst": 1, "a": 8, "b": 8, "c": 8, "d": 8}), Fields({"s": 17})
    rng, vectors, expected = random.Random(new_seed()), [], []
    for _ in range(200):
        now = {name: rng.getrandbits(8) for name in "abcd"}
        a, b, c, d = (value - 256 if value > 127 else value for value in now.values())
        vectors += [{"clk": clk, "rst": 0, **now} for clk in (0, 1)]
        expected.append(a * b + c * d & 0x1FFFF)
    said = play(f"{design}\n{bench(inputs, outputs, f'    {TOP} dut(.*);{chr(10)}')}", inputs, outputs, vectors)
    # Two clocks after the operands; the first ones' sum is there with the second edge.
    return sum(answer["s"] != sum_ for answer, sum_ in zip(said[3::2], expected, strict=False))


def test_synthesis_loses_a_product_without_reset_and_the_netlist_shows_it() -> None:
    assert differing_sums(reset=False, gate_level=False) == 0
    assert differing_sums(reset=False, gate_level=True) > 100


def test_with_a_reset_the_netlist_is_right() -> None:
    assert differing_sums(reset=True, gate_level=False) == 0
    assert differing_sums(reset=True, gate_level=True) == 0
