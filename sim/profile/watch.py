"""Watch: what the gateware's queues issue in a token, seen cycle by cycle in a run of the Verilated machine."""

from __future__ import annotations

from collections.abc import Iterable

from compiler.image import Image
from rtl.config import Config
from rtl.isa import ScalarFunction
from rtl.probe import places
from sim.driver import Driver
from sim.profile.trace import OPERATION_FACTS, PASS_FACTS, TOKEN, Issue, operation_facts, output_facts
from sim.rtl_device import build_core
from sim.verilate import VerilatedCore


def rtl_events(image: Image, position: int, *, classify: bool) -> list[Issue]:
    """What the units issue in the token at a position, as `sim.profile.trace.image_events` has it.

    Raises ToolMissing and BuildFailed as `sim.verilate.build` does.
    """
    with VerilatedCore(build_core(image.config, probe=True)) as core:
        driver = Driver(image.config, core)
        driver.load(image, skip_zeros=True)
        driver.reset()
        tokens = [TOKEN] * image.sequences
        for _ in range(position):
            driver.step(tokens, classify=False)
        core.watch("probe")
        driver.step(tokens, classify=classify)
        return issues(image.config, core.watched())


def issues(cfg: Config, seen: Iterable[tuple[int, int]]) -> list[Issue]:
    """The issues of one token. seen: (cycle, probe) as `VerilatedCore.watched` returns them."""
    place = places(cfg)

    def get(value: int, unit: str, name: str, index: int = 0) -> int:
        offset, width = place[unit, name]
        return value >> offset + index * width & (1 << width) - 1

    outputs: list[_Output] = []
    others: dict[str, list[Issue]] = {"vector": [], "scalar": []}
    zero = 0
    for clock, value in seen:
        if value & 1:  # go
            zero = clock
        cycle = clock - zero
        if get(value, "matrix", "valid"):
            acts = [get(value, "matrix", "act", group) for group in range(cfg.groups)]
            row, slot, clear = (get(value, "matrix", name) for name in ("row", "slot", "clear"))
            here = _Output(cycle, row, acts, slot, bool(clear))
            if not (outputs and not value >> 1 & 1 and outputs[-1].grows(here)):
                outputs.append(here)
        if get(value, "vector", "valid"):
            facts = {name: get(value, "vector", name) for name in PASS_FACTS}
            others["vector"].append(Issue("vector", cycle, 1, facts))
        if get(value, "scalar", "valid"):
            others["scalar"].append(Issue("scalar", cycle, 1, operation_facts(
                ScalarFunction(get(value, "scalar", "function")),
                [get(value, "scalar", name) for name in OPERATION_FACTS])))
    made = [Issue("matrix", one.cycle, one.steps, output_facts(one.row, one.acts, one.slot, one.clear))
            for one in outputs]
    return [*made, *others["vector"], *others["scalar"]]


class _Output:
    """Steps that make one output: neighbours in time, row and word, in one accumulator."""

    def __init__(self, cycle: int, row: int, acts: list[int], slot: int, clear: bool) -> None:
        self.cycle, self.row, self.acts, self.slot, self.clear, self.steps = cycle, row, acts, slot, clear, 1

    def grows(self, step: _Output) -> bool:
        """Whether a further step belongs to it; it does then."""
        steps = self.steps
        mine = (step.cycle, step.row, step.slot, step.clear) == (self.cycle + steps, self.row + steps, self.slot, False)
        if mine and step.acts == [act + steps for act in self.acts]:
            self.steps += 1
            return True
        return False
