"""Timing is independent of data, proved on the netlist of a preset: `python -m verification.independence`.

The machine's state is split in two. Control is what decides when something happens: the sequencers, the issue logic,
the control unit and the host port. Data is all the rest, and the few registers of control that `EXCEPTIONS` names.

Time: no data influences control, nor a wire of `moments`, within a cycle or over any number of cycles. So two machines
with the same program, position and host, whatever their weights, activations and tokens, are in the same control state
in every cycle.

Addresses: no content of a data memory influences an address or an enable of any memory, but for the gather, where the
token's embedding column becomes an address of the banks and of activation memory, for the experts that a router has
chosen, whose matrices' rows become an address of the banks, and for tables of functions, which a number looks up. All
are read in the cycle that the program says.

Stop: a machine with ECC stops when two bits of a word of its banks have flipped. That is data that decides when
something happens, and meant so: one register, `STOP`, says that it was. What it reaches is not followed, so the proof
is about machines in which no two bits of a word have flipped.

An influence is a path in the graph of verification/flow.py, through operators, registers, memories, their addresses,
enables and resets.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field

from rich.console import Console
from rich.table import Table

from rtl.config import PRESETS, WITH_ECC, Config, preset
from rtl.isa import QUEUES
from rtl.ports import operation_layout, pass_layout, step_layout
from rtl.verilog import TOP, generate
from sim.verilate import cached_verilog
from verification.flow import Flow, NotUnderstood, State, flow

CONTROL = ("core.control.", "core.host.", "core.noise_issue.", *(f"core.{queue.name}_{part}." for queue in QUEUES
                                            for part in ("sequencer", "issue")))
"""Modules whose state decides when something happens, with all that is below them."""
DATA = ("core.banks.", "core.act.", "core.memory.", "core.param.", "core.matrix.", "core.vector.", "core.scalar.",
        "core.noise.", "core.experts.", "core.bank_errors.")
"""Modules whose state is data, every bit of it: also the passes on their way through a pipeline."""

MACHINES = (*PRESETS, *(f"{name}{WITH_ECC}" for name, cfg in PRESETS.items() if not cfg.single_port))
"""Whose proofs there are: every preset, and every one that can have ECC with it."""

ANSWER = "the register behind tx_data"
EXCEPTIONS = {
    "core.control.token": "the token that was chosen, for the record and for STATUS",
    "core.control.column": "the token's embedding column, which the gather makes an address of",
    **{f"core.matrix_issue.{name}": "address of the next step of a gather or of a chosen expert's matrix"
       for name in ("row_before", "row_start", "act_before", "act_start")},
    ANSWER: "bytes on their way to the host",
    **{f"core.host.{name}_value": "a word that the host reads, on its way there" for name in ("bank", "vector", "act")},
}
"""Registers in modules of control that data may reach, and what they are. They are data: nothing that they reach is
control."""

GATHER = "core.control.column"
EXPERTS = "core.experts"
"""Where the addresses' proof is cut, and nowhere else: the token's column, and the experts' first rows."""
GATHERED = ("core.banks.", "core.act.")
"""Modules whose memories the gather may address."""
STOP = "core.bank_errors.failed"
"""Where both proofs are cut on a machine with ECC."""
LOOKED_UP = "core.scalar.table"
"""A table of functions that something writes, because the host's constants lie behind it: a number may be its address,
as it is the address of tables that nobody writes."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What was found for a preset.

    Members
    -------
    control, data : register bits of each. memory : bits of memories, of control and of data.
    exceptions : those that data does reach, with the number of bits that it reaches. gathers : memory ports that the
        gather's address reaches; experts : those that the choice of an expert reaches. moments : wires that were
        looked at beside the states.
    tables : memories that are functions: data is their address, and what they answer is arithmetic.
    wrong : what should not be, in words, with the way that the influence takes.
    """

    preset: str
    control: int
    data: int
    memory: dict[str, int]
    exceptions: dict[str, int]
    gathers: list[str]
    experts: list[str]
    moments: int
    tables: int
    wrong: list[str] = field(default_factory=list[str])
    seconds: float = 0.0


