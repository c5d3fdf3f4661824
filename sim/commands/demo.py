"""`lpu demo`: our own model tells a story on the simulated chip, and golden agrees."""

from __future__ import annotations

from typing import Annotated

import typer

from compiler.errors import InputError
from sim.commands import common
from sim.device import open_device
from sim.generate import encode_prompt, generate

MODEL = "fables260k"
LEAST_TOKENS = 100


def demo_command(
    device: Annotated[str, typer.Option(help="rtl, cycle or golden.")] = "rtl",
    prompt: common.Prompt = None,
    tokens: Annotated[int, typer.Option(help="Tokens to tell.")] = 128,
    as_json: common.Json = False,
) -> None:
    """Compile our own model, build the RTL, tell a story token by token, and have golden check every token."""
    if tokens < 1:
        raise InputError(f"{tokens} tokens cannot be generated; ask for at least 1")
    image = common.open_image(MODEL, common.DEFAULT_PRESET)
    tokenizer = common.tokenizer_of(image)
    prompt_tokens = encode_prompt(tokenizer, prompt, image.context)
    if not as_json:
        common.out.print(f"{MODEL} on {image.config.name}: {image.config.lanes} x {image.config.taps} multipliers, "
                         f"{sum(map(len, image.programs.values()))} instruction words, context {image.context}\n")
    with common.progress(f"building the {device} device; the first time takes minutes"):
        running = open_device(device, image)
    story = common.Story(tokenizer, prompt_tokens, show=not as_json)
    # A story that ends early is followed by the next one: the demonstration is of so many tokens.
    made = generate(running, image, prompt_tokens, tokens=tokens, stop=frozenset(), on_token=story.push)
    text = story.finish()
    golden = generate(open_device("golden", image), image, prompt_tokens, tokens=tokens, stop=frozenset())
    wrong = [number for number, (a, b) in enumerate(zip(made.tokens, golden.tokens, strict=True)) if a != b]
    good = not wrong and not made.mispredicted
    if as_json:
        content = common.generation_json(made, image, device, [text])
        common.print_json({**content, "golden_tokens": golden.tokens, "golden_agrees": not wrong})
    else:
        common.print_summary(made, image, device)
        agreed = len(made.tokens) - len(wrong)
        common.out.print(f"golden model agrees on {agreed} of {len(made.tokens)} tokens" + ("" if good else ": FAILED"))
    if not good:
        raise typer.Exit(1)
