"""The search: the best style wins, one that cannot be scheduled is left out, and a large program tries fewer."""

from __future__ import annotations

from collections.abc import Callable

import pytest

import compiler.search
from compiler.columns import NoValueLeft
from compiler.compile import compile_model
from compiler.errors import InputError
from compiler.fit import check_fit
from compiler.join import Schedule
from compiler.layout import Layout
from compiler.quantised import QuantisedModel
from compiler.schedule import Release, Token
from compiler.search import cost, find_schedule
from compiler.style import Style
from rtl.config import preset

Models = Callable[[str], QuantisedModel]


@pytest.fixture
def layout(model: Models) -> Layout:
    return check_fit(model("even"), preset("tiny"), 20)


def best(model: QuantisedModel, layout: Layout) -> int:
    return cost(find_schedule(model, layout)[1], model.shape.layers)


def only(monkeypatch: pytest.MonkeyPatch, *styles: Style) -> None:
    monkeypatch.setattr(compiler.search, "styles", lambda *_: iter(styles))


PLAIN, CUT = Style(lead=1), Style(lead=3, late=1, early_values=1)


def test_the_better_style_wins_wherever_it_stands(model: Models, layout: Layout, monkeypatch: pytest.MonkeyPatch):
    alone: list[int] = []
    for style in (PLAIN, CUT):
        only(monkeypatch, style)
        alone.append(best(model("even"), layout))
    assert alone[0] != alone[1]
    for order in ((PLAIN, CUT), (CUT, PLAIN)):
        only(monkeypatch, *order)
        assert best(model("even"), layout) == min(alone)


def test_with_little_effort_the_first_is_taken(model: Models, layout: Layout, monkeypatch: pytest.MonkeyPatch):
    only(monkeypatch, PLAIN)
    plain = best(model("even"), layout)
    only(monkeypatch, PLAIN, CUT)
    monkeypatch.setattr(compiler.search, "EFFORT", 1)
    monkeypatch.setattr(compiler.search, "FINALS", 1)
    assert best(model("even"), layout) == plain


@pytest.mark.parametrize("failing", [1, 2, 1000])
def test_a_style_without_values_left_is_left_out(model: Models, layout: Layout, monkeypatch: pytest.MonkeyPatch,
                                                 failing: int):
    real, left = Token.schedule, [failing]

    def schedule(self: Token, ideal: Schedule, release: Release) -> Schedule:
        if left[0]:
            left[0] -= 1
            raise NoValueLeft("none")
        return real(self, ideal, release)

    monkeypatch.setattr(Token, "schedule", schedule)
    if failing < 1000:
        assert find_schedule(model("even"), layout)[1].period.min() > 0
    else:
        with pytest.raises(InputError, match="needs more than its 16 dynamic values"):
            compile_model(model("even"), preset("tiny"))
