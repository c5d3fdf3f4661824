"""Every board's top behind a pseudo-terminal: `lpu generate --device virtual:BOARD` tells what golden tells."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from fpga import cli
from fpga.board import board, board_names
from fpga.device import BoardDevice
from fpga.link.host import LinkError, open_port
from fpga.virtual import BAUD, PATIENCE, VirtualBoard
from sim.commands.common import compile_named
from tests.fpga.test_soak import Corrupting

TOKENS = 64
STORIES = Path(__file__).parents[3] / "shared" / "models" / "stories260K.bin"
MODELS = {name: board(name).model for name in board_names()} | {"ulx3s": str(STORIES)}

Lpu = Callable[..., dict[str, Any]]


@pytest.fixture
def lpu(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Lpu:
    """The command; gives what it printed with --json."""
    def run(*arguments: object) -> dict[str, Any]:
        monkeypatch.setattr(sys, "argv", ["lpu", *map(str, arguments), "--json"])
        capsys.readouterr()
        with pytest.raises(SystemExit) as exit_:
            cli.main()
        captured = capsys.readouterr()
        assert not exit_.value.code, captured.err
        return json.loads(captured.out)
    return run


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_64_tokens_are_those_of_golden(name: str, lpu: Lpu, tmp_path: Path):
    """Load, read back, run, cycle counters: all of the host's code and all of the top, but for clock and pins."""
    if name == "ulx3s" and not STORIES.exists():
        pytest.skip(f"needs ../shared/models/{STORIES.name}")
    image = tmp_path / "image.lpu"
    lpu("compile", MODELS[name], "--preset", board(name).preset, "-o", image)
    common = ("generate", image, "--tokens", TOKENS, "--ignore-stop")
    golden, virtual = lpu(*common), lpu(*common, "--device", f"virtual:{name}")
    assert len(golden["tokens"]) == TOKENS and len(set(golden["tokens"])) > 10
    assert virtual["tokens"] == golden["tokens"] and virtual["text"] == golden["text"]
    assert virtual["cycles"] == virtual["predicted_cycles"]


def test_a_board_that_does_not_hold_what_it_was_given_is_refused():
    image = compile_named("random:odd", "tiny")
    with VirtualBoard(image.config) as one, closing(open_port(one.port, BAUD, gap_s=PATIENCE.gap_s)) as port:
        link = Corrupting(port, name=one.port, baud=BAUD, cfg=image.config, patience=PATIENCE)
        with pytest.raises(LinkError, match="the board holds something else than it was given"):
            BoardDevice(image, link, name="board")