def moments(cfg: Config) -> Iterator[tuple[str, bool]]:
    """Names of wires that data must not influence, and whether the gather may."""
    yield from ((f"core.control.{name}", False) for name in ("go", "start", "ready", "idle"))
    for queue in QUEUES:
        yield f"core.{queue.name}_sequencer.idle", False
    for unit, layout in (("matrix_issue.step", step_layout(cfg)), ("vector_issue.issued", pass_layout(cfg)),
                         ("scalar_issue.operation", operation_layout(cfg))):
        for name in (name for name, part in layout if part.width):  # `sequence` has no bits where there is only one
            yield f"core.{unit}.{name}", f"{unit}.{name}" in ("matrix_issue.step.row", "matrix_issue.step.act")


def controls(cfg: Config) -> Iterator[tuple[str, str]]:
    """Influences that there must be, or the graph is blind: from a state or an input, to a state or an output."""
    for queue in QUEUES:
        yield "core.control.position", f"core.{queue.name}_sequencer.outer_left"  # by the bucket's dynamic values
        yield f"core.{queue.name}_sequencer.words", "tx_valid"  # a program says when a record comes
    yield "core.banks.bank_0", "tx_data"
    if cfg.noise_rate:
        yield "core.noise.state_0", "core.control.token"
        yield "core.noise_issue.missing_0", "core.noise.state_0"
    if cfg.ecc:
        yield "core.banks.bank_0", STOP
        yield STOP, "tx_valid"
    yield "rx_data", "core.matrix_sequencer.words"


def prove(graph: Flow, cfg: Config) -> Verdict:
    """Both proofs on a machine's graph. Raises NotUnderstood: a state is in no known module, or a name is not there."""
    control, data, answer = _split(graph)
    started = time.perf_counter()
    wrong: list[str] = []

    # Time: all that data reaches, ever. Exceptions need no cut: they are followed, too; but the stop is the end.
    stop = [bit for state in _of(graph, STOP) for bit in state.bits] if cfg.ecc else []
    reached = graph.reached((bit for state in data for bit in state.bits), walls=stop)
    exceptions: dict[str, int] = {}
    for state in control:
        name = ANSWER if state.name in answer else state.name.partition(" #")[0]
        bits = [bit for bit in state.bits if bit in reached]
        if bits and name in EXCEPTIONS:
            exceptions[name] = exceptions.get(name, 0) + len(bits)
        elif bits:
            wrong.append(f"data reaches {state.name}: {_way(graph.path(reached, bits[0]))}")
    wires = list(moments(cfg))
    wires_and_pins = [*wires, *((name, False) for name in graph.outputs if name != "tx_data")]
    for name, gathered in wires_and_pins:
        bits = [bit for bit in graph.named(name) if bit in reached]
        if bits and not gathered:
            wrong.append(f"data reaches the wire {name}: {_way(graph.path(reached, bits[0]))}")

    # Addresses: what memories hold, and the token; cut at the gather's column.
    contents = [bit for state in data if state.rows and state.written for bit in state.bits]
    contents += [bit for name in ("core.control.token", GATHER) for state in _of(graph, name) for bit in state.bits]
    column = [bit for state in _of(graph, GATHER) for bit in state.bits]
    rows = [bit for state in _of(graph, EXPERTS) for bit in state.bits] if cfg.choices else []
    by_contents = graph.reached(contents, walls=[*column, *rows, *stop])
    by_gather, by_expert = graph.reached(column, walls=stop), graph.reached(rows, walls=[*column, *stop])
    gathers, experts = list[str](), list[str]()
    for state in graph.states.values():
        for port, bits in state.ports.items() if state.written else ():
            if state.name == LOOKED_UP and port.startswith("read address"):
                continue
            if found := [bit for bit in bits if bit in by_contents]:
                wrong.append(f"data reaches {port} of {state.name}: {_way(graph.path(by_contents, found[0]))}")
            elif found := [bit for bit in bits if bit in by_gather]:
                gathers.append(f"{state.name} {port}")
                if not state.module.startswith(GATHERED) or "address" not in port:
                    wrong.append(f"the gather reaches {port} of {state.name}: {_way(graph.path(by_gather, found[0]))}")
            if found := [bit for bit in bits if bit in by_expert]:
                experts.append(f"{state.name} {port}")
                if not state.module.startswith("core.banks.") or "address" not in port:
                    wrong.append(f"an expert reaches {port} of {state.name}: {_way(graph.path(by_expert, found[0]))}")
    for name, _ in wires:
        if found := [bit for bit in graph.named(name) if bit in by_contents]:
            wrong.append(f"data reaches the wire {name} past the gather: {_way(graph.path(by_contents, found[0]))}")

    wrong += [f"the graph is blind: it has no path from {source} to {target}"
              for source, target in controls(cfg) if not _sees(graph, source, target)]
    return Verdict(
        preset=cfg.name, control=_bits(control) - sum(exceptions.values()), data=_bits(data) + sum(exceptions.values()),
        memory={name: sum(state.rows * len(state.bits) for state in states)
                for name, states in (("control", control), ("data", data))},
        exceptions=dict(sorted(exceptions.items())), gathers=sorted(gathers), experts=sorted(experts),
        moments=len(wires_and_pins),
        tables=sum(not state.written or state.name == LOOKED_UP for state in data if state.rows), wrong=wrong,
        seconds=time.perf_counter() - started)


