"""The vector unit against docs/numerics.md, each access in the cycle that rtl.timing gives."""

from __future__ import annotations

import itertools
import random
from dataclasses import replace

import pytest

from rtl.config import PRESETS, Config, log2
from rtl.isa import VECTOR, Addend, Factor1, Factor2, Function, Mask, Reduce, Source, Store, members
from rtl.ports import index_bits
from rtl.timing import SPREAD, timing
from rtl.vector import Vector
from tests.rtl.bench import MACHINES, pack, run, small, unpack
from tests.rtl.oracle import Pass, VectorOracle

CORNERS = (0, 1, -1, 127, 128, -128, -129, 255, 256, 16384, 32767, -32768)
MOVES = ("src", "param", "dst", "slot", "index", "odd", "first")
"""What may be another in the cycle after a pass's issue, also where a pass takes several."""

FIELDS = (
    "source", "slot", "src", "param", "dst", "rotate", "factor1", "factor2", "addend", "function", "early", "scalar",
    "grouped", "out_scaled", "out_scalar", "s0", "s1", "s2", "s3", "write", "store", "chunk", "mask", "tail", "below",
    "reduce", "first", "target", "sequence")


def number(rng: random.Random, bits: int) -> int:
    """A signed operand: a corner, small or anything."""
    top = 1 << bits - 1
    value = rng.choice([rng.choice(CORNERS), rng.choice([-top, top - 1]), rng.randint(-200, 200),
                        rng.randrange(-top, top), rng.randrange(-top, top)])
    return max(-top, min(top - 1, value))


def random_fields(rng: random.Random, cfg: Config) -> dict[str, int]:
    """Fields of a pass; shifts mostly small, so that values survive to the end."""
    table = {item.name: item for item in VECTOR.own}
    fields = {}
    for name in FIELDS:
        item = table[name]
        # CHOSEN is the benches' of verification/, which know when an index register changes.
        known = [one for one in members(cfg, item) if one is not Mask.CHOSEN] if item.enum else []
        fields[name] = rng.choice(known).value if known else rng.getrandbits(item.bits(cfg))
    for name, usual in (("s0", 8), ("s1", 8), ("s2", 16), ("s3", 8)):
        if rng.random() < 0.8:
            fields[name] = rng.randrange(usual)
    if rng.random() < 0.5:
        fields["early"] = fields["out_scaled"] = 0
    if fields["reduce"] and rng.random() < 0.8:
        fields["target"] = rng.randrange(2)  # the same registers again and again
    return fields | {"odd": 0, "rotate": 0, "index": rng.getrandbits(index_bits(cfg))}


