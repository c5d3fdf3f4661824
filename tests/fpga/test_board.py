"""Facts of the boards, and that they agree with the machines and models that they name."""

import ast
from dataclasses import replace
from pathlib import Path

import pytest

import fpga.boards
from compiler.errors import InputError
from compiler.library import shipped_models
from fpga.board import Board, Pin, board, board_names
from fpga.clocking import made_mhz
from fpga.family import family
from rtl.config import preset

BOARDS = [board(name) for name in board_names()]
ULX3S = board("ulx3s")


def test_there_are_boards() -> None:
    assert {"icebreaker", "tangnano20k", "ulx3s"} <= set(board_names())


def test_two_machines_of_one_board_differ_in_nothing_but_their_clock() -> None:
    other = board("ulx3s-fast")
    own = {field: getattr(other, field) for field in ("name", "title", "preset", "core_mhz")}
    assert other == replace(ULX3S, **own) and other != ULX3S


def test_an_unknown_board_is_told_the_known_ones() -> None:
    with pytest.raises(InputError, match=r"'nexys'.*icebreaker, tangnano20k, ulx3s"):
        board("nexys")


@pytest.mark.parametrize("facts", BOARDS, ids=lambda facts: facts.name)
def test_a_boards_machine_model_and_device_exist(facts: Board) -> None:
    assert preset(facts.preset).name == facts.preset
    assert facts.model in shipped_models()
    assert family(facts.family).capacity(facts).lut > 0


@pytest.mark.parametrize("facts", BOARDS, ids=lambda facts: facts.name)
def test_a_boards_clock_is_exact_and_makes_its_baud_rate(facts: Board) -> None:
    assert made_mhz(facts, facts.core_mhz) == facts.core_mhz
    divisor = facts.core_mhz * 1e6 / facts.baud
    assert abs(divisor / round(divisor) - 1) < 0.02


@pytest.mark.parametrize("facts", BOARDS, ids=lambda facts: facts.name)
def test_a_board_file_holds_facts_and_nothing_else(facts: Board) -> None:
    tree = ast.parse((Path(fpga.boards.__path__[0]) / f"{facts.name.replace('-', '_')}.py").read_text())
    docstring, *statements = tree.body
    assert isinstance(docstring, ast.Expr)
    *imports, fact = statements
    assert all(isinstance(one, ast.ImportFrom) for one in imports)
    assert isinstance(fact, ast.Assign)


def test_a_pin_with_two_uses_is_refused() -> None:
    with pytest.raises(ValueError, match="pin M1 has two uses"):
        replace(ULX3S, tx=Pin(name="M1"))


def test_pins_that_one_source_names_are_refused() -> None:
    with pytest.raises(ValueError, match="two public sources"):
        replace(ULX3S, sources=ULX3S.sources[:1])


def test_weights_must_start_at_a_sector_behind_the_bitstream() -> None:
    with pytest.raises(ValueError, match="sector"):
        replace(ULX3S, flash=replace(ULX3S.flash, free=1000))


def test_bits_of_a_wide_port_have_their_own_pins() -> None:
    assert list(ULX3S.port("led", 2)) == ["led[0]", "led[1]"]
    assert ULX3S.port("led", 1) == {"led": ULX3S.leds[0]}


@pytest.mark.parametrize(("name", "width"), [("led", 9), ("screen", 1), ("flash_clock", 1)])
def test_a_port_that_the_board_has_no_pins_for_is_refused(name: str, width: int) -> None:
    with pytest.raises(KeyError, match=name):
        ULX3S.port(name, width)
