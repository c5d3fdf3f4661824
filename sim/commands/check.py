"""`lpu check`: several devices side by side on the same tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

import numpy as np
import typer
from rich.table import Table
from rich.text import Text

from compiler.errors import InputError
from compiler.image import Image
from compiler.sampling import temperature_of, with_sampling
from sim.commands import common
from sim.commands.generate import Seed, Temperature, TokenCount, check_request, check_sampling
from sim.device import DEVICES, Device, GoldenDevice, Line, device_kind, open_device
from sim.generate import encode_prompt

Devices = Annotated[str, typer.Option(help="Which, with commas between; the first is the reference.")]


@dataclass(kw_only=True)
class Comparison:
    """What a device did differently from the first one, and from the compiler's prediction."""

    device: str
    tokens: list[int] = field(default_factory=list[int])  # positions with another winner
    cycles: list[int] = field(default_factory=list[int])  # positions with other cycles than predicted
    tensors: dict[str, list[int]] = field(default_factory=dict[str, list[int]])  # name -> positions where it differs
    compared: set[str] = field(default_factory=set[str])

    @property
    def good(self) -> bool:
        return not (self.tokens or self.cycles or any(self.tensors.values()))


def compare(devices: list[Device], image: Image, prompt: list[int], positions: int, *,
            tensors: bool) -> list[Comparison]:
    """Run the first device freely and the others on its tokens.

    An image of several sequences runs the prompt in each; after the first, one begins anew every `positions` over their
    number, so that they stand at different positions. Then `tokens` and `cycles` list the steps in which they differ.
    """
    found = [Comparison(device=device.name) for device in devices]
    for device in devices:
        device.reset()
        if tensors and isinstance(device, GoldenDevice):
            device.keep_tensors()
    count = image.sequences
    tokens, at = [prompt[0]] * count, [0] * count
    for step in range(positions):
        restart = [sequence for sequence in range(1, count) if step == sequence * positions // count]
        for sequence in restart:
            tokens[sequence], at[sequence] = prompt[0], 0
        classify = any(position >= len(prompt) - 1 for position in at)
        records = [device.advance(tokens, classify=classify, restart=restart) for device in devices]
        for result, record in zip(found, records, strict=True):
            if record.tokens != records[0].tokens:
                result.tokens.append(step)
            if record.cycles is not None and record.cycles != image.cycles[int(classify), max(at)]:
                result.cycles.append(step)
        if tensors:
            _compare_tensors(devices, image, found, step)
        for sequence, winner in enumerate(records[0].tokens):
            given = at[sequence] < len(prompt) - 1
            tokens[sequence] = prompt[at[sequence] + 1] if given else winner
            at[sequence] += 1
    return found


def _compare_tensors(devices: list[Device], image: Image, found: list[Comparison], position: int) -> None:
    for name in image.tensors:
        expected = devices[0].tensor(name)
        for device, result in zip(devices[1:], found[1:], strict=True):
            other = device.tensor(name)
            if expected is None or other is None:
                continue
            result.compared.add(name)
            if not np.array_equal(expected, other):
                result.tensors.setdefault(name, []).append(position)


def check_command(
    model: common.ModelOrImage,
    prompt: common.Prompt = None,
    tokens: TokenCount = 32,
    temperature: Temperature = 0.0,
    seed: Seed = None,
    top_k: common.TopK = None,
    devices: Devices = ",".join(DEVICES),
    preset: common.ImagePreset = None,
    context: common.Context = None,
    sequences: common.Sequences = None,
    tensors: Annotated[bool, typer.Option("--tensors", help="Compare the tensors after each token too.")] = False,
    port: common.Port = None,
    baud: common.Baud = None,
    as_json: common.Json = False,
) -> None:
    """Run the devices side by side: the same tokens, in the cycles that the compiler predicted."""
    names = [name.strip() for name in devices.split(",") if name.strip()]
    if not names:
        raise InputError(f"no devices to check; known devices: {', '.join(DEVICES)}")
    for name in names:
        check_request(name, tokens)
    check_sampling(temperature, seed, top_k)
    kinds = [device_kind(name) for name in names]
    fixed = next((kind.preset for kind in kinds if kind.preset is not None), None)
    image = common.open_image(model, preset or fixed, context, sequences, top_k)
    image = with_sampling(image, temperature, seed or 0)
    prompt_tokens = encode_prompt(common.tokenizer_of(image), prompt, image.context)
    with common.progress(f"preparing {', '.join(names)}"):
        line = Line(port=port, baud=baud)
        opened = [open_device(name, image, line if kind.has_line else None)
                  for name, kind in zip(names, kinds, strict=True)]
    positions = min(image.context, len(prompt_tokens) - 1 + (tokens or image.context))
    with common.progress(f"running {positions} positions"):
        found = compare(opened, image, prompt_tokens, positions, tensors=tensors)
    if as_json:
        common.print_json(_report(found, image, positions))
    else:
        _print(found, image, positions)
    if not all(result.good for result in found):
        raise typer.Exit(1)


def _report(found: list[Comparison], image: Image, positions: int) -> dict[str, Any]:
    return {
        "preset": image.config.name, "temperature": temperature_of(image), "top_k": image.top_k,
        "sequences": image.sequences, "positions": positions,
        "good": all(result.good for result in found),
        "devices": [{"device": result.device, "other_tokens": result.tokens, "other_cycles": result.cycles,
                     "other_tensors": result.tensors, "tensors_compared": sorted(result.compared)} for result in found]}


def _print(found: list[Comparison], image: Image, positions: int) -> None:
    def verdict(good: str, wrong: Sequence[object]) -> Text:
        some = ", ".join(map(str, wrong[:8])) + (" ..." if wrong[8:] else "")
        return Text(f"differ: {some}", "red") if wrong else Text(good)

    table = Table("device", "tokens", "cycles", "tensors", box=None, pad_edge=False)
    for number, result in enumerate(found):
        tokens = Text("reference") if number == 0 else verdict("the same", result.tokens)
        cycles = Text("none") if result.device == GoldenDevice.name else verdict("as predicted", result.cycles)
        same = f"{len(result.compared)} the same" if result.compared else "-"
        table.add_row(result.device, tokens, cycles, verdict(same, sorted(result.tensors)))
    several = f", {image.sequences} sequences at once" if image.sequences > 1 else ""
    drawn = f", drawn {common.drawn(temperature_of(image), image)}" if image.registers.temperature else ""
    common.out.print(f"{positions} positions on {image.config.name}{several}{drawn}")
    common.out.print(table)
