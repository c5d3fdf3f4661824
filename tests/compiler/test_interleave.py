"""Interleaving: each sequence keeps its order, nobody loses an accumulator, and it is faster than one after another."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import pytest

from compiler.compile import compile_model
from compiler.errors import InputError
from compiler.fit import check_fit
from compiler.interleave import interleave
from compiler.ir import CompileError, Operation, Section
from compiler.layout import Layout
from compiler.lower import lower
from compiler.quantised import QuantisedModel
from compiler.style import Style
from compiler.verify import verify_operations
from rtl.config import preset

Models = Callable[[str], QuantisedModel]
STYLE = Style(lead=3, late=1, early_values=1)


def lowered(model: QuantisedModel, layout: Layout) -> list[list[Operation]]:
    return [lower(model, layout.of(sequence), STYLE) for sequence in range(layout.sequences)]


@pytest.fixture
def layout(model: Models) -> Layout:
    return check_fit(model("even"), preset("tiny"), 20, 2)


@pytest.mark.parametrize("lag", [0, 5, 40, 10_000])
def test_each_sequence_keeps_its_order(model: Models, layout: Layout, lag: int):
    own = lowered(model("even"), layout)
    merged = interleave(own, 4, lag, 0)
    verify_operations(merged, layout)
    for number, operations in enumerate(own):
        assert [op.name for op in merged if op.sequence == number] == [op.name for op in operations]
    assert len(merged) == sum(map(len, own))
    sections = [op.section.value for op in merged]
    assert sections == sorted(sections)


def test_the_layers_take_turns_and_what_is_around_them_does_not(model: Models, layout: Layout):
    merged = interleave(lowered(model("even"), layout), 4, 5, 0)

    def turns(section: Section) -> int:
        whose = [op.sequence for op in merged if op.section is section]
        return sum(a != b for a, b in pairwise(whose))

    assert turns(Section.PROLOGUE) == turns(Section.EPILOGUE) == 1
    assert turns(Section.BODY) > 10


def test_partners_stay_partners(model: Models, layout: Layout):
    merged = interleave(lowered(model("even"), layout), 4, 5, 0)
    known = {id(op) for op in merged}
    pairs = [op for op in merged if op.partner is not None]
    assert len(pairs) == 2 * model("even").shape.heads
    assert all(id(op.partner) in known and op.partner and op.partner.sequence == op.sequence for op in pairs)


def test_accumulators_that_do_not_suffice_are_found(model: Models, layout: Layout):
    """Three matmuls are under way at once in this style."""
    with pytest.raises(CompileError, match="no free accumulator"):
        interleave(lowered(model("even"), layout), 2, 5, 0)


def test_sequences_share_no_address(layout: Layout):
    first, second = layout.of(0), layout.of(1)
    for name, step in layout.pitch.items():
        assert getattr(second, name) == getattr(first, name) + step and step > 0, name
    assert layout.of(0) == layout


@pytest.mark.parametrize("name", ["tiny", "ulx3s", "large"])
@pytest.mark.parametrize("shape", ["even", "odd", "mha", "mqa"])
def test_two_at_once_take_less_than_one_after_another(model: Models, shape: str, name: str):
    one, two = (compile_model(model(shape), preset(name), sequences=number) for number in (1, 2))
    common = min(one.context, two.context)
    assert (two.cycles[:, :common] < 2 * one.cycles[:, :common]).all()
    assert (two.cycles[:, :common] >= one.cycles[:, :common]).all()


def test_more_sequences_than_the_machine_keeps(model: Models):
    with pytest.raises(InputError, match="2 sequences at once are not possible: icebreaker keeps 1"):
        compile_model(model("even"), preset("icebreaker"), sequences=2)
    with pytest.raises(InputError, match="0 sequences"):
        compile_model(model("even"), preset("tiny"), sequences=0)


def test_registers_that_do_not_suffice_for_two(model: Models):
    with pytest.raises(InputError, match=r"for 2 sequences does not fit tiny: .*registers hold"):
        compile_model(model("even"), replace(preset("tiny"), reduces=4), context=20, sequences=2)


def test_four_sequences(model: Models):
    """The machine may be built for more than any preset has."""
    four = replace(preset("tiny"), sequences=4, scalars=64, reduces=64, bank_rows=4096, vector_rows=1024)
    image = compile_model(model("even"), four, sequences=4)
    assert image.sequences == 4 and (image.cycles[1] < 4 * compile_model(model("even"), four).cycles[1]).all()
