"""`lpu compile`: model to image file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from compiler.errors import one_line
from compiler.image import Image
from compiler.image_file import check_writable, save_image
from sim.commands import common


def report(image: Image, path: Path) -> dict[str, Any]:
    """What `compile --json` prints."""
    return {
        "image": str(path), "preset": image.config.name, "context": image.context, "sequences": image.sequences,
        "top_k": image.top_k,
        "memory": image.provenance["memory"], "program": image.provenance["program"],
        "cycles": {"prompt": image.cycles[0].tolist(), "classified": image.cycles[1].tolist()},
        "peak_macs_per_cycle": image.config.peak_macs,
        "provenance": {name: value for name, value in image.provenance.items() if name not in ("memory", "program")}}


def compile_command(
    model: common.Model,
    output: Annotated[Path, typer.Option("--output", "-o", help="The image file to write.")],
    preset: common.Preset = common.DEFAULT_PRESET,
    context: common.Context = None,
    sequences: common.Sequences = None,
    top_k: common.TopK = None,
    weight_bits: common.WeightBits = None,
    as_json: common.Json = False,
) -> None:
    """Compile a model to an image: program, memories, tokenizer, and the cycles of every token."""
    check_writable(output)
    image = common.compile_named(model, preset, context, sequences or 1, top_k or 0, weight_bits)
    save_image(image, output)
    content = report(image, output)
    if as_json:
        common.print_json(content)
        return
    table = Table("memory", "used", "free", box=None, pad_edge=False)
    for name, room in {**content["memory"], **{f"{k} program": v for k, v in content["program"].items()}}.items():
        table.add_row(name, str(room["used"]), str(room["free"]))
    name = one_line(str(content["provenance"].get("name")))
    common.out.print(f"{output}: {name} for {preset}, context {image.context}")
    common.out.print(table)
    first, last = image.cycles[1, 0], image.cycles[1, -1]
    common.out.print(f"cycles a token: {first} at position 0, {last} at position {image.context - 1}")
