"""What flows where in a design: its netlist as a graph in which a net points to all that it can influence.

The netlist is the Verilog that we ship, elaborated and flattened by yosys but not mapped: registers, memories and
operators are still cells, with our names on them. An edge is taken wherever there could be an influence, so a graph
without a path is a proof and one with a path is a question.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fpga.synthesis import SYNTHESISER
from fpga.tools import find_program
from fpga.tools import run as run_program
from sim.toolchain import cache_root, cached, digest

SCRIPT = """\
read_verilog design.v
hierarchy -check -top {top}
proc -norom
opt_expr
opt_clean
opt_dff
memory_dff
memory_collect
opt_clean
flatten
opt_clean
check -assert
write_json design.json
"""
"""Registers and memories become cells before modules are flattened: their names then tell which module they were in."""

REGISTERS = frozenset({"$dff", "$dffe", "$sdff", "$sdffe", "$sdffce"})
"""Cells with a state, beside memories. Any other kind of state, such as a latch, is refused."""
BITWISE = REGISTERS | {"$and", "$or", "$xor", "$xnor", "$not", "$pos", "$mux", "$pmux"}
"""Cells in which an output's bit depends on the same bit of A, B and D alone, and on all of the other inputs."""
LANES = ("A", "B", "D")
"""Inputs of such cells that go with the output bit by bit; B of a $pmux is several words."""
WHOLE = frozenset({
    "$add", "$sub", "$mul", "$neg", "$eq", "$ne", "$lt", "$le", "$gt", "$ge", "$shl", "$shr", "$sshl", "$sshr",
    "$shift", "$shiftx", "$reduce_or", "$reduce_and", "$reduce_xor", "$reduce_bool", "$logic_not", "$logic_and",
    "$logic_or", "$div", "$mod", "$bmux", "$demux"})
"""Cells in which every output's bit is taken to depend on every input's bit."""
IGNORED = frozenset({"$scopeinfo"})

OWNER = re.compile(r"^\$flatten((?:\\[^\\]+?\.)+)")
"""What yosys puts before the name of a cell that had none, in a module that is no longer there."""


class NotUnderstood(Exception):
    """A netlist with something that the graph has no rule for: nothing can be said about it."""


@dataclass(frozen=True, kw_only=True)
class State:
    """A register or a memory.

    Members
    -------
    name : path from the top. module : path of the module that it is in, with a dot at its end.
    bits : a node for each bit; of a memory, for each bit of a word.
    rows : words of a memory; 0 for a register. written : something writes it; otherwise it is a table.
    ports : of a memory, the nodes of its addresses, enables and resets, by the port's name.
    """

    name: str
    module: str
    bits: tuple[int, ...]
    rows: int = 0
    written: bool = True
    ports: Mapping[str, tuple[int, ...]]


