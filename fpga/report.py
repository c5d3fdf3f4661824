"""Reports: what a build came to, from yosys' netlist and from nextpnr's report."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from fpga.family import Arrangement, Family, Resources
from fpga.netlist import Memory

NOT_MODELLED = "nextpnr models neither DSPs nor block RAM here: its Fmax means nothing and is left out"


@dataclass(frozen=True, kw_only=True)
class CriticalPath:
    """The slowest path from a register to a register of the core's clock.

    Members
    -------
    start, end : cell and port. logic_ns, routing_ns : the delay's two parts, clock to output and set-up in the first.
    hops : (ns since the clock's edge, cell.port, net) of each cell that it passes.
    """

    start: str
    end: str
    logic_ns: float
    routing_ns: float
    hops: tuple[tuple[float, str, str], ...]

    @property
    def ns(self) -> float:
        return self.logic_ns + self.routing_ns


@dataclass(frozen=True, kw_only=True)
class Report:
    """What a build came to.

    Members
    -------
    board, device, preset, model : what was built. model is None for a machine that a host loads.
    core_mhz : the clock that the core gets. target_mhz : what place and route aimed at.
    arrangement : what was done to the netlist before it was placed; None where nothing was placed.
    fmax_mhz : None where the tool does not model it, or nothing was placed. timing_met : it says that the core may be
        clocked so; where it does not model all, that what it models is fast enough.
    lut, ff, dsp, bram, spram, lut_ram : of the placed design; of the netlist where nothing was placed.
    capacity : the device's.
    memories : what each became. seconds : of each step, when it was last run. cached : steps that were not run now.
    bitstream : where it is, or None. sha256 : of it.
    problems : of the netlist, see fpga/netlist.py; a build that has any fails.
    """

    board: str
    device: str
    preset: str
    model: str | None
    core_mhz: float
    target_mhz: float
    seed: int | None = None
    arrangement: Arrangement | None = None
    fmax_mhz: float | None = None
    fmax_note: str | None = None
    timing_met: bool | None = None
    lut: int
    ff: int
    dsp: int
    bram: int
    spram: int
    lut_ram: int
    capacity: Resources
    critical_path: CriticalPath | None = None
    memories: Sequence[Memory]
    problems: Sequence[str]
    tools: Mapping[str, str]
    seconds: Mapping[str, float]
    cached: Sequence[str]
    bitstream: str | None = None
    bytes: int | None = None
    sha256: str | None = None
    files: Mapping[str, str] = field(default_factory=dict)

    def json(self) -> dict[str, Any]:
        return asdict(self)


def read_fmax(report: Mapping[str, Any]) -> tuple[str, float]:
    """The core's clock net and its Fmax in a report of nextpnr: the slowest clock where there are several."""
    clocks = {name: float(entry["achieved"]) for name, entry in report["fmax"].items()}
    if not clocks:
        raise ValueError("the report has no clock: nothing in the design is clocked")
    name = min(clocks, key=lambda one: (clocks[one], one))
    return name, clocks[name]


def read_critical_path(report: Mapping[str, Any], clock: str) -> CriticalPath | None:
    """The path between two registers of that clock."""
    edges = (f"posedge {clock}", f"negedge {clock}")
    for path in report["critical_paths"]:
        if path["from"] in edges and path["to"] in edges and path["path"]:
            return _path(path["path"])
    return None


def _path(segments: Sequence[Mapping[str, Any]]) -> CriticalPath:
    hops: list[tuple[float, str, str]] = []
    logic = routing = 0.0
    for segment in segments:
        if segment["type"] == "routing":
            routing += segment["delay"]
            hops.append((round(logic + routing, 2), _place(segment["to"]), segment.get("net", "")))
        else:
            logic += segment["delay"]
    return CriticalPath(start=_place(segments[0]["from"]), end=_place(segments[-1]["to"]), logic_ns=round(logic, 2),
                        routing_ns=round(routing, 2), hops=tuple(hops))


def _place(end: Mapping[str, Any]) -> str:
    return f"{end['cell']}.{end['port']}"


def read_usage(report: Mapping[str, Any], family: Family) -> dict[str, int]:
    """Those of lut, ff, dsp, bram, spram and lut_ram that the tool counts in a placed design."""
    usage = {name: int(entry["used"]) for name, entry in report["utilization"].items()}
    return {name: math.ceil(sum(usage.get(kind, 0) * share for kind, share in kinds.items()))
            for name, kinds in family.placed_cells.items()}


def load_report(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text())
    return content
