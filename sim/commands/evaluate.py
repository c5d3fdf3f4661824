"""`lpu eval`: what the integers cost on a text."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from compiler.errors import InputError
from compiler.library import open_model
from compiler.quantise import quantise
from sim.commands import common
from sim.evaluate import evaluate


def read_text(path: Path) -> str:
    """A text file. Raises InputError where it is none."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is no UTF-8 text: byte {error.start} is {error.object[error.start]:#04x}") from None


def eval_command(
    model: common.Model,
    text: Annotated[Path, typer.Argument(help="Stories: one a line, or with <|endoftext|> between.")],
    tokens: Annotated[int | None, typer.Option("--tokens", help="Predict so many tokens of each story; all.")] = None,
    weight_bits: common.WeightBits = None,
    as_json: common.Json = False,
) -> None:
    """Cross-entropy of a text under the float model and under the integers."""
    if tokens is not None and tokens < 1:
        raise InputError(f"{tokens} tokens cannot be predicted; ask for at least 1")
    content = read_text(text)
    loaded, tokenizer, provenance = open_model(model)
    with common.progress(f"evaluating {provenance.name}"):
        quantised = quantise(loaded, weight_bits=weight_bits)
        found = evaluate(loaded, tokenizer, content, quantised=quantised, tokens=tokens)
    if as_json:
        common.print_json({**asdict(found), "excess": found.excess})
        return
    common.out.print(f"cross-entropy, float     {found.float_ce:.4f} nats a token")
    common.out.print(f"cross-entropy, integer   {found.int_ce:.4f} ({found.excess:+.2%})")
    common.out.print(f"same best guess          {found.top1_agreement:.1%} of {found.predictions} predictions")
