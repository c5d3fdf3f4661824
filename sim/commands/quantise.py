"""`lpu quantise`: what a model loses as integers, and where."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import Progress
from rich.table import Table

from compiler.errors import InputError
from compiler.library import open_model
from sim.commands import common
from sim.commands.evaluate import read_text
from sim.evaluate import stories_of
from sim.quality import Cost, Quality, measure, own_stories

STORIES, TOKENS = 8, 64
WORST = 3


def quantise_command(
    model: common.Model,
    report: Annotated[bool, typer.Option("--report", help="Measure what each tensor's rounding costs.")] = False,
    text: Annotated[Path | None, typer.Option("--text", help="Stories to measure on: one a line, or with "
                                              "<|endoftext|> between; else, stories that the model tells.")] = None,
    stories: Annotated[int, typer.Option(help="How many stories.")] = STORIES,
    tokens: Annotated[int, typer.Option(help="Tokens of each.")] = TOKENS,
    weight_bits: common.WeightBits = None,
    as_json: common.Json = False,
) -> None:
    """What a model loses as integers: cross-entropy, residual stream, and with --report each tensor's part."""
    for name, value in (("--stories", stories), ("--tokens", tokens)):
        if value < 1:
            raise InputError(f"{name} {value} is not possible; ask for at least 1")
    content = None if text is None else read_text(text)
    loaded, tokenizer, provenance = open_model(model)
    if content is None:
        told = own_stories(loaded, count=stories, length=tokens)
    else:
        length = min(tokens, loaded.shape.context)
        told = [one for one in (tokenizer.encode(story)[:length] for story in stories_of(content)[:stories]) if one]
        if not told:
            raise InputError(f"{text} has no stories; expected at least one line of text")
    with Progress(console=common.err, disable=not common.err.is_terminal, transient=True) as shown:
        task = shown.add_task("measuring", total=None)

        def step(what: str, steps: int) -> None:
            shown.update(task, description=what, total=steps, advance=1)

        found = measure(loaded, told, costs=report, progress=step, weight_bits=weight_bits)
    if as_json:
        common.print_json({**asdict(found), "excess": found.excess,
                           "text": "its own stories" if text is None else str(text)})
    else:
        _print(found, provenance.name, "its own stories" if text is None else str(text))


def _print(found: Quality, name: str, text: str) -> None:
    common.out.print(f"{name} on {found.predictions} tokens of {text}")
    common.out.print(f"cross-entropy, float     {found.float_ce:.4f} nats a token")
    common.out.print(f"cross-entropy, integer   {found.int_ce:.4f} ({found.excess:+.2%})")
    common.out.print("residual stream, error after each layer: "
                     + ", ".join(f"{error:.2%}" for error in found.stream_errors))
    together = sorted((cost for cost in found.costs if cost.layer is None), key=lambda cost: -cost.nats)
    table = Table("rounded alone", "nats", "standard error", "of float", "layers that cost most", box=None,
                  pad_edge=False)
    for cost in together:
        table.add_row(cost.tensor, f"{cost.nats:+.5f}", f"{cost.error:.5f}", f"{cost.nats / found.float_ce:+.3%}",
                      _worst([one for one in found.costs if one.tensor == cost.tensor and one.layer is not None]))
    if together:
        common.out.print(table)


def _worst(costs: list[Cost]) -> str:
    return ", ".join(f"{cost.layer}: {cost.nats:+.5f}" for cost in sorted(costs, key=lambda cost: -cost.nats)[:WORST])
