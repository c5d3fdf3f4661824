"""`lpu generate`: a story on any device, as it comes."""

from __future__ import annotations

from typing import Annotated

import typer

from compiler.errors import InputError
from compiler.sampling import with_sampling
from sim.commands import common
from sim.device import Line, device_kind, open_device
from sim.generate import encode_prompt, generate_together

Temperature = Annotated[float, typer.Option(
    help="Draw tokens: 1 as the model was trained, less is more careful, 0 takes the likeliest.")]
Seed = Annotated[int | None, typer.Option(help="What is drawn: the same seed, the same story; 0.")]
TokenCount = Annotated[int | None, typer.Option("--tokens", help="Most tokens to generate; the context's worth.")]


def check_request(device: str, tokens: int | None) -> None:
    """What can be wrong before anything was opened."""
    device_kind(device)
    if tokens is not None and tokens < 1:
        raise InputError(f"{tokens} tokens cannot be generated; ask for at least 1")


def check_sampling(temperature: float, seed: int | None, top_k: int | None) -> None:
    """What can be wrong before anything was opened."""
    if top_k and temperature == 0:
        raise InputError("a top-k has no use where the likeliest token is taken; give --temperature too")
    if seed is not None and temperature == 0:
        raise InputError("a seed has no use where the likeliest token is taken; give --temperature too")


def generate_command(
    model: common.ModelOrImage,
    prompt: Annotated[list[str] | None, typer.Option(
        help="How the story begins; given twice, two stories are told at once on one machine.")] = None,
    tokens: TokenCount = None,
    temperature: Temperature = 0.0,
    seed: Seed = None,
    top_k: common.TopK = None,
    device: Annotated[str, typer.Option(
        help="golden, cycle, rtl, a board, or virtual: and a board: the same, simulated.")] = "golden",
    port: common.Port = None,
    baud: common.Baud = None,
    preset: common.ImagePreset = None,
    context: common.Context = None,
    ignore_stop: Annotated[bool, typer.Option(help="Go on past the end of a story.")] = False,
    as_json: common.Json = False,
) -> None:
    """Generate a story; of several, each further one has the next seed."""
    check_request(device, tokens)
    check_sampling(temperature, seed, top_k)
    prompts: list[str | None] = [*prompt] if prompt else [None]
    image = common.open_image(model, preset or device_kind(device).preset, context, len(prompts), top_k)
    image = with_sampling(image, temperature, seed or 0)
    tokenizer = common.tokenizer_of(image)
    given = [encode_prompt(tokenizer, one, image.context) for one in prompts]
    with common.progress(f"preparing the {device} device"):
        running = open_device(device, image, Line(port=port, baud=baud))
    # Several stories are printed one after another; only one can be shown as it comes.
    stories = [common.Story(tokenizer, one, show=not as_json and len(given) == 1) for one in given]
    made = generate_together(running, image, given, tokens=tokens, stop=frozenset() if ignore_stop else tokenizer.stops,
                             on_token=lambda sequence, token: stories[sequence].push(token))
    texts = [story.finish() for story in stories]
    if as_json:
        common.print_json(common.generation_json(made, image, device, texts, seed or 0))
    else:
        if len(texts) > 1:
            common.out.print(common.displayed("\n\n".join(texts)))
        common.print_summary(made, image, device, running, seed or 0)
    if made.mispredicted:
        common.err.print(f"lpu: cycles at positions {made.mispredicted} are not those that the compiler predicted")
        raise typer.Exit(1)
