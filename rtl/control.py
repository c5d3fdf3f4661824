"""Control: one token after another, and everything that depends on the position or the token alone."""

from __future__ import annotations

from typing import Any

from amaranth import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import bits_for

from rtl.arithmetic import node, pipe
from rtl.config import Config, log2
from rtl.contents import EMPTY, Contents
from rtl.current import ValuesSignature, bucket_bits, dynamic_layout
from rtl.isa import MATRIX, VECTOR
from rtl.issue_matrix import column_bits
from rtl.ports import NEVER_COLLIDES, byte_member, each_sequence
from rtl.protocol import Space, register_names, register_words

COUNTER_BITS = 32
"""Cycle counters, as the protocol has them."""


def record_layout(cfg: Config) -> data.StructLayout:
    """What the host hears of each token, in the byte order of the protocol."""
    return data.StructLayout({"token": each_sequence(16, cfg), "cycles": COUNTER_BITS})


def furthest(positions):
    """The largest of the sequences' positions."""
    found = positions[0]
    for sequence in range(1, len(positions)):
        found = Mux(positions[sequence] > found, positions[sequence], found)
    return found


class Values(wiring.Component):
    """The table of dynamic values, which tells the queues the row of it that the token in progress uses.

    Parameters
    ----------
    cfg : uses values, value_bits, buckets.
    contents : uses VALUES.

    Members
    -------
    go : In(1). A token starts. bucket : In. Which row it uses; steady during the token.
    row : Out(ValuesSignature). The row's values one after another.
    load : In(address, data, en). Writes the table: address = bucket * values + index; only between tokens.

    Latency
    -------
    One value a cycle; with `go` in cycle 0 the last one comes two cycles before `rtl.timing` values_ready.

    Reset
    -----
    Nothing is on its way but entry 0; the table keeps its contents.
    """

    def __init__(self, cfg: Config, contents: Contents = EMPTY) -> None:
        self.cfg, self.contents = cfg, contents
        self.address_bits = log2(cfg.values * cfg.buckets)
        super().__init__({
            "go": In(1), "bucket": In(bucket_bits(cfg)), "row": Out(ValuesSignature(cfg)),
            "load": In(wiring.Signature({
                "address": Out(self.address_bits), "data": Out(cfg.value_bits), "en": Out(1)}))})

    def elaborate(self, platform) -> Module:
        m = Module()
        cfg, index_bits = self.cfg, log2(self.cfg.values)
        init: list[Any] = [{"value": value, "some": value != 0} for value in self.contents.of(Space.VALUES)]
        m.submodules.rows = rows = Memory(
            shape=dynamic_layout(cfg), depth=cfg.values * cfg.buckets, attrs=NEVER_COLLIDES, init=init)
        read, write = rows.read_port(), rows.write_port()
        m.d.comb += [
            write.addr.eq(self.load.address), write.en.eq(self.load.en), write.data.value.eq(self.load.data),
            write.data.some.eq(self.load.data.any()), read.en.eq(~write.en)]

        # Ask, then tell what was read. Entry 0 is told once, right after a reset, and is 0 whatever the table says.
        asking, asked = Signal(), Signal(index_bits)
        read_valid, read_index, zeroed = Signal(), Signal(index_bits), Signal()
        m.d.comb += read.addr.eq(asked | (self.bucket << index_bits))
        m.d.sync += [read_valid.eq(asking & (asked != 0)), read_index.eq(asked), zeroed.eq(1)]
        with m.If(self.go):
            m.d.sync += [asking.eq(1), asked.eq(0)]
        with m.Elif(asking):
            m.d.sync += [asked.eq(asked + 1), asking.eq(asked != cfg.values - 1)]
        found = pipe(
            m, cfg.spread, "found", en=node(m, read_valid | ~zeroed, "tells"), index=Mux(read_valid, read_index, 0),
            found=Mux(read_valid, read.data.as_value(), 0))
        m.d.comb += [self.row.en.eq(found.en), self.row.index.eq(found.index), self.row.found.eq(found.found)]
        return m