class Flow:
    """A flat netlist as a graph of influence.

    Parameters
    ----------
    module : the flat top as yosys' JSON has it.

    Members
    -------
    to : node -> nodes that it influences, within a cycle or through a clock's edge. Nets have positive numbers; what
        was added, a memory's columns and what cells sum up, has negative ones.
    nets : the bits of a net by name. inputs, outputs : the top's ports. states : registers and memories by name.

    Raises
    ------
    NotUnderstood : a cell without a rule, or a register that is clocked by something else than an input of the top.
    """

    def __init__(self, module: Mapping[str, Any]) -> None:
        self.to: dict[int, list[int]] = defaultdict(list)
        self.nets: dict[str, list[int | str]] = {name: net["bits"] for name, net in module["netnames"].items()}
        ports = module["ports"].items()
        self.inputs, self.outputs = (
            {name: tuple(port["bits"]) for name, port in ports if port["direction"] == way}
            for way in ("input", "output"))
        self.states: dict[str, State] = {}
        self._added = 0
        self._columns: dict[int, str] = {}  # the memory that a column is of
        self._names: dict[int, list[str]] = defaultdict(list)
        for name, bits in self.nets.items():
            for bit in bits:
                if isinstance(bit, int):
                    self._names[bit].append(name)
        for name, cell in module["cells"].items():
            kind = cell["type"]
            if kind == "$mem_v2":
                self._memory(name, cell)
            elif kind in BITWISE:
                self._bitwise(name, cell)
            elif kind in WHOLE:
                self._whole(cell["connections"], (port for port in cell["connections"] if port != "Y"), "Y")
            elif kind not in IGNORED:
                raise NotUnderstood(f"cell {name} is a {kind}, for which there is no rule")

    def named(self, name: str) -> tuple[int, ...]:
        """The nodes of a net, without constants. Raises NotUnderstood if there is none of that name."""
        if name not in self.nets:
            raise NotUnderstood(f"the netlist has no net {name}")
        return tuple(bit for bit in self.nets[name] if isinstance(bit, int))

    def names(self, node: int) -> list[str]:
        """A net's names, ours before those that yosys made."""
        return sorted(self._names.get(node, []), key=lambda name: (name.startswith("$"), len(name), name))

    def reached(self, sources: Iterable[int], walls: Iterable[int] = ()) -> dict[int, int | None]:
        """All nodes that the sources can influence ever, sources included, each with the one before it on a way there.

        walls : nodes that nothing passes, neither sources nor reached.
        """
        closed = set(walls)
        found: dict[int, int | None] = {node: None for node in sources if node not in closed}
        waiting = list(found)
        while waiting:
            following: list[int] = []
            for node in waiting:
                for other in self.to.get(node, ()):
                    if other not in found and other not in closed:
                        found[other] = node
                        following.append(other)
            waiting = following
        return found

    def path(self, found: Mapping[int, int | None], node: int) -> list[str]:
        """Names on the way from a source to a node, one a net that has one of ours."""
        way: list[str] = []
        step: int | None = node
        while step is not None:
            names = [name for name in self.names(step) if not name.startswith("$")]
            if step in self._columns:
                names = [self._columns[step]]
            if names and (not way or way[-1] != names[0]):
                way.append(names[0])
            step = found[step]
        return way[::-1]

    # Cells ------------------------------------------------------------------------------------------------------------

    def _node(self) -> int:
        self._added -= 1
        return self._added

    def _join(self, sources: Iterable[int | str], targets: Iterable[int | str]) -> None:
        """Every source to every target, over one node."""
        middle = self._node()
        for source in sources:
            if isinstance(source, int):
                self.to[source].append(middle)
        self.to[middle] += [target for target in targets if isinstance(target, int)]

    def _whole(self, pins: Mapping[str, list[int | str]], sources: Iterable[str], target: str) -> None:
        self._join((bit for port in sources for bit in pins[port]), pins[target])

    def _bitwise(self, name: str, cell: Mapping[str, Any]) -> None:
        pins, output = cell["connections"], "Q" if cell["type"] in REGISTERS else "Y"
        for index, target in enumerate(pins[output]):
            for port in LANES:
                bits = pins.get(port, [])
                # Words of the output's width one after another; or one word that is narrower and extended by its sign.
                for bit in bits[index::len(pins[output])] if len(bits) > index else bits[-1:]:
                    if isinstance(bit, int):
                        self.to[bit].append(target)
        self._whole(pins, (port for port in pins if port not in (*LANES, output)), output)
        if cell["type"] in REGISTERS:
            self._clocked(name, pins["CLK"])
            module = _owner(name)
            bits = tuple(pins[output])
            own = [one for one in self._names[bits[0]] if one.startswith(module) and "." not in one[len(module):]]
            label = min(own, key=lambda one: (one.startswith("$"), one)) if own else name
            self._state(State(name=label, module=module, bits=bits, ports={}))

    def _memory(self, name: str, cell: Mapping[str, Any]) -> None:
        """Columns: bit n of all words is one node. What is written goes to it, what is read comes from it."""
        pins, settings = cell["connections"], {
            key: int(cell["parameters"][key], 2)
            for key in ("WIDTH", "SIZE", "ABITS", "WR_PORTS", "RD_PORTS", "RD_CLK_ENABLE")}
        width, rows, address = settings["WIDTH"], settings["SIZE"], settings["ABITS"]
        columns = tuple(self._node() for _ in range(width))
        self._columns.update(dict.fromkeys(columns, name))
        ports: dict[str, tuple[int, ...]] = {}

        def part(port: str, number: int, bits: int) -> list[int | str]:
            return pins[port][number * bits:(number + 1) * bits]

        for number in range(settings["WR_PORTS"]):
            where = part("WR_ADDR", number, address)
            enables, values = part("WR_EN", number, width), part("WR_DATA", number, width)
            self._join(where, columns)
            for column, enable, value in zip(columns, enables, values, strict=True):
                for source in (enable, value):
                    if isinstance(source, int):
                        self.to[source].append(column)
            self._clocked(name, part("WR_CLK", number, 1))
            ports |= {f"write address {number}": _nets(where), f"write enable {number}": _nets(enables)}
        for number in range(settings["RD_PORTS"]):
            where = part("RD_ADDR", number, address)
            control = [bit for port in ("RD_EN", "RD_ARST", "RD_SRST") for bit in part(port, number, 1)]
            values = part("RD_DATA", number, width)
            self._join([*where, *control], values)
            for column, value in zip(columns, values, strict=True):
                self.to[column].append(value)  # type: ignore[arg-type]
            if settings["RD_CLK_ENABLE"] >> number & 1:
                self._clocked(name, part("RD_CLK", number, 1))
                self._state(State(name=f"{name} (read {number})", module=_owner(name), bits=_nets(values), ports={}))
            ports |= {f"read address {number}": _nets(where), f"read enable {number}": _nets(control)}
        self._state(State(name=name, module=_owner(name), bits=columns, rows=rows, written=settings["WR_PORTS"] > 0,
                          ports=ports))

    def _clocked(self, name: str, clock: list[int | str]) -> None:
        if not any(list(bits) == clock for bits in self.inputs.values()):
            raise NotUnderstood(f"{name} is clocked by a net that is no input of the top")

    def _state(self, state: State) -> None:
        """Two parts of one register, which yosys split, are told apart by a number."""
        name, number = state.name, 1
        while state.name in self.states:
            number += 1
            state = State(name=f"{name} #{number}", module=state.module, bits=state.bits, rows=state.rows,
                          written=state.written, ports=state.ports)
        self.states[state.name] = state


def _owner(cell: str) -> str:
    """The module that a cell was in, with a dot at its end."""
    if found := OWNER.match(cell):
        return found[1].replace("\\", "")
    return cell.rpartition(".")[0] + "." if "." in cell else ""


def _nets(bits: Iterable[int | str]) -> tuple[int, ...]:
    return tuple(bit for bit in bits if isinstance(bit, int))


def flow(verilog: str, top: str) -> Flow:
    """The graph of a design; the netlist is kept in the cache.

    Raises
    ------
    ToolMissing, BuildFailed : yosys is not there, or rejects the design. NotUnderstood : see Flow.
    """
    yosys, script = find_program(SYNTHESISER), SCRIPT.format(top=top)

    def fill(folder: Path) -> None:
        (folder / "design.v").write_text(verilog)
        (folder / "flow.ys").write_text(script)
        run_program(yosys, ("-q", "-s", "flow.ys"), what="elaboration", folder=folder, log=folder / "log",
                    failed_log=cache_root() / "logs" / "flow.log")
        (folder / "design.v").unlink()

    folder = cached("flow", digest(verilog, script, yosys.version), fill)
    modules = json.loads((folder / "design.json").read_text())["modules"]
    return Flow(modules[top])
