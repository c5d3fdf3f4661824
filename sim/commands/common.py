"""What the subcommands share: opening models and images, JSON, progress, the summary of a generation."""

from __future__ import annotations

import json
import sys
import unicodedata
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from compiler.compile import compile_model
from compiler.errors import InputError, one_line
from compiler.image import Image
from compiler.image_file import load_image, looks_like_image, tool_version
from compiler.library import open_model
from compiler.quantise import quantise
from compiler.quantised import QuantisedModel
from compiler.sampling import temperature_of
from compiler.tokenizer import AnyTokenizer, Decoder, parse_tokenizer
from rtl.config import preset as find_preset
from sim.device import Device, Remarks
from sim.generate import Generation

DEFAULT_PRESET = "ulx3s"

# Names come from files: none of them is markup.
out = Console(highlight=False, markup=False, soft_wrap=True, width=None if sys.stdout.isatty() else 160)
"""Standard output; in a pipe, tables are as wide as they need."""
err = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
"""Progress and notes: nothing of it reaches a pipe."""

Model = Annotated[str, typer.Argument(help="A shipped model's name, a folder, a checkpoint, or random:SHAPE.")]
ModelOrImage = Annotated[str, typer.Argument(help="A shipped model's name, a folder, a checkpoint, or an image.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead.")]
Preset = Annotated[str, typer.Option(
    "--preset", help="The machine: tiny, icebreaker, tangnano20k, ulx3s, ulx3s-fast or large.")]
ImagePreset = Annotated[str | None, typer.Option("--preset", help="The machine; the image's own, or ulx3s.")]
Context = Annotated[int | None, typer.Option(help="Positions to provide for; as many as fit.")]
Sequences = Annotated[int | None, typer.Option(help="Texts that one program works on in turn; 1.")]
TopK = Annotated[int | None, typer.Option("--top-k", help="Draw from so many of the likeliest tokens alone; all.")]
WeightBits = Annotated[int | None, typer.Option(help="Of the layers' weights: 4 or 8; those it was trained for.")]
Port = Annotated[str | None, typer.Option(help="A board's serial port.")]
Baud = Annotated[int | None, typer.Option(help="Bits a second on the port; the board's own.")]
Prompt = Annotated[str | None, typer.Option(help="How the story begins.")]


@contextmanager
def progress(text: str) -> Generator[None]:
    """A line on a terminal while something takes its time."""
    if not err.is_terminal:
        yield
        return
    with err.status(Text(one_line(text))):
        yield


def print_json(content: dict[str, Any]) -> None:
    """One JSON object on standard output."""
    json.dump(content, sys.stdout, indent=2)
    sys.stdout.write("\n")


def compile_named(name_or_path: str, preset: str, context: int | None = None, sequences: int = 1,
                  top_k: int = 0, weight_bits: int | None = None) -> Image:
    """A model, compiled; its integers and its tokenizer travel along."""
    config = find_preset(preset)
    model, tokenizer, provenance = open_model(name_or_path)
    with progress(f"quantising {provenance.name}"):
        quantised = quantise(model, weight_bits=weight_bits)
    with progress(f"compiling {provenance.name} for {preset}"):
        image = compile_model(
            quantised, config, context=context, sequences=sequences, top_k=top_k, tokenizer=tokenizer.file(),
            provenance={**asdict(provenance), "tool": tool_version()})
    return with_model(image, quantised)


def with_model(image: Image, quantised: QuantisedModel) -> Image:
    """The image with the integers that it was made from, for the golden device."""
    return replace(image, model=quantised)


def open_image(name_or_path: str, preset: str | None, context: int | None = None,
               sequences: int | None = None, top_k: int | None = None) -> Image:
    """An image file, or a model compiled on the spot. Raises InputError where an image is for another preset."""
    path = Path(name_or_path).expanduser()
    config = find_preset(preset) if preset is not None else None
    if not path.is_file() or not looks_like_image(path):
        if path.suffix == ".lpu" and not path.exists():
            raise InputError(f"there is no image {path}; `lpu compile` makes one")
        return compile_named(name_or_path, preset or DEFAULT_PRESET, context, sequences or 1, top_k or 0)
    image = load_image(path, config=config)
    if context is not None and context != image.context:
        raise InputError(f"{path} is compiled for a context of {image.context}; compile the model again for {context}")
    if sequences is not None and sequences != image.sequences:
        raise InputError(
            f"{path} is compiled for {image.sequences} at once; compile the model again for {sequences} sequences")
    if top_k is not None and top_k != image.top_k:
        raise InputError(
            f"{path} is compiled for a top-k of {image.top_k}, 0 for all; compile the model again for {top_k}")
    return image