def random_pass(rng: random.Random, cfg: Config, fields: dict[str, int], positions: list[int]) -> Pass:
    groups = [(number(rng, 16), rng.choice([0, 1, 7, 16, 40, 63])) for _ in range(cfg.groups)]
    by_lane = [groups[lane // cfg.group_lanes] for lane in range(cfg.lanes)]
    oldest = [max(0, position - cfg.lanes - sequence) for sequence, position in enumerate(positions)]
    return Pass(
        fields, [number(rng, cfg.acc_bits) for _ in range(cfg.lanes)], [number(rng, 16) for _ in range(cfg.lanes)],
        [rng.choice([0, 1, 127, 128, 255, rng.randrange(256)]) for _ in range(cfg.lanes)],
        [mantissa for mantissa, _ in by_lane], [exponent for _, exponent in by_lane],
        rng.choice([0, 1, 5, 40, 63]), positions, [number(rng, 16) for _ in range(cfg.lanes)],
        oldest if cfg.windows else [])


def simulate(
    cfg: Config, schedule: dict[int, Pass], positions: list[int], key_offsets: list[int], rng: random.Random
) -> None:
    """Issue the passes, with operands present in their one right cycle; check every output in every cycle."""
    times, lanes, taps = timing(cfg), cfg.lanes, cfg.taps
    oracle = VectorOracle(lanes, cfg.reduces, cfg.token_bits, cfg.sequences)
    written: dict[int, tuple] = {}
    acts: dict[int, tuple] = {}
    banked: dict[int, tuple] = {}
    registers: dict[int, list[int]] = {}
    winners: dict[int, list[int]] = {}
    for cycle, given in sorted(schedule.items()):
        results, outputs = oracle.run(given)
        quiet = given.fields["rotate"] and not given.fields["odd"]
        if given.fields["write"] and not quiet:
            written[cycle + times.memory_visible - 1] = (given.fields["dst"], results)
        if given.fields["store"] == Store.ACT.value and not quiet:
            acts[cycle + times.act_visible - 1] = (given.fields, outputs)
        elif given.fields["store"] and not quiet:
            banked[cycle + times.bank_write - SPREAD * int(cfg.spread)] = (given.fields, outputs)
        registers[cycle + times.reduce_visible] = list(oracle.registers)
        winners[cycle + times.token_visible] = oracle.tokens

    dut = Vector(cfg)
    junk = random_pass(rng, cfg, random_fields(rng, cfg), positions)

    async def body(ctx):
        shown, tokens, asked, missed = [0] * cfg.reduces, [0] * cfg.sequences, 0, -9
        ctx.set(dut.position, positions)
        if cfg.windows:
            ctx.set(dut.oldest, next(iter(schedule.values())).oldest or [0] * cfg.sequences)
        ctx.set(dut.key_offset, key_offsets)
        for cycle in range(max(schedule) + times.reduce_visible + 3):
            # Operands: right in one cycle, wrong in all others.
            issued = schedule.get(cycle)
            recent = schedule.get(cycle - 1) if cfg.beats > 1 else None  # what does not move stands still
            still = {name: value for name, value in recent.fields.items() if name not in MOVES} if recent else {}
            ctx.set(dut.issue, {"valid": 1, **issued.fields} if issued else {"valid": 0, **junk.fields, **still})
            addressed = schedule.get(cycle - times.vector_read, junk)
            ctx.set(dut.scalars, [
                {"mantissa": addressed.mantissas[lane], "exponent": addressed.exponents[lane]}
                for lane in range(0, lanes, cfg.group_lanes)])
            if cfg.serial_vector:  # one read port: first the factor's, a cycle later the output shift's
                if (begun := schedule.get(cycle - times.vector_read - 1)) is not None:
                    ctx.set(dut.scalars, [{"mantissa": 0x2345, "exponent": begun.out_exponent}])
            else:
                ctx.set(dut.exponents, [addressed.exponents[lane] for lane in range(lanes)])
                ctx.set(dut.out_exponent, addressed.out_exponent)
            reads = (cycle - times.vector_read - 1 - beat for beat in range(cfg.beats))
            read = next((schedule[at] for at in reads if at in schedule), junk)
            ctx.set(dut.memory_read_data.as_value(), pack(read.memory, 16))
            param = schedule.get(cycle - times.vector_read, junk) if cfg.spread else read  # a cycle before
            ctx.set(dut.param_data.as_value(), pack(param.params, 8))
            ctx.set(dut.acc.as_value(), pack(schedule.get(cycle - times.acc_read, junk).acc, cfg.acc_bits))
            if cfg.noise_rate:
                taken = schedule.get(cycle - times.noise_read, junk).noise or [0] * lanes
                ctx.set(dut.noise_row.as_value(), pack(taken, 16))
            ctx.set(dut.reduce_index, (index := rng.randrange(cfg.reduces)))

            # Addresses.
            row_asked = schedule.get(cycle - times.vector_read + int(cfg.spread))
            assert ctx.get(dut.memory_read_enable) == ctx.get(dut.param_enable) == (row_asked is not None)
            if row_asked is not None:
                assert ctx.get(dut.memory_read_row) == row_asked.fields["src"]
                assert ctx.get(dut.param_row) == row_asked.fields["param"]
            if addressed is not junk:
                serial = cfg.serial_vector
                names = {"out_scalar": dut.scalar_index[0] if serial else dut.out_index}
                for group in range(0 if serial else cfg.groups):
                    step = group if addressed.fields["grouped"] else 0
                    assert ctx.get(dut.scalar_index[group]) == (addressed.fields["scalar"] + step) % cfg.scalars
                assert {name: ctx.get(port) for name, port in names.items()} == {
                    name: addressed.fields[name] for name in names}
            if cfg.serial_vector and issued:
                assert ctx.get(dut.scalar_index[0]) == issued.fields["scalar"]
            if cycle - times.acc_read in schedule:
                assert ctx.get(dut.acc_slot) == schedule[cycle - times.acc_read].fields["slot"]

            # Results.
            told = cycle + int(cfg.spread)  # row and enable come before the data
            assert ctx.get(dut.memory_write_enable) == (told in written)
            if told in written:
                assert ctx.get(dut.memory_write_row) == written[told][0] % (1 << len(dut.memory_write_row))
            if cycle in written:
                assert unpack(ctx.get(dut.memory_write_data.as_value()), 16, lanes) == written[cycle][1]
            assert ctx.get(dut.act_enable) == (cycle in acts)
            if cycle in acts:
                fields, outputs = acts[cycle]
                assert ctx.get(dut.act_vector) == fields["dst"] % (1 << len(dut.act_vector))
                assert unpack(ctx.get(dut.act_data.as_value()), 8, lanes) == outputs
            check_bank(ctx, dut, *banked.get(cycle, ({"store": 0}, [])))

            # Reduce registers and winners.
            # The first lanes of a pass may be seen before the last one; of two cycles, one shows what was asked for.
            late = int(cfg.serial_vector)
            partly = range(cycle + 1 - late, cycle + cfg.beats - late)
            found = not late or bool(ctx.get(dut.reduce_found))
            assert found or missed != cycle - 1
            missed = missed if found else cycle
            if found and not any(at in registers for at in partly):
                assert ctx.get(dut.reduce_value.as_signed()) == shown[asked]
            shown = registers.get(cycle + 1 - late, shown)
            partly = range(cycle + 1, cycle + cfg.beats)
            tokens = winners.get(cycle, tokens)
            if not any(at in winners for at in partly):
                assert [ctx.get(dut.token[sequence]) for sequence in range(cfg.sequences)] == tokens
            asked = index
            await ctx.tick()

    def check_bank(ctx, dut, fields, outputs):
        enables = unpack(ctx.get(dut.bank_enable.as_value()), taps, lanes, signed=False)
        sequence = fields.get("sequence", 0)
        position, key_offset = positions[sequence], key_offsets[sequence]
        match Store(fields["store"]):
            case Store.KEYS:
                row = fields["dst"] + key_offset
                if lanes >= taps:
                    part = fields["chunk"] % (lanes // taps)
                    bytes_ = dict(enumerate(outputs[part * taps:(part + 1) * taps]))
                else:
                    bytes_ = {fields["chunk"] * lanes + lane: outputs[lane] for lane in range(lanes)}
                expected = {(position % lanes, tap): value for tap, value in bytes_.items()}
            case Store.VALUES:
                row = fields["dst"] + position // taps
                expected = {(lane, position % taps): outputs[lane] for lane in range(lanes)}
            case _:
                row, expected = 0, {}
        enabled = {(lane, tap) for lane in range(lanes) for tap in range(taps) if enables[lane] >> tap & 1}
        assert enabled == set(expected)
        if expected:
            assert ctx.get(dut.bank_row) == row % (1 << len(dut.bank_row))
            shared = ctx.get(dut.bank_shared)
            assert shared == (fields["store"] == Store.KEYS.value)
            chunk, bytes_ = (unpack(ctx.get(data.as_value()), 8, count)
                             for data, count in ((dut.bank_chunk, taps), (dut.act_data, lanes)))
            assert {(lane, tap): chunk[tap] if shared else bytes_[lane] for lane, tap in expected} == expected

    run(dut, body)


@pytest.mark.parametrize("name", MACHINES)
def test_random_passes_give_what_numerics_says_in_their_cycles(name):
    cfg, seed = MACHINES[name], random.randrange(2**32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    positions = rng.sample(range(1 << cfg.position_bits), cfg.sequences)
    schedule, cycle = {}, 0
    for _ in range(400 // cfg.lanes):
        cycle += cfg.beats - 1 + rng.choice([1, 1, 1, 2, 5])
        fields = random_fields(rng, cfg)
        if rng.random() < 0.2:  # a pair, with a pause between or without
            pair = fields | {"rotate": 1, "source": Source.MEM.value, "addend": Addend.ZERO.value}
            schedule[cycle] = random_pass(rng, cfg, pair, positions)
            cycle += cfg.beats - 1 + rng.choice([1, 3])
            fields = random_fields(rng, cfg) | {"rotate": 1, "odd": 1, "source": Source.MEM.value}
        if rng.random() < 0.3:  # around the edge of the mask
            last = positions[fields["sequence"]] // cfg.lanes
            fields |= {"mask": Mask.POSITION.value, "index": max(0, last - rng.choice((0, 0, 1, 2)))}
        schedule[cycle] = random_pass(rng, cfg, fields, positions)
    simulate(cfg, schedule, positions, [rng.getrandbits(6) for _ in positions], rng)


PLAIN = dict.fromkeys((*FIELDS, "odd", "index"), 0)


def passes(
    cfg: Config, cases: list[tuple[dict[str, int], dict]], positions: list[int] | None = None
) -> dict[int, Pass]:
    """Cases back to back: fields, and operands that are not zero. positions: by default 0."""
    schedule = {}
    for number, (fields, operands) in enumerate(cases):
        zeros = [0] * cfg.lanes
        schedule[number * cfg.beats] = Pass(**({
            "fields": PLAIN | fields, "acc": zeros, "memory": zeros, "params": zeros, "mantissas": zeros,
            "exponents": zeros, "out_exponent": 0, "positions": positions or [0] * cfg.sequences} | operands))
    return schedule


@pytest.mark.parametrize("direct", [False, True])
def test_every_silu_and_exp2_argument(direct: bool):
    """All 256 of SILU, and the ends, the knees and a sample of EXP2, four lanes at a time; of both kinds of tables."""
    cfg = replace(PRESETS["tiny"], direct_tables=direct)
    arguments = list(range(-128, 128))
    cases = [({"source": 1, "write": 1, "function": Function.SILU.value}, {"memory": arguments[i:i + 4]})
             for i in range(0, 256, 4)]
    arguments = [*range(-299, 9), *range(-32768, 0, 263), -32768, -32767, -512, -511, -480, 32767, 1]
    arguments += [0] * (-len(arguments) % 4)
    cases += [({"source": 1, "write": 1, "function": Function.EXP2.value}, {"memory": arguments[i:i + 4]})
              for i in range(0, len(arguments), 4)]
    simulate(cfg, passes(cfg, cases), [0, 0], [0, 0], random.Random(1))


def test_each_member_at_saturation():
    """Every factor, addend, store and reduction with the largest operands of both signs."""
    cfg = PRESETS["tiny"]
    ends = [32767, -32768, -1, 1]
    big = {"memory": ends, "acc": [2**21 - 1, -(2**21), 2**20, -1], "params": [255, 128, 127, 1],
           "mantissas": [-32768] * 4, "noise": ends[::-1]}
    cases = []
    for index, (source, factor1, factor2, addend) in enumerate(itertools.product(Source, Factor1, Factor2, Addend)):
        cases.append(({
            "source": source.value, "factor1": factor1.value, "factor2": factor2.value, "addend": addend.value,
            "s2": 16 * (index % 2), "write": 1, "store": 1 + index % 3, "reduce": 1 + index % 4,
            "first": int(index < 4)}, big))
    for shift in (*range(32), 63):  # every amount, with the exponents on top
        operands = big | {"exponents": [shift] * 4, "out_exponent": shift}
        cases.append(({"s0": min(shift, 31), "early": 1, "write": 1}, operands))
        cases.append((
            {"source": 1, "s1": min(shift, 31), "factor1": 1, "s2": shift, "factor2": 1, "write": 1}, operands))
        cases.append(({"source": 1, "s3": shift % 16, "out_scaled": 1, "store": 1, "write": 1}, operands))
    simulate(cfg, passes(cfg, cases), [5, 5], [3, 3], random.Random(2))


def test_sum_of_squares_wraps_and_all_lanes_masked_leaves_the_register():
    cfg = PRESETS["tiny"]
    top = {"memory": [-32768] * 4}
    square = {"source": 1, "factor2": Factor2.SQUARE.value, "reduce": Reduce.SUM.value}
    cases = [(square | {"first": 1}, top), (square, top), (square, top)]
    for reduce in (Reduce.MAX, Reduce.MAXABS, Reduce.SUM):
        hidden = {"source": 1, "mask": Mask.TAIL.value, "reduce": reduce.value, "tail": 0}
        cases += [(hidden | {"first": 1}, top), (hidden | {"first": 1, "mask": 0}, {"memory": [-5, -7, -9, -32768]}),
                  (hidden, top), (hidden | {"tail": 1}, {"memory": [-4, 9, 9, 9]})]
    simulate(cfg, passes(cfg, cases), [0, 0], [0, 0], random.Random(3))


def test_a_lane_below_the_threshold_is_masked_beside_those_of_the_mask():
    """It yields zero and takes no part; one that equals it does. In every reduction, of memory as of an accumulator."""
    cfg = PRESETS["tiny"]
    cases = []
    for threshold, reduce, tail in itertools.product((-32768, -1, 0, 5, 32767), Reduce, (0, 3)):
        row = [threshold, min(threshold + 1, 32767), max(threshold - 1, -32768), 32767]
        mask = Mask.TAIL if tail else Mask.NONE
        cases.append(({
            "source": len(cases) % 2, "below": 1, "mask": mask.value, "tail": tail, "reduce": reduce.value, "first": 1,
            "write": 1}, {"memory": row, "acc": [7, -7, 9, -9], "mantissas": [threshold] * 4}))
    simulate(cfg, passes(cfg, cases), [0, 0], [0, 0], random.Random(5))


def test_argmax_keeps_the_lowest_index_of_a_tie_and_counts_blocks_from_first():
    cfg = PRESETS["tiny"]
    base = {"source": 1, "reduce": Reduce.ARGMAX.value}
    rows = [[-9, -7, -7, -8], [-7, -7, -6, -6], [-6, -6, -6, -5], [-32768] * 4, [-5, -5, -5, -5]]
    cases = [(base | {"first": int(index in (0, 3))}, {"memory": row}) for index, row in enumerate(rows)]
    simulate(cfg, passes(cfg, cases), [0, 0], [0, 0], random.Random(4))


@pytest.mark.parametrize("name", [name for name, cfg in MACHINES.items() if cfg.sequences > 1])
def test_argmax_of_one_sequence_knows_nothing_of_the_others(name):
    """Turn by turn: each sequence begins in its own pass, at a height of its own, and has a winner of its own."""
    cfg, rng = MACHINES[name], random.Random(6)
    base = {"source": 1, "reduce": Reduce.ARGMAX.value}
    cases = []
    for block in range(6):
        for sequence in range(cfg.sequences):
            heights = rng.sample(range(-100, 100), cfg.lanes)
            first = int(block == sequence)  # until then the one before has been counted on
            cases.append((base | {"first": first, "sequence": sequence}, {
                "memory": [height + 1000 * sequence for height in heights]}))
    zero = [0] * cfg.sequences
    simulate(cfg, passes(cfg, cases), zero, zero, rng)


@pytest.mark.parametrize("name", [name for name, cfg in MACHINES.items() if cfg.sequences > 1])
def test_masks_and_stores_are_at_the_position_of_the_passs_own_sequence(name):
    cfg, rng = MACHINES[name], random.Random(7)
    positions = [3 * cfg.lanes + 1, cfg.lanes + cfg.lanes // 2, 0, 2 * cfg.lanes - 1][:cfg.sequences]
    cases = []
    for block, sequence, store in itertools.product(range(4), range(cfg.sequences), Store):
        cases.append((
            {"source": 1, "write": 1, "store": store.value, "dst": 5, "mask": Mask.POSITION.value, "index": block,
             "sequence": sequence, "reduce": Reduce.SUM.value, "first": 1, "target": sequence},
            {"memory": [rng.randint(1, 127) for _ in range(cfg.lanes)]}))
    rng.shuffle(cases)
    simulate(cfg, passes(cfg, cases, positions), positions, [9 * sequence for sequence in range(cfg.sequences)], rng)


@pytest.mark.parametrize("store", [Store.KEYS, Store.VALUES])
@pytest.mark.parametrize(("lanes", "taps"), [(4, 4), (2, 8), (8, 2)])
def test_cache_stores_reach_their_bytes(lanes, taps, store):
    cfg = small(PRESETS["tiny"], lanes=lanes, taps=taps, groups=1)
    rng = random.Random(5)
    row = [rng.randint(-128, 127) for _ in range(cfg.lanes)]
    for _ in range(2):
        positions = rng.sample(range(1 << cfg.position_bits), cfg.sequences)
        cases = [({"source": 1, "store": store.value, "chunk": chunk, "dst": 9, "sequence": sequence}, {"memory": row})
                 for chunk in range(cfg.chunks) for sequence in range(cfg.sequences)]
        offsets = [position // cfg.lanes * 2 for position in positions]
        simulate(cfg, passes(cfg, cases, positions), positions, offsets, rng)


def test_position_bits_cover_the_mask_index():
    for cfg in PRESETS.values():
        assert index_bits(cfg) + log2(cfg.lanes) >= cfg.position_bits
