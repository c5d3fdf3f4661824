"""`lpu profile`: where the cycles of a token go."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from compiler.errors import one_line
from compiler.image_file import check_writable, write_atomically
from sim.bench_tables import expert_share
from sim.commands import common
from sim.profile import Profile, profile
from sim.profile.profile import checked_timeline
from sim.profile.report import report
from sim.profile.trace import difference, image_events, trace_bytes

POSITION = 63
MOST_ROWS = 12


def profile_command(
    model: common.ModelOrImage,
    preset: common.ImagePreset = None,
    position: Annotated[int | None, typer.Option(help="Position of the token; 63, or the last.")] = None,
    prompt_token: Annotated[bool, typer.Option("--prompt-token", help="A token without classifier.")] = False,
    context: common.Context = None,
    trace: Annotated[Path | None, typer.Option(help="Write what happens when, for ui.perfetto.dev.")] = None,
    trace_rtl: Annotated[Path | None, typer.Option(help="The same, as seen in a run of the RTL.")] = None,
    as_json: common.Json = False,
) -> None:
    """Take a token apart: units, idle cycles by cause, the chain that bounds it, and the distance to the floor."""
    for path in (trace, trace_rtl):
        if path is not None:
            check_writable(path)
    image = common.open_image(model, preset, context)
    at, classify = min(POSITION, image.context - 1) if position is None else position, not prompt_token
    with common.progress(f"taking the token at position {at} apart"):
        made = profile(image, at, classify=classify)
    if trace is not None:
        write_atomically(trace, trace_bytes(image, image_events(image, made.timeline, at), at, classify=classify))
    differs = _trace_rtl(made, trace_rtl) if trace_rtl is not None else None
    if as_json:
        common.print_json({**report(made), **({} if trace_rtl is None else {"rtl_differs": differs})})
    else:
        show(report(made), image.provenance.get("name"))
    if differs:
        common.err.print(f"lpu: the RTL does something else than the image says: {differs}")
        raise typer.Exit(1)


def _trace_rtl(made: Profile, path: Path) -> str | None:
    """Write what the RTL does; returns the first difference from the image."""
    from sim.profile.watch import rtl_events  # generates the gateware, which a profile can do without
    image, position, classify = made.image, made.position, made.classify
    with common.progress(f"running {position + 1} tokens on the RTL"):
        found = rtl_events(image, position, classify=classify)
    write_atomically(path, trace_bytes(image, found, position, classify=classify))
    return difference(image_events(image, checked_timeline(image, position, classify=classify), position), found)


def show(made: dict[str, Any], name: object) -> None:
    cycles = made["cycles"]
    kind = "classified" if made["classified"] else "prompt"
    common.out.print(f"{one_line(str(name))} on {made['preset']}, {kind} token at position {made['position']}")
    parts = Table("cycles", "", box=None, pad_edge=False)
    padding = {"padded lanes": "lanes", "padded taps": "taps", "masked positions": "masked", "look-ups": "lookup",
               "padding, unlabelled": "unknown"}
    rows = [("floor: useful multiply-accumulates at peak", made["floor"]),
            *((text, made["padding"][key]) for text, key in padding.items() if made["padding"][key]),
            ("matrix unit idle", made["idle"])]
    for text, count in rows:
        parts.add_row(_number(count), f"{text} ({count / cycles:.1%})")
    parts.add_row(_number(cycles), f"the token; {', '.join(_occupancy(made))}")
    common.out.print(parts)
    if experts := made.get("experts"):
        common.out.print(expert_share(experts))
    idle = Table("idle", "gaps", "longest", "before", "cause", "waits for", box=None, pad_edge=False)
    for row in made["idle_by_cause"][:MOST_ROWS]:
        where = f" ({row['space']})" if row["space"] else ""
        idle.add_row(str(row["cycles"]), str(row["gaps"]), str(row["longest"]), row["before"] or "the end",
                     row["cause"] + where, _path(row["path"]))
    _more(idle, made["idle_by_cause"], "cycles")
    common.out.print()
    common.out.print(idle)
    _print_chain(made)


def _number(count: float) -> str:
    return f"{count:.1f}".removesuffix(".0")


def _occupancy(made: dict[str, Any]) -> list[str]:
    names = {"matrix": "steps", "vector": "passes", "scalar": "operations"}
    return [f"{unit} {one['issues']} {names[unit]} ({one['occupancy']:.1%})" for unit, one in made["units"].items()]


def _path(path: list[str]) -> str:
    shown = [*path[:3], "...", path[-1]] if len(path) > 5 else path
    return " < ".join(shown)


def _more(table: Table, rows: list[dict[str, Any]], *columns: str) -> None:
    if rest := rows[MOST_ROWS:]:
        table.add_row(str(sum(row[column] for row in rest for column in columns)), f"in {len(rest)} more rows")


def _print_chain(made: dict[str, Any]) -> None:
    """One layer of the chain in the middle, and all of it by work."""
    layers = [one["layer"] for one in made["chain"] if one["layer"] is not None]
    if layers:
        layer = max(layers) // 2
        table = Table("issue", "cycles", "late", f"chain, layer {layer}", "the next waits for", box=None,
                      pad_edge=False)
        for one in made["chain"]:
            if one["layer"] == layer:
                span = one["first"] if one["links"] == 1 else f"{one['first']} to {one['last']}"
                where = f" ({one['space']})" if one["space"] else ""
                table.add_row(str(one["issue"]), str(one["cycles"]), str(one["late"] or ""), f"{one['unit']} {span}",
                              one["next_waits_for"] + where)
        common.out.print()
        common.out.print(table)
    table = Table("cycles", "late", "chain, by work", "the next waits for", box=None, pad_edge=False)
    for row in made["chain_by_work"][:MOST_ROWS]:
        where = f" ({row['space']})" if row["space"] else ""
        work = f"{row['unit']} {row['kind']}" if row["unit"] else "-"
        table.add_row(str(row["cycles"]), str(row["late"] or ""), work, row["next_waits_for"] + where)
    _more(table, made["chain_by_work"], "cycles", "late")
    common.out.print()
    common.out.print(table)
