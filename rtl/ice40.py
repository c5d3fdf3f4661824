"""iCE40 primitives that no tool infers as we want them."""

from __future__ import annotations

from amaranth.hdl import Cat, ClockSignal, Const, Instance, Module, Signal, Value

MODE = {name: Const(1, 1) for name in ("TOP_8x8_MULT_REG", "BOT_8x8_MULT_REG", "MODE_8x8", "A_SIGNED", "B_SIGNED")}
MODE |= {name: Const(2, 2) for name in ("TOPOUTPUT_SELECT", "BOTOUTPUT_SELECT")}
"""Two signed 8 x 8 products, each with a register behind it."""

QUIET = ("AHOLD", "BHOLD", "CHOLD", "DHOLD", "IRSTTOP", "IRSTBOT", "ORSTTOP", "ORSTBOT", "OLOADTOP", "OLOADBOT",
         "ADDSUBTOP", "ADDSUBBOT", "OHOLDTOP", "OHOLDBOT", "CI", "ACCUMCI", "SIGNEXTIN")
"""Inputs that are 0."""


def product_pair(m: Module, name: str, first: tuple[Value, Value], second: tuple[Value, Value],
                 results: tuple[Signal, Signal]) -> None:
    """Two products of int8 a cycle later, in one SB_MAC16. Inference takes one for each.

    The registers have no reset: what is in flight at a reset is nobody's.
    """
    product = Signal(32, name=f"{name}_out")
    m.submodules[name] = Instance(
        "SB_MAC16", *(("p", key, value) for key, value in MODE.items()), *(("i", key, 0) for key in QUIET),
        i_CLK=ClockSignal(), i_CE=1, i_C=Signal(16, name=f"{name}_c"), i_D=Signal(16, name=f"{name}_d"),
        i_A=Cat(first[0], second[0]), i_B=Cat(first[1], second[1]), o_O=product)
    m.d.comb += [results[0].eq(product[:16]), results[1].eq(product[16:])]
