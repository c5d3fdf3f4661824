"""A profile as plain JSON values; the tables of `lpu profile` are made of these."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from sim.profile.chain import Link, Stretch, stretches
from sim.profile.idle import Gap
from sim.profile.losses import Loss
from sim.profile.profile import Profile


def report(made: Profile) -> dict[str, Any]:
    """What `lpu profile --json` prints; all times in cycles, `macs` in multiply-accumulates."""
    cfg = made.image.config
    total = sum(made.losses.values(), Loss())
    padding = {name: count / cfg.peak_macs for name, count in asdict(total).items() if name != "useful"}
    if total.unknown:  # without labels only the sum is known
        padding["unknown"] -= made.floor
    idle = sum(gap.cycles for gap in made.gaps)
    return {
        **{name: made.image.provenance[name] for name in ("experts",) if name in made.image.provenance},
        "preset": cfg.name, "position": made.position, "classified": made.classify, "cycles": made.cycles,
        "floor": made.floor, "padding": padding, "idle": idle, "utilisation": made.floor / made.cycles,
        "useful_macs": made.useful, "peak_macs_per_cycle": cfg.peak_macs,
        "units": {unit: {"issues": count, "occupancy": count / made.cycles} for unit, count in made.issues.items()},
        "matmuls": [{"kind": kind, "steps": one.total // cfg.peak_macs, "macs": asdict(one)}
                    for kind, one in made.losses.items()],
        "idle_by_cause": idle_by_cause(made.gaps), "gaps": [_gap(gap) for gap in made.gaps],
        "chain_by_work": chain_by_work(made.chain), "chain": [_stretch(one) for one in stretches(made.chain)]}


def _gap(gap: Gap) -> dict[str, Any]:
    return {
        "start": gap.start, "cycles": gap.cycles, "cause": gap.cause.value,
        "before": gap.task.name if gap.task else None, "layer": gap.task.layer if gap.task else None,
        "producer": str(gap.producer) if gap.producer else None, "space": gap.space.value if gap.space else None,
        "path": [str(task) for task in gap.path]}


def idle_by_cause(found: Iterable[Gap]) -> list[dict[str, Any]]:
    """Idle cycles by cause, what was to come, and the work that it waited for; the most first."""
    rows: dict[tuple[object, ...], dict[str, Any]] = {}
    for gap in found:
        before = gap.task.kind if gap.task else None
        producer = f"{gap.producer.unit} {gap.producer.kind}" if gap.producer and gap.path else None
        space = gap.space.value if gap.space and gap.path else None
        row = rows.setdefault((gap.cause, before, producer, space), {
            "cause": gap.cause.value, "before": before, "producer": producer, "space": space, "gaps": 0, "cycles": 0,
            "longest": 0, "path": []})
        row["gaps"] += 1
        row["cycles"] += gap.cycles
        if gap.cycles > row["longest"]:
            row["longest"], row["path"] = gap.cycles, [str(task) for task in gap.path]
    return sorted(rows.values(), key=lambda row: -row["cycles"])


def _stretch(one: Stretch) -> dict[str, Any]:
    return {
        "unit": one.unit or None, "layer": one.layer, "kinds": list(one.kinds), "first": one.first, "last": one.last,
        "links": one.links, "issue": one.issue, "cycles": one.cycles, "late": one.late,
        "next_waits_for": one.cause.value, "space": one.space.value if one.space else None}


def chain_by_work(links: Iterable[Link]) -> list[dict[str, Any]]:
    """The chain's cycles by unit, kind of work, and how the next link waited for it; the most first."""
    rows: dict[tuple[object, ...], dict[str, Any]] = {}
    for link in links:
        unit, kind = (link.task.unit, link.task.kind) if link.task else (None, None)
        row = rows.setdefault((unit, kind, link.cause, link.space), {
            "unit": unit, "kind": kind, "next_waits_for": link.cause.value,
            "space": link.space.value if link.space else None, "links": 0, "cycles": 0, "late": 0})
        row["links"] += 1
        row["cycles"] += link.cycles
        row["late"] += link.late
    return sorted(rows.values(), key=lambda row: -(row["cycles"] + row["late"]))