def _split(graph: Flow) -> tuple[list[State], list[State], set[str]]:
    """States of control, those of data, and the name of the register that drives tx_data, where one does."""
    control: list[State] = []
    data: list[State] = []
    for state in graph.states.values():
        if state.module.startswith(CONTROL):
            control.append(state)
        elif state.module.startswith(DATA):
            data.append(state)
        else:
            raise NotUnderstood(f"{state.name} is neither in a module of control nor in one of data")
    pins = set(graph.outputs["tx_data"])
    answer = {state.name for state in control if pins & set(state.bits)}
    if len(answer) > 1:
        raise NotUnderstood(f"tx_data comes from {len(answer)} registers, not from one: {', '.join(sorted(answer))}")
    return control, data, answer


def _of(graph: Flow, name: str) -> list[State]:
    """The states of a name, or below that of a module; parts of one register are several."""
    found = [state for state in graph.states.values() if state.name.partition(" #")[0] == name
             or state.name.startswith(f"{name}.")]
    if not found:
        raise NotUnderstood(f"the netlist has no register or memory {name}")
    return found


def _sees(graph: Flow, source: str, target: str) -> bool:
    sources = graph.inputs[source] if source in graph.inputs else [
        bit for state in _of(graph, source) for bit in state.bits]
    targets = graph.outputs[target] if target in graph.outputs else [
        bit for state in _of(graph, target) for bit in state.bits]
    reached = graph.reached(sources)
    return any(bit in reached for bit in targets)


def _bits(states: Sequence[State]) -> int:
    return sum(len(state.bits) for state in states if not state.rows)


def _way(names: Sequence[str]) -> str:
    return " -> ".join(names)


def machine_flow(cfg: Config) -> Flow:
    """The graph of a machine, as it is shipped."""
    return flow(cached_verilog(lambda: generate(cfg), facts=repr(cfg)), TOP)


def main(arguments: Sequence[str] | None = None) -> int:
    """Prove the presets named, by default all; 1 if one is not proved."""
    parser = argparse.ArgumentParser(prog="python -m verification.independence", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", choices=MACHINES, action="append", help="one, or several; without, all")
    parser.add_argument("--json", action="store_true", help="all that was found, as JSON")
    options = parser.parse_args(arguments)
    verdicts: list[Verdict] = []
    for name in options.preset or MACHINES:
        verdicts.append(prove(machine_flow(preset(name)), preset(name)))
    if options.json:
        print(json.dumps([asdict(verdict) for verdict in verdicts], indent=1))
    else:
        _print(verdicts)
    return int(any(verdict.wrong for verdict in verdicts))


def _print(verdicts: Sequence[Verdict]) -> None:
    console = Console(width=None if sys.stdout.isatty() else 160)
    halves = (f"{kind}\n{what}" for what in ("register bits", "memory bits") for kind in ("control", "data"))
    table = Table("preset", *halves, "named\nexceptions", "wires\nwatched", "paths that\nmust not be", "timing")
    for one in verdicts:
        table.add_row(
            one.preset, *map(str, (one.control, one.data, one.memory["control"], one.memory["data"])),
            str(len(one.exceptions)), str(one.moments), str(len(one.wrong)),
            "[red]NOT PROVED" if one.wrong else "[green]independent of data")
    console.print(table)
    used = {name for one in verdicts for name in one.exceptions}
    console.print("Registers in modules of control that hold data, and reach no control:")
    for name, reason in EXCEPTIONS.items():
        if name in used:
            console.print(f"  {name}: {reason}", highlight=False)
    for one in verdicts:
        for text in one.wrong:
            console.print(f"{one.preset}: {text}", style="red", highlight=False)


if __name__ == "__main__":
    sys.exit(main())
