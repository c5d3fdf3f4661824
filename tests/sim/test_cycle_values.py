"""What programs compute: each unit, store, mask and reduction by hand on small machines."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from rtl.config import Config
from sim.cycle import CycleSimulator, IllegalProgram
from sim.golden import primitives as p
from tests.sim.programs import NARROW, SQUARE, WIDE, image, run, simulator, t

MEMORY = t("memory_visible")
MACHINES = pytest.mark.parametrize("cfg", [SQUARE, WIDE, NARROW], ids=lambda cfg: cfg.name)


def product(made: CycleSimulator, rows: list[int], acts: list[list[int]]) -> Any:
    """Sum of the products of steps; acts: words of each lane group."""
    cfg, image = made.config, made.image
    words = image.act.reshape(-1, cfg.taps).astype(int)
    each = cfg.lanes // len(acts)
    total = np.zeros(cfg.lanes, int)
    for lane in range(cfg.lanes):
        for row, word in zip(rows, acts[lane // each], strict=True):
            total[lane] += image.banks[row, lane].astype(int) @ words[word]
    return total


@MACHINES
def test_matrix_products(cfg: Config):
    made = run(cfg, matrix="RUN repeat=2 row=3 act=4 clear=1 slot=1\nRUN row=9 act=1 clear=1 slot=2\n"
                           "RUN repeat=1 row=20 act=7 slot=1")
    acc = made.state.accumulators
    assert (acc[1] == product(made, [3, 4, 5, 20, 21], [[4, 5, 6, 7, 8]])).all()
    assert (acc[2] == product(made, [9], [[1]])).all()


def test_matrix_lane_groups_and_slots_that_wrap():
    made = run(matrix="RUN outer=2 repeat=1 row=1 row_step=2 act=2 act_step=5 group_step=3 slot=2 clear=1")
    acc = made.state.accumulators
    for number, slot in enumerate((2, 3, 0)):
        word = 2 + 5 * number
        rows = [1 + 2 * number, 2 + 2 * number]
        assert (acc[slot] == product(made, rows, [[word, word + 1], [word + 3, word + 4]])).all()


@pytest.mark.parametrize("token", [0, 3, 5])
def test_gather(token: int):
    made = simulator(matrix="RUN gather=1 row=2 act=4 clear=1", embed_shift=2)
    made.step(token, classify=False)
    column = token << 2
    assert (made.state.accumulators[0] == product(made, [2 + column // 4], [[4 + column % 4]])).all()


def test_a_store_while_a_gather_runs_changes_nothing_of_it():
    """The bank that changes cuts the output in two; each part must add its own steps alone."""
    gather = "RUN clear=1 slot=1\nRUN wait=9 gather=1 row=2 act=4 clear=1 repeat=19"
    made = run(matrix=gather, vector="RUN wait=14 source=ACC slot=1 store=KEYS dst=50")
    alone = run(matrix=gather)
    assert (made.state.accumulators[0] == alone.state.accumulators[0]).all()


def test_matrix_reads_activations_as_they_are_in_its_cycle():
    """An output that reads a word before it changes, though it ends later; and one that reads it as soon as it has."""
    write = 10 + t("act_visible")  # first cycle that sees what the pass of cycle 10 stores in word 4
    word = "RUN clear=1 slot=1\nRUN wait={} repeat={} act={} slot=0 clear=1 row=8"
    store = "RUN wait=9 source=ACC slot=1 store=ACT dst=4 s0=4 s3=3"

    def acc(first: int, steps: int, act: int) -> CycleSimulator:
        return run(matrix=word.format(first - 2 - t("matrix_read"), steps - 1, act), vector=store)

    # Word 4 is step 1 of the earlier one, and read before the pass was even issued.
    made = acc(8, 15, 3)
    assert write < 8 + 15
    assert (made.state.accumulators[0] == product(made, list(range(8, 23)), [list(range(3, 18))])).all()
    made = acc(write, 1, 4)
    changed = made.state.act.reshape(-1, 4)[4].astype(int)
    assert (made.state.accumulators[0] == made.image.banks[8].astype(int) @ changed).all()


def test_a_gather_reads_activations_as_they_are_in_its_cycle():
    """Token 3 reads words 3 to 18: word 4 before it changes, or word 18 after."""
    write = 10 + t("act_visible")

    def acc(first: int, stored: int) -> CycleSimulator:
        matrix = f"RUN clear=1 slot=1\nRUN wait={first - 2 - t('matrix_read')} repeat=15 gather=1 slot=0 clear=1 row=8"
        return run(matrix=matrix, vector=f"RUN wait=9 source=ACC slot=1 store=ACT dst={stored} s0=4 s3=3")

    rows = list(range(8, 24))
    made = acc(8, 4)
    assert 8 < write < 8 + 15
    assert (made.state.accumulators[0] == product(made, rows, [list(range(3, 19))])).all()
    words = made.image.act.reshape(-1, 4).astype(int).copy()
    made = acc(8, 18)
    changed = made.state.act.reshape(-1, 4)[18].astype(int)
    assert (changed != words[18]).any()
    words[18] = changed
    assert (made.state.accumulators[0] == sum(
        made.image.banks[row].astype(int) @ words[3 + step] for step, row in enumerate(rows))).all()


def with_x(vector: str, cfg: Config = SQUARE, **more: Any) -> CycleSimulator:
    """A program after accumulator 0 went to vector memory row 0 as x, 12 bits or so, in cycle 20."""
    start = f"RUN wait=19 s0=3 write=1\nNOP wait={MEMORY}\n"
    return simulator(cfg, matrix="RUN repeat=1 row=5 act=3 clear=1", vector=start + vector, **more)


def x_of(made: CycleSimulator) -> Any:
    return p.sat16(p.rshift(product(made, [5, 6], [[3, 4]]), 3))


PASSES = [
    ("source=MEM", lambda x, c, u, s: x),
    ("source=MEM factor1=UNSIGNED param=2 s1=5", lambda x, c, u, s: p.sat16(p.rshift(x * u, 5))),
    ("source=MEM factor1=SIGNED param=2 s1=5", lambda x, c, u, s: p.sat16(p.rshift(x * s, 5))),
    ("source=MEM factor2=SQUARE s2=9", lambda x, c, u, s: p.sat16(p.rshift(x * x, 9))),
    ("source=MEM factor2=MEM s2=40", lambda x, c, u, s: p.sat16(p.rshift(x * x, 40))),
    ("source=MEM factor2=SCALAR scalar=2 s2=3", lambda x, c, u, s: p.sat16(p.rshift(x * 16384, 3 + 9))),
    ("source=MEM early=1 scalar=2 factor2=SCALAR s2=13", lambda x, c, u, s: p.sat16(p.rshift(x * 16384, 13))),
    ("source=MEM addend=MEM", lambda x, c, u, s: p.sat16(2 * x)),
    ("source=MEM addend=SCALAR scalar=2", lambda x, c, u, s: p.sat16(x + 16384)),
    ("source=MEM function=SILU", lambda x, c, u, s: p.silu(x)),
    ("source=MEM function=EXP2", lambda x, c, u, s: p.exp2(x)),
    ("s0=2", lambda x, c, u, s: p.sat16(p.rshift(c, 2))),
    ("early=1 scalar=2", lambda x, c, u, s: p.sat16(p.rshift(c, 9))),
    ("factor2=MEM s0=4 s2=6 addend=MEM", lambda x, c, u, s: p.sat16(p.rshift(p.rshift(c, 4) * x, 6) + x)),
]  # fmt: skip


@MACHINES
@pytest.mark.parametrize(("fields", "expected"), PASSES, ids=[fields for fields, _ in PASSES])
def test_passes(cfg: Config, fields: str, expected: Any):
    """Constant 9 is in scalar 2: mantissa 16384, exponent 9."""
    made = with_x(f"RUN {fields} write=1 dst=1", cfg, scalar="RUN function=CONST constant=9 dst=2")
    made.step(3, classify=False)
    params = made.image.params[2].astype(int)
    signed = made.image.params.view(np.int8)[2].astype(int)
    acc = product(made, [5, 6], [[3, 4]])
    assert (made.state.memory[0] == x_of(made)).all()
    assert (made.state.memory[1] == expected(x_of(made), acc, params, signed)).all()


def test_lane_groups_read_scalars_of_their_own():
    made = with_x("RUN source=MEM factor2=SCALAR scalar=3 grouped=1 s2=6 write=1 dst=1",
                  scalar="RUN function=CONST constant=9 dst=3\nRUN function=CONST constant=11 dst=4")
    made.step(3, classify=False)
    x = x_of(made)
    assert made.state.memory[1].tolist() == [*p.rshift(x[:2] * 16384, 15), *p.rshift(x[2:] * 16384, 17)]


def test_activation_store_with_a_scalar_shift():
    made = with_x("RUN source=MEM s3=1 out_scaled=1 out_scalar=5 store=ACT dst=25",
                  scalar="RUN function=CONST constant=3 dst=5")
    made.step(3, classify=False)
    assert (made.state.vectors[25] == p.sat8(p.rshift(x_of(made), 4))).all()


def test_rotate():
    word = "RUN source=MEM rotate=1 repeat=1 param=2 rope=1 factor1=SIGNED s1=7 write=1 dst=1"
    made = with_x(word, rope_step=2)
    for position in range(3):
        made.step(3, classify=False)
        x, tables = x_of(made), made.image.params.view(np.int8).astype(int)
        row = tables[2 + 2 * position]
        cos, sin = np.repeat(row[::2], 2), np.repeat(row[1::2], 2) * np.tile([-1, 1], len(row) // 2)
        held = p.sat16(p.sat16(p.rshift(x * cos, 7)))
        swapped = x.reshape(-1, 2)[:, ::-1].reshape(-1)
        assert (made.state.memory[1] == p.sat16(p.sat16(p.rshift(swapped * sin, 7)) + held)).all()


@MACHINES
def test_key_stores(cfg: Config):
    """Position p: bank p % lanes, row dst + p // lanes * key_step; the vector in pieces, or a piece of the row."""
    chunks = cfg.chunks
    words = "\n".join(f"RUN source=MEM s3=4 store=KEYS chunk={chunk} dst={44 + (chunk if cfg.lanes > cfg.taps else 0)}"
                      for chunk in range(chunks))
    made = with_x(words, cfg, key_step=5)
    narrow = p.sat8(p.rshift(x_of(made), 4))
    for position in range(cfg.lanes + 2):
        made.step(3, classify=False)
        bank, row = made.state.banks[position % cfg.lanes], 44 + position // cfg.lanes * 5
        stored = bank[row:row + chunks] if cfg.lanes > cfg.taps else bank[row].reshape(chunks, -1)
        assert stored.reshape(-1).tolist() == narrow.tolist() * (1 if cfg.lanes >= cfg.taps else chunks)


