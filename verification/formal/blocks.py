"""Blocks with state: a bank keeps what was written, reductions are those of a loop over the lanes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from amaranth.hdl import Module, Mux, Signal, Value, signed

from rtl import isa
from rtl.bank import Bank
from rtl.config import Config, preset
from rtl.mesh import delays
from rtl.reduce import Reduce
from rtl.timing import bank_stages, reduce_stages
from verification.formal.prover import Property, claim, constant, given

ROWS = 4  # of a bank: every address bit counts, and the solver has few rows to look at
LOWEST = -32768
SMALL = 4


def later(m: Module, value: Value, cycles: int, name: str) -> Value:
    """The value so many cycles ago; 0 before there was one."""
    return delays(m, value, cycles, name)[-1]


def bank(m: Module, *, cfg: Config) -> Sequence[Value]:
    """A row that is watched is what its bytes were last written with, whatever else is written. Reads take
    `bank_stages` cycles, and a single port leaves a read out that meets a write. With `ecc` a write can be seen as much
    later, and nothing is ever reported: no bit flips here."""
    m.submodules.bank = dut = Bank(cfg)
    watched, kept = Signal(range(cfg.bank_rows), name="watched"), Signal(8 * cfg.taps)
    constant(m, watched)
    m.d.comb += given((watched < cfg.bank_rows) & (dut.write_row < cfg.bank_rows))
    written = Value.cast(dut.write_data)
    for byte in range(cfg.taps):
        with m.If(dut.write_enable[byte] & (dut.write_row == watched)):
            m.d.sync += kept[8 * byte:8 * byte + 8].eq(written[8 * byte:8 * byte + 8])
    reads = dut.read_enable & (dut.read_row == watched)
    latency, landing = bank_stages(cfg), 0
    if cfg.ecc:
        m.d.comb += [given(~(dut.read_enable & dut.write_enable.any())), claim(~dut.corrected & ~dut.uncorrectable)]
        landing = latency
    elif cfg.single_port:
        reads &= ~dut.write_enable.any()
    else:
        m.d.comb += given(~(reads & dut.write_enable.any() & (dut.write_row == watched)))  # NEVER_COLLIDES
    asked, expected = later(m, reads, latency, "asked"), later(m, kept, latency + landing, "expected")
    m.d.comb += claim(~asked | (Value.cast(dut.read_data) == expected))
    return [watched, dut.read_row, dut.read_enable, dut.write_row, dut.write_enable, written]


class _Reduction:
    """A Reduce with free operands, and what a loop over the lanes makes of the same."""

    def __init__(self, m: Module, cfg: Config) -> None:
        self.cfg, self.dut = cfg, Reduce(cfg)
        m.submodules.reduce = dut = self.dut
        results, terms = Value.cast(dut.results), Value.cast(dut.terms)
        self.free = [dut.kind, dut.first, dut.target, results, terms, dut.masked, dut.read_index]
        if cfg.sequences > 1:
            self.free.append(dut.sequence)
        # The pass, as late as it meets the registers.
        stages = reduce_stages(cfg)
        self.kind, self.first, self.target, self.sequence = (
            later(m, Value.cast(value), stages, name) for name, value in (
                ("kind", dut.kind), ("first", dut.first), ("target", dut.target), ("sequence", dut.sequence)))
        lanes = range(cfg.lanes)
        self.results = [later(m, dut.results[lane], stages, f"result_{lane}").as_signed() for lane in lanes]
        self.terms = [later(m, dut.terms[lane], stages, f"term_{lane}").as_signed() for lane in lanes]
        masked = later(m, dut.masked, stages, "masked")
        self.masked = [masked[lane] for lane in lanes]
        m.d.comb += [given(dut.kind <= max(one.value for one in isa.Reduce)),
                     *(given(~dut.masked[lane] | (dut.terms[lane] == 0)) for lane in lanes)]


def reduction(m: Module, *, cfg: Config) -> Sequence[Value]:
    """A reduce register is the naive reduction of all its passes, and a read sees those up to its own cycle."""
    one = _Reduction(m, cfg)
    # Small numbers: the width of sums is not what can go wrong here, and adders in another order are hard to compare.
    for lane in range(cfg.lanes):
        for number in (one.dut.results[lane], one.dut.terms[lane]):
            m.d.comb += given((number >= -SMALL) & (number < SMALL))
    watched, total = Signal(range(cfg.reduces), name="watched"), Signal(signed(32))
    constant(m, watched)
    kind = {member: one.kind == member.value for member in isa.Reduce}
    added, largest, biggest = one.terms[0], Mux(one.masked[0], LOWEST, one.results[0]), Mux(
        one.masked[0], 0, size(one.results[0]))
    for masked, result, term in zip(one.masked[1:], one.results[1:], one.terms[1:], strict=True):
        added = (added + term)[:32].as_signed()
        largest = Mux(~masked & (result > largest), result, largest)
        biggest = Mux(~masked & (size(result) > biggest), size(result), biggest)
    with m.If(one.target == watched):
        with m.If(kind[isa.Reduce.SUM]):
            m.d.sync += total.eq(added + Mux(one.first, 0, total))
        with m.If(kind[isa.Reduce.MAX]):
            m.d.sync += total.eq(Mux(one.first | (largest > total), largest, total))
        with m.If(kind[isa.Reduce.MAXABS]):
            m.d.sync += total.eq(Mux(one.first | (biggest > total), biggest, total))
    # One register is used for one kind of reduction until it begins afresh: a maximum of a sum means nothing.
    held = Signal.like(one.kind)
    combines = (one.target == watched) & (one.kind != 0) & ~kind[isa.Reduce.ARGMAX]
    with m.If(combines):
        m.d.sync += held.eq(one.kind)
    m.d.comb += given(~(combines & ~one.first) | (one.kind == held))
    # What is written in a cycle is read from the next on; the answer comes a cycle after the question.
    asked = later(m, one.dut.read_index == watched, 1, "asked")
    m.d.comb += claim(~asked | (one.dut.read_value.as_signed() == total))
    return [watched, *one.free]


def size(result: Value) -> Value:
    return Mux(result < 0, -result, result)


def argmax(m: Module, *, cfg: Config) -> Sequence[Value]:
    """The winner is the first of the largest, by a loop over blocks and lanes, for each sequence apart."""
    one = _Reduction(m, cfg)
    watched = Signal(range(cfg.sequences), name="watched")
    if cfg.sequences > 1:
        constant(m, watched)
    best, winner, block, known = Signal(signed(16)), Signal(cfg.token_bits), Signal(cfg.token_bits), Signal()
    mine = (one.kind == isa.Reduce.ARGMAX.value) & ((one.sequence == watched) if cfg.sequences > 1 else 1)
    m.d.comb += given(~mine | one.first | known)
    now = Mux(one.first, 0, block)
    top, index = Mux(one.masked[0], LOWEST, one.results[0]), 0
    for lane in range(1, cfg.lanes):
        better = ~one.masked[lane] & (one.results[lane] > top)
        top, index = Mux(better, one.results[lane], top), Mux(better, lane, index)
    with m.If(mine):
        m.d.sync += [block.eq(now + 1), known.eq(1)]
        with m.If(one.first | (top > best)):
            m.d.sync += [best.eq(top), winner.eq(now * cfg.lanes + index)]
    token = one.dut.token[watched] if cfg.sequences > 1 else one.dut.token[0]
    m.d.comb += claim(~known | (token == winner))
    return [*([watched] if cfg.sequences > 1 else []), *one.free]


def _bank(name: str) -> Config:
    rows = ROWS if preset(name).bank_rows.bit_count() == 1 else ROWS - 1  # then it is two memories, and stays so
    cfg = replace(preset(name), bank_rows=rows, taps=2, tile_taps=2)
    return replace(cfg, bank_register=False) if cfg.ecc else cfg  # two writes and a read must be over in time


def _reduce(name: str) -> Config:
    return replace(preset(name), lanes=2, groups=1, tile_lanes=2, reduces=2, token_bits=4, noise_rate=0, top_k=False)


PROPERTIES = (
    *(Property(unit="bank", name=f"as of {name}", build=partial(bank, cfg=_bank(name)), depth=depth, bounded=True,
               intent="a read is what was written last")
      for name, depth in (("tiny", 9), ("icebreaker", 9), ("ulx3s", 9), ("tiny+ecc", 8))),
    *(Property(unit="reduce", name=f"registers as of {name}", build=partial(reduction, cfg=_reduce(name)), depth=5,
               bounded=True, intent="MAX, MAXABS and SUM are those of a loop, and a read sees all writes up to it")
      for name in ("tiny", "ulx3s")),
    *(Property(unit="reduce", name=f"ARGMAX as of {name}", build=partial(argmax, cfg=_reduce(name)), depth=8,
               bounded=True, intent="the first of the largest") for name in ("tiny", "ulx3s")))
