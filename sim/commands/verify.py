"""`lpu verify`: is an image's schedule legal at every position, and does it compute the model?"""

from __future__ import annotations

import random
from dataclasses import asdict
from typing import Any

import typer
from rich.table import Table
from rich.text import Text

from compiler.image import Image
from sim.commands import common
from sim.commands.check import compare
from sim.cycle import IllegalProgram
from sim.cycle.program import Word
from sim.cycle.proof import Proof, Refuted, prove
from sim.device import CycleDevice, GoldenDevice


def anchor(image: Image, seed: int = 1) -> int:
    """Run two buckets and a position on the cycle simulator, and compare winners and tensors with the golden model's.

    The proof says that all positions move values in the same way; this says that it is the right way. What no program
    may depend on is noise. Raises Refuted. Returns the number of positions; 0 if the image carries no model.
    """
    if image.model is None:
        return 0
    size, rng = image.config.bucket_positions, random.Random(seed)
    positions = min(image.context, 2 * size + 1)
    prompt = [rng.randrange(image.model.shape.vocab) for _ in range(max(1, positions // 2))]
    try:
        found = compare([GoldenDevice(image), CycleDevice(image, poison=seed)], image, prompt, positions, tensors=True)
    except IllegalProgram as error:
        raise Refuted("values", "", error) from None
    result = found[1]
    if not result.good:
        position = min([*result.tokens, *result.cycles, *(where[0] for where in result.tensors.values() if where)])
        names = [name for name, where in sorted(result.tensors.items()) if position in where]
        wrong = names + (["winner"] if position in result.tokens else [])
        raise Refuted("values", "", IllegalProgram(
            None, f"position {position} computes another {', '.join(wrong)} than the golden model"))
    return positions


def verify_image(image: Image) -> tuple[Proof, int]:
    """The proof of an image's schedule, and the positions whose values were compared. Raises Refuted."""
    return prove(image), anchor(image)


def verify_command(
    model: common.ModelOrImage,
    preset: common.ImagePreset = None,
    context: common.Context = None,
    sequences: common.Sequences = None,
    as_json: common.Json = False,
) -> None:
    """Prove a schedule legal at every position: ports, operands, overwriting, caches, cycles."""
    image = common.open_image(model, preset, context, sequences)
    try:
        with common.progress(f"proving {image.context} positions on {image.config.name}"):
            proof, compared = verify_image(image)
    except Refuted as error:
        _print_failure(image, error, as_json=as_json)
        raise typer.Exit(1) from None
    if as_json:
        common.print_json({"good": True, "preset": image.config.name, **asdict(proof), "values_compared": compared})
    else:
        _print_proof(image, proof, compared)


def _print_failure(image: Image, error: Refuted, *, as_json: bool) -> None:
    def word(one: Word) -> dict[str, Any]:
        return {"queue": one.queue.name, "index": one.index, "text": str(one)}

    if as_json:
        common.print_json({
            "good": False, "preset": image.config.name, "rule": error.rule, "where": error.where,
            "cycle": error.cause.cycle, "words": [word(one) for one in error.cause.words],
            "message": str(error.cause)})
        return
    common.out.print(Text.assemble(("not legal", "red"), f" on {image.config.name}, rule ", (error.rule, "bold")))
    common.out.print(str(error))


def _print_proof(image: Image, proof: Proof, compared: int) -> None:
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_row("positions", f"{proof.positions}, prompt and classified tokens, in {proof.buckets} buckets")
    table.add_row("pairs of tokens in a row", f"{proof.pairs}; {proof.in_flight} port uses reach into the next token")
    table.add_row("cycles, as predicted", f"{proof.cycles} in {2 * proof.positions} tokens")
    table.add_row("port uses", f"{proof.port_uses}, no port twice in a cycle")
    table.add_row("reads", f"{proof.reads}, each of a whole value that has arrived, the same one in every bucket")
    table.add_row("writes", f"{proof.writes}, none overwritten before it was read")
    table.add_row("cache rows", f"{proof.cache_reads} read, each written at its position by its own store")
    what = f"{compared} positions, as the golden model" if compared else "not compared: the image carries no model"
    table.add_row("values", what)
    common.out.print(f"legal on {image.config.name}")
    common.out.print(table)
