"""Our models of FPGA cells against references in plain Python, on random vectors; wrong models are found out."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache

import pytest

from fpga.cell_models import CELLS, OURS, models, shipped
from rtl.technology import Technology
from sim.toolchain import BuildFailed
from verification.cell_cases import (
    MULTIPLIER_INPUTS,
    RAM_INPUTS,
    Case,
    dp16kd,
    gowin_multiplier,
    gowin_ram,
    mult18x18d,
)
from verification.settings import new_seed
from verification.vectors import Fields, bench, play

VECTORS = 4000

RAMS: dict[Technology, list[Case]] = {
    Technology.ECP5: [
        dp16kd("nines", (9, 9), modes=("READBEFOREWRITE", "READBEFOREWRITE"), asynchronous=True),
        dp16kd("eighteens", (18, 18), modes=("READBEFOREWRITE", "READBEFOREWRITE"), asynchronous=True, seed=1),
        dp16kd("wide", (36, 36), asynchronous=True, seed=2),
        dp16kd("wide_to_18", (36, 18), seed=3),
        dp16kd("wide_to_9", (36, 9), registers=(False, True)),
        dp16kd("wide_to_1", (36, 1), asynchronous=True, seed=4),
        dp16kd("through", (18, 9), modes=("WRITETHROUGH", "WRITETHROUGH"), seed=5),
        dp16kd("keeping", (9, 18), registers=(True, True), selects=(5, 2)),
        dp16kd("narrow", (1, 2), modes=("READBEFOREWRITE", "NORMAL"), registers=(True, False), asynchronous=True,
               seed=6),
        dp16kd("fours", (4, 18), modes=("NORMAL", "WRITETHROUGH"), inverted=(True, False)),
        dp16kd("late", (18, 4), modes=("WRITETHROUGH", "READBEFOREWRITE"), inverted=(False, True), seed=7),
    ],
    Technology.GOWIN: [
        gowin_ram("one", "SPX9", (18, ), modes=(2, 0), asynchronous=True, seed=1),
        gowin_ram("one_wide", "SPX9", (36, ), modes=(1, 0), registers=(1, 0), selects=(3, 0), seed=2),
        gowin_ram("one_plain", "SP", (8, ), seed=3),
        gowin_ram("one_bit", "SP", (1, ), modes=(2, 0), registers=(1, 0), asynchronous=True, seed=4),
        gowin_ram("semi", "SDPX9B", (36, 36), asynchronous=True, seed=5),
        gowin_ram("semi_narrow", "SDPX9B", (18, 9), registers=(0, 1), selects=(1, 6), seed=6),
        gowin_ram("semi_plain", "SDPB", (32, 4), seed=7),
        gowin_ram("semi_bits", "SDPB", (2, 16), registers=(0, 1), asynchronous=True),
        gowin_ram("dual", "DPX9B", (9, 9), modes=(1, 1), asynchronous=True, seed=8),
        gowin_ram("dual_wide", "DPX9B", (18, 18), modes=(1, 0), selects=(4, 7), seed=9),
        gowin_ram("dual_mixed", "DPX9B", (9, 18), modes=(0, 1), registers=(1, 1)),
        gowin_ram("dual_plain", "DPB", (16, 1), modes=(1, 1), registers=(0, 1), asynchronous=True, seed=10),
        gowin_ram("dual_bytes", "DPB", (8, 2)),
    ],
}
MULTIPLIERS: dict[Technology, list[Case]] = {
    Technology.ECP5: [
        mult18x18d("plain"),
        mult18x18d("inputs", input_a=(0, 0, 0), input_b=(1, 2, 3)),
        mult18x18d("piped", pipeline=(2, 1, 1), output=(3, 3, 2), asynchronous=True),
        mult18x18d("all", input_a=(0, 0, 0), input_b=(0, 0, 0), pipeline=(0, 1, 0), output=(0, 0, 1)),
        mult18x18d("all_asynchronous", input_a=(3, 0, 0), input_b=(2, 1, 1), pipeline=(1, 2, 2), output=(0, 3, 3),
                   asynchronous=True),
    ],
    Technology.GOWIN: [
        gowin_multiplier("nine", 9),
        gowin_multiplier("eighteen", 18),
        gowin_multiplier("nine_in", 9, registers=("AREG", "BREG", "ASIGN_REG", "BSIGN_REG")),
        gowin_multiplier("eighteen_unsigned_late", 18, registers=("AREG", "PIPE_REG"), asynchronous=True),
        gowin_multiplier("eighteen_out", 18, registers=("OUT_REG", "BSIGN_REG", "BREG")),
        gowin_multiplier("nine_all", 9, registers=("AREG", "BREG", "ASIGN_REG", "BSIGN_REG", "PIPE_REG", "OUT_REG"),
                         asynchronous=True),
    ],
}


# Random vectors: inputs change while the clocks stand still, then clocks change while the inputs stand still. --


def ram_vectors(rng: random.Random) -> list[dict[str, int]]:
    """A few rows, so that there is much to read and much to collide."""
    now = dict.fromkeys(RAM_INPUTS.bits, 0)
    vectors = [dict(now)]  # an inverted clock rises as power comes; nothing is enabled yet
    for _ in range(VECTORS):
        for side in "ab":
            now[f"address_{side}"] = rng.choice((0, 1, 511)) << 5 | rng.randrange(32)
            now[f"data_{side}"] = rng.choice((rng.getrandbits(36), 0, (1 << 36) - 1))
            now[f"write_{side}"] = rng.randrange(2)
            now[f"enable_{side}"] = rng.random() < 0.8
            now[f"register_enable_{side}"] = rng.random() < 0.7
            now[f"reset_{side}"] = rng.random() < 0.05
            # The chip selects of the cases, and a few others.
            now[f"select_{side}"] = rng.choice((0, 0, 0, 0, *range(8)))
        if rng.random() < 0.3:  # one row for both: they meet
            now["address_b"] = now["address_a"] & ~31 | now["address_b"] & 31
        vectors.append(dict(now))
        which = rng.choice(("ab", "ab", "a", "b"))
        for side in which:
            now[f"clock_{side}"] ^= 1
        vectors.append(dict(now))
    return vectors


def multiplier_vectors(rng: random.Random) -> list[dict[str, int]]:
    now = dict.fromkeys(MULTIPLIER_INPUTS.bits, 0)
    edges = (0, 1, 0xFF, 0x100, 0x1FF, 0x1FFFF, 0x20000, 0x3FFFF)
    vectors: list[dict[str, int]] = []
    for _ in range(VECTORS):
        for operand in "ab":
            now[operand] = rng.choice((rng.getrandbits(18), rng.getrandbits(18), rng.choice(edges)))
            now[f"signed_{operand}"] = rng.randrange(2)
        now["chained"] = rng.random() < 0.02
        now["enables"] = rng.getrandbits(4) | rng.getrandbits(4)
        now["resets"] = rng.getrandbits(4) & rng.getrandbits(4) & rng.getrandbits(4) & rng.getrandbits(4)
        vectors.append(dict(now))
        now["clocks"] ^= rng.getrandbits(4) | rng.getrandbits(4)
        vectors.append(dict(now))
    return vectors


KINDS: dict[str, tuple[dict[Technology, list[Case]], Fields, Callable[[random.Random], list[dict[str, int]]]]] = {
    "memories": (RAMS, RAM_INPUTS, ram_vectors),
    "multipliers": (MULTIPLIERS, MULTIPLIER_INPUTS, multiplier_vectors),
}


def differences(case: Case, prefix: str, vectors: Sequence[Mapping[str, int]],
                said: Sequence[Mapping[str, int]]) -> list[int]:
    """Vectors after which the cell's output is not the reference's."""
    step = case.start()
    return [at for at, (now, answer) in enumerate(zip(vectors, said, strict=True))
            if step(now) != answer[prefix + case.name]]


# Seeded bugs: all wrong models are built together with the right ones, under other names. --------------------

E, G = Technology.ECP5, Technology.GOWIN
# The bug: what is replaced by what, and the cell that shows it in each family.
BUGS: dict[str, dict[str, tuple[str, str, dict[Technology, str]]]] = {
    "memories": {
        "write through shows the old word": ("SHOWS_A == 1 ?", "SHOWS_A == 3 ?", {E: "through", G: "dual"}),
        "the new word is not shown": (
            "(!write_b || SHOWS_B != 0)", "(!write_b || SHOWS_B == 3)", {E: "late", G: "dual_mixed"}),
        "collisions are not noticed": (
            "(row_a == row_b ? mask_a :", "(row_a != row_a ? mask_a :", {E: "nines", G: "semi"}),
        "byte enables are ignored": ("2 * BYTE: written", "7 * BYTE: written", {E: "eighteens", G: "one"}),
        "byte enables of wide words are swapped": (
            "{BYTE{address[3]}}, {BYTE{address[2]}}", "{BYTE{address[2]}}, {BYTE{address[3]}}", {E: "wide", G: "semi"}),
        "the clock enable is ignored": ("wire reads_b = enable_b &&", "wire reads_b =", {E: "nines", G: "dual"}),
        "narrow words overlap": ("{address[2:1], 1'b0}", "address[2:1]", {E: "narrow", G: "semi_bits"}),
        "the reset needs a read": ("if (reset) {held", "if (reset && reads) {held", {E: "through", G: "semi_plain"}),
        "the register is left out": ("REGISTER ? registered", "REGISTER ? held", {E: "keeping", G: "semi_narrow"}),
        "the register has no enable": ("register_enable ? held", "1'b1 ? held", {E: "keeping", G: "one_wide"}),
        "contents lie a row further": ("INIT[ROW * row +:", "INIT[ROW * (row ^ 1) +:", {E: "wide", G: "dual"}),
    },
    "multipliers": {
        "the sign of A is ignored": ("signed_a_1 && a_1|SIGNEDA && A17", "1'b0 && ", {E: "plain", G: "nine"}),
        "B is always signed": ("signed_b_1 && b_1|SIGNEDB && B17", "1'b1 && ", {E: "all", G: "eighteen"}),
        "the reset is ignored": ("if (reset) value", "if (1'b0) value", {E: "inputs", G: "nine_all"}),
        "the enable is ignored": ("else if (enable)", "else if (1'b1)", {E: "piped", G: "eighteen_out"}),
        "the output's register is left out": (
            r"\.CLOCK\(REG_OUTPUT_CLK\)|\.PRESENT\(OUT_REG\)", "", {E: "all", G: "nine_all"}),
    },
}


def wrong(kind: str, bug: str, text: str) -> str:
    """The models with a bug."""
    old, new, _ = BUGS[kind][bug]
    if bug == "the output's register is left out":
        changed = text.replace(".CLOCK(REG_OUTPUT_CLK)", '.CLOCK("NONE")').replace(".PRESENT(OUT_REG)", ".PRESENT(0)")
    elif kind == "multipliers" and "|" in old:
        changed = re.sub(old, lambda match: new + match[0].rpartition("&& ")[2], text)
    else:
        changed = text.replace(old, new)
    assert changed != text, f"nothing to change for {bug!r}"
    return changed


def renamed(text: str, prefix: str) -> str:
    """All modules of a text under other names; macros are defined once, elsewhere."""
    for name in re.findall(r"^module (\w+)", text, re.MULTILINE):
        text = re.sub(rf"\b{name}\b", prefix + name, text)
    return re.sub(r"^`define(?:.*\\\n)*.*\n", "", text, flags=re.MULTILINE)


@cache
def outcome(technology: Technology, kind: str) -> tuple[list[dict[str, int]], list[dict[str, int]]]:
    """Vectors, and what the right and all the wrong models said."""
    cases, inputs, make = KINDS[kind][0][technology], KINDS[kind][1], KINDS[kind][2]
    ours = "\n".join((CELLS / name).read_text() for name in OURS[technology])
    texts, instances = [ours], [("", case) for case in cases]
    for number, (bug, (_, _, shown_by)) in enumerate(BUGS[kind].items()):
        texts.append(renamed(wrong(kind, bug, ours), f"bug{number}_"))
        instances += [(f"bug{number}_", case) for case in cases if case.name == shown_by[technology]]
    outputs = Fields({prefix + case.name: case.bits for prefix, case in instances})
    body = "".join(
        re.sub(rf"\b(cell_|)({case.name})\b", rf"\g<1>{prefix}\g<2>", case.verilog).replace("{prefix}", prefix)
        for prefix, case in instances)
    vectors = make(random.Random(new_seed()))
    return vectors, play("\n".join(texts) + "\n" + bench(inputs, outputs, body), inputs, outputs, vectors)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("technology", RAMS, ids=lambda technology: technology.value)
def test_every_cell_is_as_its_reference(technology: Technology, kind: str) -> None:
    vectors, said = outcome(technology, kind)
    for case in KINDS[kind][0][technology]:
        assert differences(case, "", vectors, said) == [], case.name


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "bug"), [(kind, bug) for kind, bugs in BUGS.items() for bug in bugs])
@pytest.mark.parametrize("technology", RAMS, ids=lambda technology: technology.value)
def test_a_wrong_model_is_found(technology: Technology, kind: str, bug: str) -> None:
    vectors, said = outcome(technology, kind)
    number, (_, _, shown_by) = list(BUGS[kind]).index(bug), BUGS[kind][bug]
    (case,) = (case for case in KINDS[kind][0][technology] if case.name == shown_by[technology])
    assert differences(case, f"bug{number}_", vectors, said)


# What is not modelled is said, look-up tables are as yosys has them. ------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(("technology", "cell", "complaint"), [
    (E, 'DP16KD #(.WRITEMODE_A("SOMETIMES")) cell_wrong ()', "DP16KD_has_no_such_writemode_a"),
    (E, "DP16KD #(.DATA_WIDTH_A(8)) cell_wrong ()", "block_ram_has_no_such_width_a"),
    (E, 'MULT18X18D #(.MULT_BYPASS("ENABLED")) cell_wrong ()', "MULT18X18D_without_multiplying"),
    (E, "MULT18X18D cell_wrong (.SROA0())", "SROA0"),
    (G, "DPX9B #(.WRITE_MODE0(2'b10)) cell_wrong ()", "DPX9B_has_no_such_write_mode"),
    (G, 'MULT9X9 #(.MULT_RESET_MODE("NONE")) cell_wrong ()', "gowin_multiplier_has_no_such_reset_mode"),
    (G, "MULT36X36 cell_wrong ()", "MULT36X36"),
    (Technology.ICE40, "SB_PLL40_CORE cell_wrong ()", "SB_PLL40_CORE"),
])
def test_what_is_not_modelled_is_an_error(technology: Technology, cell: str, complaint: str) -> None:
    one = Fields({"one": 1})
    with pytest.raises(BuildFailed, match=complaint):
        play(models(technology) + bench(Fields({"x": 1}), one, f"    {cell};\n    assign one = 0;\n"), Fields({"x": 1}),
             one, [{"x": 0}])


TABLES = {  # name, pins, output, parameter
    Technology.ICE40: [("SB_LUT4", ("I0", "I1", "I2", "I3"), "O", "LUT_INIT")],
    Technology.ECP5: [("LUT4", ("A", "B", "C", "D"), "Z", "INIT")],
    Technology.GOWIN: [(f"LUT{size}", ("I0", "I1", "I2", "I3")[:size], "F", "INIT") for size in (1, 2, 3, 4)],
}


@pytest.mark.slow
@pytest.mark.parametrize("technology", TABLES, ids=lambda technology: technology.value)
def test_look_up_tables_are_as_yosys_ships_them(technology: Technology) -> None:
    """Every table with a single one: those determine all others."""
    inputs, names, body, theirs = Fields({"x": 4}), [], "", ""
    for name, pins, output, parameter in TABLES[technology]:
        found = re.search(rf"^module {name} *\(.*?^endmodule\n", shipped(technology), re.MULTILINE | re.DOTALL)
        assert found
        theirs += found[0].replace(f"module {name}", f"module theirs_{name}")
        for one in range(1 << len(pins)):
            for prefix in ("", "theirs_"):
                out = f"{prefix}{name}_{one}"
                wires = ", ".join(f".{pin}(x[{bit}])" for bit, pin in enumerate(pins))
                body += (f"    {prefix}{name} #(.{parameter}({1 << len(pins)}'d{1 << one})) "
                         f"cell_{out} ({wires}, .{output}({out}));\n")
                names.append(out)
    outputs = Fields(dict.fromkeys(names, 1))
    said = play(models(technology) + theirs + bench(inputs, outputs, body), inputs, outputs,
                [{"x": x} for x in range(16)])
    for x, answer in enumerate(said):
        for name, pins, _, _ in TABLES[technology]:
            for one in range(1 << len(pins)):
                expected = x % (1 << len(pins)) == one
                assert answer[f"{name}_{one}"] == answer[f"theirs_{name}_{one}"] == expected
