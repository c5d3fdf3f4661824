"""Registers that move into multipliers, and all that keeps one where it is.

That a machine computes the same with them inside is shown by its netlist's run, see verification/test_gates.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from fpga.absorb import absorb_registers
from fpga.graph import Graph
from tests.fpga.netlists import Netlist

WIDTH = 3
"""Of operands; the product is twice as wide."""
CLK, RESET = 1000, 1001


class Multiplier(Netlist):
    """Registers, a multiplier and a register."""

    def __init__(self) -> None:
        super().__init__()
        self.zero, self.one = self.cell("GND", "zero", "G"), self.cell("VCC", "one", "V")
        ahead = {port: [self.cell("LUT1", f"{port}_{bit}", "F", I0=self.zero) for bit in range(WIDTH)] for port in "AB"}
        operands = {port: [self.flip_flop(f"held_{port}_{bit}", net) for bit, net in enumerate(nets)]
                    for port, nets in ahead.items()}
        self.ahead = ahead
        product, self.next = list(range(self.next, self.next + 2 * WIDTH)), self.next + 2 * WIDTH
        connections = {**operands, "ASIGN": [self.one], "CLK": [self.zero], "CE": [self.zero], "RESET": [self.zero],
                       "DOUT": product}
        self.cells["multiply"] = {
            "type": "MULT9X9", "parameters": {}, "attributes": {}, "connections": connections,
            "port_directions": {port: "output" if port == "DOUT" else "input" for port in connections}}
        self.held = [self.flip_flop(f"product_{bit}", net) for bit, net in enumerate(product[:-1])]  # one is unused
        for bit, net in enumerate(self.held):
            self.cell("LUT1", f"used_{bit}", "F", I0=net)

    @property
    def cells(self) -> dict[str, Any]:
        return self.module["cells"]

    @property
    def multiply(self) -> dict[str, Any]:
        return self.cells["multiply"]

    def flip_flop(self, name: str, net: int, kind: str = "DFFR", **more: int) -> int:
        return self.cell(kind, name, "Q", D=net, CLK=CLK, **({"RESET": RESET} if kind == "DFFR" else {}), **more)


def test_all_three_registers_move() -> None:
    made = Multiplier()
    assert absorb_registers(Graph(made.module)) == 2 * WIDTH + 2 * WIDTH - 1
    assert {cell["type"] for cell in made.cells.values()} == {"GND", "VCC", "LUT1", "MULT9X9"}
    nets = made.multiply["connections"]
    assert (nets["A"], nets["B"], nets["DOUT"][:-1]) == (made.ahead["A"], made.ahead["B"], made.held)
    assert (nets["CLK"], nets["CE"], nets["RESET"]) == ([CLK], [made.one], [RESET])
    assert made.multiply["parameters"] == {"AREG": "1", "BREG": "1", "OUT_REG": "1", "MULT_RESET_MODE": "SYNC"}
    assert absorb_registers(Graph(made.module)) == 0, "there is no second one"


def test_a_sign_and_zeros_are_no_more_registers() -> None:
    made = Multiplier()
    nets = made.multiply["connections"]
    nets["A"] += [nets["A"][-1], made.zero, "0"]
    made.multiply["parameters"]["OUT_REG"] = made.multiply["parameters"]["BREG"] = "0"
    assert absorb_registers(Graph(made.module)) == 2 * WIDTH + 2 * WIDTH - 1
    assert nets["A"] == [*made.ahead["A"], made.ahead["A"][-1], made.zero, "0"]


def _seen(made: Multiplier) -> None:
    made.cell("LUT1", "sees", "F", I0=made.multiply["connections"]["DOUT"][1])


def _held_twice(made: Multiplier) -> None:
    made.flip_flop("again", made.multiply["connections"]["DOUT"][1])


def _led_out(made: Multiplier) -> None:
    made.module["ports"]["out"] = {"direction": "output", "bits": made.multiply["connections"]["DOUT"][:1]}


def _set(made: Multiplier) -> None:
    made.cells["product_2"]["type"] = "DFFS"


def _enabled(made: Multiplier) -> None:
    made.cells["product_2"]["connections"]["CE"] = [made.zero]
    made.cells["product_2"]["port_directions"]["CE"] = "input"


def _selects(made: Multiplier) -> None:
    made.cells["product_2"]["connections"] |= {"D": [made.one], "CE": made.cells["product_2"]["connections"]["D"]}
    made.cells["product_2"]["port_directions"]["CE"] = "input"


def _is_there(made: Multiplier) -> None:
    made.multiply["parameters"]["OUT_REG"] = "1"
    made.multiply["connections"] |= {"CLK": [CLK], "CE": [made.one], "RESET": [RESET]}


@pytest.mark.parametrize("change", [_seen, _held_twice, _led_out, _set, _enabled, _selects, _is_there])
def test_a_register_of_the_product_stays(change: Callable[[Multiplier], None]) -> None:
    made = Multiplier()
    change(made)
    assert absorb_registers(Graph(made.module)) == 2 * WIDTH
    assert {f"product_{bit}" for bit in range(2 * WIDTH - 1)} <= set(made.cells)


def _other_reader(made: Multiplier) -> None:
    made.cell("LUT1", "reads", "F", I0=made.multiply["connections"]["A"][0])


def _is_one(made: Multiplier) -> None:
    made.multiply["connections"]["A"].append(made.one)


def _other_clock(made: Multiplier) -> None:
    for bit in range(WIDTH):
        made.cells[f"held_A_{bit}"]["connections"]["CLK"] = [CLK + 5]


def _no_register(made: Multiplier) -> None:
    made.multiply["connections"]["A"][1] = made.ahead["A"][1]


@pytest.mark.parametrize("change", [_other_reader, _is_one, _other_clock, _no_register])
def test_a_register_of_an_operand_stays(change: Callable[[Multiplier], None]) -> None:
    made = Multiplier()
    change(made)
    assert absorb_registers(Graph(made.module)) == WIDTH + 2 * WIDTH - 1
    assert "held_A_0" in made.cells and made.multiply["parameters"].get("AREG") is None