def tokenizer_of(image: Image) -> AnyTokenizer:
    """The tokenizer in an image."""
    if not image.tokenizer:
        raise InputError("this image carries no tokenizer; compile the model again")
    return parse_tokenizer(image.tokenizer, "the image's tokenizer")


def displayed(text: str) -> str:
    """A model's text for a terminal: a tokenizer from outside may have pieces that would command it."""
    return "".join(one if one in "\n\t" or unicodedata.category(one) not in ("Cc", "Cs") else "\ufffd" for one in text)


class Story:
    """Prints a story as it comes."""

    def __init__(self, tokenizer: AnyTokenizer, prompt_tokens: list[int], *, show: bool) -> None:
        self._decoder = Decoder(tokenizer, after=None)
        self._show = show
        self.text = ""
        for token in prompt_tokens:
            self.push(token)

    def push(self, token: int) -> None:
        self._print(self._decoder.push(token))

    def finish(self) -> str:
        """All of it, prompt included."""
        self._print(self._decoder.finish())
        if self._show:
            sys.stdout.write("\n")
        return self.text

    def _print(self, text: str) -> None:
        self.text += text
        if self._show:
            sys.stdout.write(displayed(text))
            sys.stdout.flush()


def drawn(temperature: float, image: Image) -> str:
    """How tokens are drawn, in words."""
    return f"at temperature {temperature:.3g}" + (f" from the {image.top_k} likeliest" if image.top_k else "")


def generation_json(made: Generation, image: Image, device: str, texts: list[str], seed: int = 0) -> dict[str, Any]:
    """What `generate --json` prints. The first story stands for itself; all are in `stories`."""
    temperature = temperature_of(image)
    return {
        "device": device, "preset": image.config.name, "prompt_tokens": made.prompt_tokens, "tokens": made.tokens,
        "text": texts[0], "stories": [
            {"prompt_tokens": prompt, "tokens": tokens, "text": text}
            for prompt, tokens, text in zip(made.prompts, made.stories, texts, strict=True)],
        "temperature": temperature, "top_k": image.top_k, "seed": seed if temperature else None,
        "cycles": made.cycles, "predicted_cycles": made.predicted_cycles, "useful_macs": made.useful_macs,
        "peak_macs_per_cycle": made.peak_macs_per_cycle, "utilisation": made.utilisation, "seconds": made.seconds}


def print_summary(made: Generation, image: Image, device: str, running: Device | None = None,
                  seed: int = 0) -> None:
    """Cycles a token, predicted and measured, utilisation, speed, and what the device itself has to say."""
    positions = made.positions
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_row("device", f"{device}, machine {image.config.name}")
    step = f"step of {len(made.prompts)} tokens" if len(made.prompts) > 1 else "token"
    given, told = (sum(map(len, every)) for every in (made.prompts, made.stories))
    table.add_row("tokens", f"{given} given, {told} generated")
    if temperature := temperature_of(image):
        seeds = f"seeds {seed} to {seed + len(made.prompts) - 1}" if len(made.prompts) > 1 else f"seed {seed}"
        table.add_row("drawn", f"{drawn(temperature, image)}, {seeds}")
    table.add_row(f"cycles a {step}, predicted", f"{sum(made.predicted_cycles) / positions:.1f}")
    measured = [count for count in made.cycles if count is not None]
    if measured:
        wrong = len(made.mispredicted)
        verdict = "each as predicted" if not wrong else f"{wrong} of {positions} NOT as predicted"
        table.add_row(f"cycles a {step}, measured", f"{sum(measured) / positions:.1f} ({verdict})")
    else:
        table.add_row(f"cycles a {step}, measured", f"the {device} device has none")
    table.add_row("utilisation", f"{made.utilisation:.3f} of {made.peak_macs_per_cycle} multipliers")
    run = given + told - len(made.prompts)  # the last token of each is generated, but not run
    speed = f"{run / made.seconds:.0f} tokens a second"
    if measured:
        speed += f", {sum(measured) / made.seconds / 1e6:.2f} million cycles a second"
    table.add_row("speed here", speed)
    if isinstance(running, Remarks):
        for name, text in running.remarks(made.total_cycles / positions):
            table.add_row(name, text)
    out.print()
    out.print(table)