class Control(wiring.Component):
    """Starts tokens, counts their cycles, and keeps position, token and the offsets that follow from them.

    Parameters
    ----------
    cfg : the machine.
    contents : uses VALUES and REGISTER.

    Members
    -------
    want : In(1). The host wants another token; `start` says that it has it, in the same cycle.
    classify : In(1). It has a classifier; steady while `want` or the token in progress.
    set_token, new_token : In, In(sequences, token_bits). Replaces the tokens; only between tokens.
    restart : In(sequences). Back to position 0; only between tokens.
    reset : In(1). All back to position 0, token 0 and zero cycles; only between tokens.
    ready : Out(1). Between tokens.
    record : Out(stream). One for each token. If it is not taken at once, the next token waits for it.
    failed : In(1), with `Config.ecc`. Records say 0 cycles and token 0, and no token follows one at once.
    position, token, cycles : Out. For STATUS: next position and the last record's token of each sequence; cycles since
        `reset`.
    start : Out(1). A token that the host wanted starts: the next cycle is its cycle 0.
    go : Out(1). To the queues: this is cycle 0 of a token. idle : In(1). All queues are idle.
    winner : In(sequences, token_bits). ARGMAX's results, read in cycle E + 2, `rtl.timing` token_read.
    values : Out(ValuesSignature). The bucket's row, as it is told: that of the furthest position; with
        `Config.linear_values` it is `bucket` instead, the bucket's number.
    expert_rows : Out, with `Config.choices`. That register.
    oldest : Out(sequences, position_bits), with `Config.windows`. The first position that the token sees.
    column, rope, key_offset : Out(sequences, ...). token << embed_shift, position * rope_step, position // lanes *
        key_step; steady from cycle 1 of a token to the end of it.
    load_values : In(address, data, en); with `linear_values` there is none, and what is written is forgotten.
    load_register : In(address, data, en), see rtl.protocol.register_names; some addresses are not its own. Only between
        tokens.

    Latency
    -------
    With the last END in cycle E the record is offered in E + 2; if it is taken at once, the next `go` can come in
    E + 3, `rtl.timing` token_overhead. A record's `cycles` is E + 3 whether or not somebody waits.

    Reset
    -----
    Position 0, token 0, between tokens; registers as in `contents`.
    """

    def __init__(self, cfg: Config, contents: Contents = EMPTY) -> None:
        self.cfg, self.contents = cfg, contents
        self.table = None if cfg.linear_values else Values(cfg, contents)
        row, param = MATRIX.by_name["row"].bits(cfg), VECTOR.by_name["param"].bits(cfg)
        self.register_bits = {"key_step": row, "rope_step": param, "embed_shift": bits_for(column_bits(cfg))}
        if cfg.choices:
            self.register_bits["expert_rows"] = row
        if cfg.windows:
            self.register_bits["window"] = cfg.position_bits
        for name in self.register_bits:
            self.register_bits[name] = min(self.register_bits[name], dict(cfg.narrow).get(f"register.{name}", 32))
        tells = {"bucket": Out(bucket_bits(cfg))} if self.table is None else {
            "values": Out(ValuesSignature(cfg)), "load_values": In(self.table.load.signature.flip())}
        super().__init__(tells | {
            "want": In(1), "classify": In(1), "set_token": In(1), "new_token": In(each_sequence(cfg.token_bits, cfg)),
            "restart": In(cfg.sequences), "reset": In(1),
            "ready": Out(1), "record": Out(stream.Signature(record_layout(cfg))),
            "position": Out(each_sequence(cfg.position_bits, cfg)), "token": Out(each_sequence(cfg.token_bits, cfg)),
            "cycles": Out(COUNTER_BITS), "start": Out(1), "go": Out(1), "idle": In(1),
            "winner": In(each_sequence(cfg.token_bits, cfg)), **({"failed": In(1)} if cfg.ecc else {}),
            "column": Out(each_sequence(column_bits(cfg), cfg)), "rope": Out(each_sequence(param, cfg)),
            "key_offset": Out(each_sequence(row, cfg)),
            **({"expert_rows": Out(row)} if cfg.choices else {}),
            **({"oldest": Out(each_sequence(cfg.position_bits, cfg))} if cfg.windows else {}),
            "load_register": In(wiring.Signature({
                "address": Out((register_words(cfg) - 1).bit_length()),
                "data": Out(8 if cfg.small_control else 16), "en": Out(1)}
                | byte_member(cfg, Space.REGISTER)))})

    def elaborate(self, platform) -> Module:
        m = Module()
        cfg, table = self.cfg, self.table
        bucket = furthest(self.position) >> log2(cfg.bucket_positions)
        if table is None:
            m.d.comb += self.bucket.eq(bucket)
        else:
            m.submodules.table = table
            wiring.connect(m, wiring.flipped(self.load_values), table.load)
            wiring.connect(m, table.row, wiring.flipped(self.values))
            m.d.comb += [table.go.eq(self.go), table.bucket.eq(bucket)]

        start = dict(zip(register_names(cfg), self.contents.of(Space.REGISTER), strict=False))
        registers = {
            name: Signal(bits, name=name, init=start.get(name, 0)) for name, bits in self.register_bits.items()}
        for name in registers:
            address = register_names(cfg).index(name)
            load, register = self.load_register, registers[name]
            with m.If(load.en & (load.address == address)):
                if not cfg.small_control:
                    m.d.sync += register.eq(load.data)
                else:
                    with m.If(~load.byte):
                        m.d.sync += register[:8].eq(load.data)
                    with m.Else():
                        m.d.sync += register[8:].eq(load.data)
        if cfg.choices:
            m.d.comb += self.expert_rows.eq(registers["expert_rows"])

        # READY -> (start) GO -> BUSY -> (END in cycle E) SETTLE, E + 1 -> OFFER, E + 2 -> (start) GO, or READY.
        elapsed, winner = Signal(cfg.cycle_bits), Signal(each_sequence(cfg.token_bits, cfg))
        ended = Signal()
        m.d.comb += [
            self.start.eq(self.ready & self.want), self.record.payload.cycles.eq(elapsed), winner.eq(self.token)]
        m.d.comb += [self.record.payload.token[sequence].eq(winner[sequence]) for sequence in range(cfg.sequences)]
        if cfg.ecc:
            with m.If(self.failed):
                m.d.comb += self.record.payload.eq(0)
        m.d.sync += self.go.eq(self.start)  # in GO
        with m.FSM(name="phase"):
            with m.State("READY"):
                m.d.comb += self.ready.eq(1)
                with m.If(self.want):
                    m.next = "GO"
            # A state of its own: the host's wish comes late in a cycle, and `go` moves all queues.
            with m.State("GO"):
                m.next = "BUSY"
            with m.State("BUSY"):
                m.d.sync += [elapsed.eq(elapsed + 1), self.cycles.eq(self.cycles + 1)]
                with m.If(self.idle):
                    m.next = "SETTLE"
            with m.State("SETTLE"):
                m.d.sync += [elapsed.eq(elapsed + 1), self.cycles.eq(self.cycles + 1)]
                m.next = "OFFER"
            with m.State("OFFER"):
                m.d.comb += [self.record.valid.eq(1), self.ready.eq(self.record.ready), ended.eq(self.record.ready)]
                with m.If(self.classify):
                    m.d.comb += winner.eq(self.winner)
                if cfg.ecc:
                    with m.If(self.failed):
                        m.d.comb += self.ready.eq(0)
                with m.If(self.record.ready):
                    m.next = "READY"
                with m.If(self.start):
                    m.next = "GO"

        # Position and token, and what follows from them by addition.
        with m.If(self.go):
            m.d.sync += [elapsed.eq(2), self.cycles.eq(self.cycles + 2)]  # cycle 0, and that of E + 2
        with m.If(self.set_token):
            m.d.sync += self.token.eq(self.new_token)
        with m.If(self.reset):
            m.d.sync += self.cycles.eq(0)
        for sequence in range(cfg.sequences):
            position, rope, key_offset = self.position[sequence], self.rope[sequence], self.key_offset[sequence]
            with m.If(self.go):
                m.d.sync += self.column[sequence].eq(winner[sequence] << registers["embed_shift"])
            with m.If(ended):
                m.d.sync += [
                    self.token[sequence].eq(winner[sequence]), position.eq(position + 1),
                    rope.eq(rope + registers["rope_step"])]
                with m.If(position[:log2(cfg.lanes)].all()):
                    m.d.sync += key_offset.eq(key_offset + registers["key_step"])
            if cfg.windows:
                window, oldest = registers["window"], self.oldest[sequence]
                with m.If(ended & (window != 0) & (position >= window - 1)):
                    m.d.sync += oldest.eq(oldest + 1)
            with m.If(self.reset | self.restart[sequence]):
                m.d.sync += [position.eq(0), rope.eq(0), key_offset.eq(0)]
                if cfg.windows:
                    m.d.sync += self.oldest[sequence].eq(0)
            with m.If(self.reset):
                m.d.sync += self.token[sequence].eq(0)
        return m