@MACHINES
def test_value_stores(cfg: Config):
    made = with_x("RUN source=MEM s3=4 store=VALUES dst=50", cfg)
    narrow = p.sat8(p.rshift(x_of(made), 4))
    for position in range(cfg.taps + 1):
        made.step(3, classify=False)
        assert (made.state.banks[:, 50 + position // cfg.taps, position % cfg.taps] == narrow).all()
    assert not made.state.banks[:, 50 + cfg.taps // cfg.taps, 1:].any()


def test_tail_mask():
    made = with_x("RUN source=MEM mask=TAIL tail=3 write=1 dst=1 store=ACT reduce=SUM first=1 target=2")
    made.step(3, classify=False)
    x = x_of(made)
    assert made.state.memory[1].tolist() == [*x[:3], 0]
    assert made.state.vectors[1].tolist() == [*p.sat8(x[:3]), 0]
    assert made.state.reduces[2] == x[:3].sum() % 2**32


def test_position_mask_counts_passes_of_the_word():
    made = with_x("RUN source=MEM repeat=2 mask=POSITION write=1 dst=1 inc_dst=1 reduce=MAX first=1 target=1")
    for position in range(6):
        made.step(3, classify=False)
        x = x_of(made)
        kept = [value if index <= position else 0 for index, value in enumerate([*x, *x, *x])]
        assert made.state.memory[1:4].reshape(-1).tolist() == kept
        assert made.state.reduces[1] == max(x[:position + 1]) % 2**32


def test_position_mask_counts_both_passes_of_a_pair():
    word = "RUN source=MEM rotate=1 repeat=3 param=2 factor1=SIGNED s1=7 write=1 dst=1 inc_dst=1"
    made, masked = with_x(word), with_x(f"{word} mask=POSITION")
    for position in range(2, 15):
        made.step(3, classify=False)
        masked.step(3, classify=False)
        lanes = SQUARE.lanes
        for pair in range(2):
            kept = [lane + (2 * pair + 1) * lanes < position - 1 for lane in range(lanes)]
            wanted = [value if keep else 0 for value, keep in zip(made.state.memory[1 + pair], kept, strict=True)]
            assert masked.state.memory[1 + pair].tolist() == wanted


@pytest.mark.parametrize(("name", "function"), [
    ("SUM", lambda x: 3 * x.sum()), ("MAX", lambda x: x.max()), ("MAXABS", lambda x: abs(x).max())])
def test_reductions_over_words(name: str, function: Any):
    made = with_x(f"RUN source=MEM reduce={name} first=1 target=3\nRUN source=MEM repeat=1 reduce={name} target=3")
    made.step(3, classify=False)
    assert made.state.reduces[3] == int(function(x_of(made))) % 2**32


def test_sum_takes_the_wide_value_or_the_table():
    made = with_x("RUN source=MEM factor2=SQUARE reduce=SUM first=1\n"
                  "RUN source=MEM function=EXP2 reduce=SUM first=1 target=1")
    made.step(3, classify=False)
    x = x_of(made)
    assert made.state.reduces[:2] == [int((x * x).sum()) % 2**32, int(p.exp2(x).sum())]


def test_argmax_counts_blocks_and_takes_the_lowest_of_equals():
    made = with_x("RUN source=MEM repeat=1 reduce=ARGMAX first=1\nRUN source=MEM s1=1 reduce=ARGMAX")
    assert made.step(3, classify=True).token == int(np.argmax(x_of(made)))
    made = with_x("RUN source=MEM mask=TAIL tail=1 s1=6 reduce=ARGMAX first=1\nRUN source=MEM addend=MEM reduce=ARGMAX")
    x = x_of(made)
    assert made.step(3, classify=True).token == 4 + int(np.argmax(x)) if 2 * x.max() > x[0] >> 6 else 0


def test_token_without_classifier_is_given_back():
    assert run().step(9, classify=False).token == 9


def test_scalar_functions():
    wait = 40 + t("reduce_visible")
    reductions = "RUN source=MEM factor2=SQUARE reduce=SUM first=1\nRUN source=MEM reduce=MAX first=1 target=1"
    made = with_x(reductions, scalar=f"""
        RUN wait={wait} function=RSQRT reduce=0 dst=0 bias=77 adjust=-14
        RUN function=RECIP reduce=0 dst=1 bias=3 adjust=-21
        RUN function=NEGATE reduce=1 dst=2
        RUN function=BLOCK reduce=0 dst=3 adjust=2
        RUN wait={t("scalar_visible")} function=COMBINE a=0 b=3 dst=4 adjust=20
        RUN function=CONST constant=50 dst=5""")
    made.step(3, classify=False)
    x = x_of(made)
    total, top = int((x * x).sum()), int(x.max())
    r, block = p.rsqrt(total, bias=77, adjust=-14), p.block(total, adjust=2)
    recip, combined = p.recip(total, bias=3, adjust=-21), p.combine(r, block, adjust=20)
    assert made.state.scalars[:6] == [r, recip, p.negate(top), block, combined, p.Scalar(16384, 50)]


def test_reset_and_poison_leave_results_alone():
    """Noise in what was never written changes nothing: a second run and a noisy machine give the same token."""
    made = with_x("RUN source=MEM repeat=1 reduce=ARGMAX first=1")
    noisy = CycleSimulator(made.image, poison=5)
    winner = made.step(3, classify=True)
    made.reset()
    assert made.position == 0
    assert made.step(3, classify=True) == winner == noisy.step(3, classify=True)
    assert noisy.state.memory[9].any()


def test_a_row_that_is_not_read_may_lie_outside_of_vector_memory():
    small = replace(SQUARE, name="small", vector_rows=24)
    made = with_x("RUN source=ACC src=30 s0=3 write=1 dst=1", small)
    made.step(3, classify=False)
    assert made.state.memory[1].tolist() == x_of(made).tolist()


def test_a_pass_that_also_stores_in_a_bank_has_one_address():
    """That of the bank, to which the outer loop's offset belongs."""
    made = with_x("LOOP_OUTER repeat=1 dst=2\nRUN source=MEM s3=4 write=1 store=VALUES dst=20 end_outer=1")
    made.step(3, classify=False)
    assert made.state.memory[20].tolist() == made.state.memory[22].tolist() == x_of(made).tolist()


def test_the_chosen_element_is_counted_by_passes_of_a_pair_too():
    """A pair's second pass is the one that stores, and its number counts."""
    able = replace(SQUARE, name="able", experts=8, choices=1)
    word = "RUN wait={wait} source=MEM rotate=1 repeat=1 factor1=SIGNED param=2 s1=7 write=1 dst=1"
    found = []
    for mask in ("", " mask=CHOSEN"):
        made = with_x(f"RUN source=MEM repeat=1 reduce=ARGMAX first=1 choice=1\n{word.format(wait=20)}{mask}", able)
        made.step(3, classify=False)
        found.append(made.state.memory[1].copy())
        chosen = made.state.indices[0]
    plain, masked = found
    lanes = able.lanes
    assert [lane for lane in range(lanes) if plain[lane] != masked[lane]] == [chosen - lanes] * (
        lanes <= chosen < 2 * lanes and plain[chosen - lanes] != 0)


def test_a_constant_that_nobody_loaded():
    made = image(scalar="RUN function=CONST constant=9 dst=1")
    CycleSimulator(made).step(3, classify=False)
    with pytest.raises(IllegalProgram, match="constant 9, which nobody has loaded"):
        CycleSimulator(replace(made, constants=made.constants[:9])).step(3, classify=False)
