"""Probe: what the three queues issue, as one output for a simulation to watch. No machine that is built has it."""

from __future__ import annotations

from amaranth import Module, Mux
from amaranth.hdl import Shape, unsigned
from amaranth.lib import data

from rtl.config import Config
from rtl.ports import operation_layout, pass_layout, step_layout


def probe_layout(cfg: Config) -> data.StructLayout:
    """`go`: cycle 0 of a token. `start`: the step is the first of a word. The rest is zero in cycles without work, so
    that the whole is zero where nothing happens."""
    return data.StructLayout({"go": unsigned(1), "start": unsigned(1), **_parts(cfg)})


def _parts(cfg: Config) -> dict[str, data.StructLayout]:
    return {"matrix": step_layout(cfg), "vector": pass_layout(cfg), "scalar": operation_layout(cfg)}


def connect_probe(m: Module, probe, *, go, start, **issued) -> None:
    """Statements that drive a probe. issued: the step, pass and operation of the three issue units."""
    m.d.comb += [probe.go.eq(go), probe.start.eq(start)]
    m.d.comb += [probe[name].as_value().eq(Mux(one.valid, one.as_value(), 0)) for name, one in issued.items()]


def places(cfg: Config) -> dict[tuple[str, str], tuple[int, int]]:
    """Lowest bit and width of each member of a probe's three parts; of an array, of its first element.

    For decoding thousands of probes, which takes seconds through Amaranth.
    """
    whole = probe_layout(cfg)
    found: dict[tuple[str, str], tuple[int, int]] = {}
    for unit, part in _parts(cfg).items():
        for name, shape in part.members.items():
            element = shape.elem_shape if isinstance(shape, data.ArrayLayout) else shape
            found[unit, name] = (whole[unit].offset + part[name].offset, Shape.cast(element).width)
    return found
