"""iCE40 primitives that no tool infers as we want them."""

from __future__ import annotations

from amaranth.hdl import Cat, ClockSignal, Const, Instance, Module, Signal, Value, signed

SIGNED = {name: Const(1, 1) for name in ("A_SIGNED", "B_SIGNED")}
PAIR = SIGNED | {name: Const(1, 1) for name in ("TOP_8x8_MULT_REG", "BOT_8x8_MULT_REG", "MODE_8x8")}
PAIR |= {name: Const(2, 2) for name in ("TOPOUTPUT_SELECT", "BOTOUTPUT_SELECT")}
"""Two signed 8 x 8 products, each with a register behind it."""
WHOLE = SIGNED | {name: Const(3, 2) for name in ("TOPOUTPUT_SELECT", "BOTOUTPUT_SELECT")}
"""A signed 16 x 16 product."""

QUIET = ("AHOLD", "BHOLD", "CHOLD", "DHOLD", "IRSTTOP", "IRSTBOT", "ORSTTOP", "ORSTBOT", "OLOADTOP", "OLOADBOT",
         "ADDSUBTOP", "ADDSUBBOT", "OHOLDTOP", "OHOLDBOT", "CI", "ACCUMCI", "SIGNEXTIN")
"""Inputs that are 0."""


def _multiplier(m: Module, name: str, mode: dict[str, Const], a: Value, b: Value) -> Signal:
    """An SB_MAC16's output. Its registers have no reset: what is in flight at a reset is nobody's."""
    made = Signal(32, name=f"{name}_out")
    m.submodules[name] = Instance(
        "SB_MAC16", *(("p", key, value) for key, value in mode.items()), *(("i", key, 0) for key in QUIET),
        i_CLK=ClockSignal(), i_CE=1, i_C=Signal(16, name=f"{name}_c"), i_D=Signal(16, name=f"{name}_d"),
        i_A=a, i_B=b, o_O=made)
    return made


def product_pair(m: Module, name: str, first: tuple[Value, Value], second: tuple[Value, Value],
                 results: tuple[Signal, Signal]) -> None:
    """Two products of int8 a cycle later, in one SB_MAC16. Inference takes one for each."""
    made = _multiplier(m, name, PAIR, Cat(first[0], second[0]), Cat(first[1], second[1]))
    m.d.comb += [results[0].eq(made[:16]), results[1].eq(made[16:])]


def product(m: Module, name: str, a: Value, b: Value, *, before: bool, after: bool, in_dsp: bool) -> Signal:
    """a * b, both signed and of at most 16 bits, with registers before and after the multiplier.

    in_dsp: in one SB_MAC16, with its registers. Inference leaves those out where they have a reset, and without one it
    is wrong in places.
    """
    result = Signal(signed(len(a) + len(b)), name=f"{name}_product")
    if in_dsp:
        mode = WHOLE | {key: Const(int(before), 1) for key in ("A_REG", "B_REG")}
        mode["PIPELINE_16x16_MULT_REG2"] = Const(int(after), 1)
        wide = [Signal(signed(16), name=f"{name}_{side}") for side in "ab"]
        m.d.comb += [wide[0].eq(a), wide[1].eq(b)]
        made = _multiplier(m, name, mode, wide[0], wide[1])
        m.d.comb += result.eq(made)
        return result
    if before:
        held = [Signal(value.shape(), name=f"{name}_{side}") for side, value in zip("ab", (a, b), strict=True)]
        m.d.sync += [one.eq(value) for one, value in zip(held, (a, b), strict=True)]
        a, b = held
    domain = m.d.sync if after else m.d.comb
    domain += result.eq(a * b)
    return result


def shifted_by(m: Module, name: str, a: Value, power: Value) -> Signal:
    """a * power a cycle later, in one SB_MAC16: a has 16 bits and a sign, power 16 bits and none. Without the register
    nextpnr would not see the way through the multiplier, which it takes for one with registers everywhere."""
    made = Signal(signed(32), name=f"{name}_shifted")
    mode = WHOLE | {"B_SIGNED": Const(0, 1), "PIPELINE_16x16_MULT_REG2": Const(1, 1)}
    m.d.comb += made.eq(_multiplier(m, name, mode, a, power))
    return made
