"""The teller with a core that says what the test wants: the decoder's text, the protocol's requests."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
from amaranth import Module
from amaranth.lib.wiring import connect

from compiler.errors import InputError
from compiler.tokenizer import BEGIN, END, Tokenizer
from fpga.standalone.records import RECORD_BYTES, printed, script
from fpga.standalone.tape import Rom
from fpga.standalone.teller import Teller
from rtl.config import PRESETS, Config
from rtl.protocol import Request, record_bytes, step_bytes
from tests.rtl.bench import run

PIECES = [
    b"<unk>", b"\n<s>\n", b"\n</s>\n", b" one", b"two", b" ", b"  three", b"a\nb", b"<0xE2>", b"<0x82>", b"<0xAC>",
    b"<0x00>", b" " + b"x" * 30, b"\n", b"."]
TOKENIZER = Tokenizer(PIECES, [0.0] * len(PIECES))


def tell(cfg: Config, openings: Sequence[Sequence[int]], stories: Sequence[Sequence[int]], context: int,
         count: int, seed: int = 0) -> tuple[bytes, list[bytes]]:
    """Text and STEP requests of a teller whose core generates `stories`, until there are `count` bytes of text."""
    rng = random.Random(seed)
    m = Module()
    m.submodules.teller = teller = Teller(cfg, pause_bits=4)
    m.submodules.rom = rom = Rom(script(TOKENIZER, openings, context), token_bits=cfg.token_bits)
    connect(m, teller.tape, rom.tape)
    text, requests = bytearray(), list[bytes]()
    told = iter([token for story in stories for token in story])

    async def body(ctx) -> None:
        ctx.set(teller.go, 1)
        inbound, outbound = bytearray(), bytearray()
        for _ in range(200_000):
            ready, valid = rng.random() < 0.7, bool(outbound) and rng.random() < 0.7
            ctx.set(teller.requests.ready, rng.random() < 0.7)
            ctx.set(teller.text.ready, ready)
            ctx.set(teller.answers.valid, valid)
            ctx.set(teller.answers.payload, outbound[0] if valid else rng.randrange(256))
            if ctx.get(teller.text.valid) and ready:
                text.append(ctx.get(teller.text.payload))
            if ctx.get(teller.requests.valid) and ctx.get(teller.requests.ready):
                inbound.append(ctx.get(teller.requests.payload))
            if valid and ctx.get(teller.answers.ready):
                del outbound[0]
            if len(inbound) == 1 + step_bytes(cfg):
                requests.append(bytes(inbound))
                given = int.from_bytes(inbound[2:4], "little")
                token = next(told) if inbound[1] & 1 else given
                outbound += token.to_bytes(2, "little") + rng.randbytes(record_bytes(cfg) - 2)
                inbound.clear()
            if len(text) >= count:
                return
            await ctx.tick()

    run(m, body)
    return bytes(text), requests


def expected(openings: Sequence[Sequence[int]], stories: Sequence[Sequence[int]]) -> bytes:
    """What the decoder of `lpu generate` makes of them, two new lines before each."""
    return b"".join(
        b"\r\n\r\n" + printed(TOKENIZER.decode_bytes([*opening, *story]))
        for opening, story in zip(openings, stories, strict=True))


OPENINGS = [[BEGIN], [BEGIN, 3], [BEGIN, 4, 6], [BEGIN, 5, 3]]
STORIES = [[3, 5, 8, 9, 10, END], [4, 12, 7, BEGIN], [6, 0, 11, END], [13, 5, 5, 14, 4, END]]


@pytest.mark.parametrize("name", ["icebreaker", "ulx3s"])
@pytest.mark.parametrize("seed", [1, 2])
def test_stories_are_told_in_turn_as_the_decoder_has_them(name: str, seed: int) -> None:
    cfg = PRESETS[name]
    openings, stories = OPENINGS + OPENINGS[:2], STORIES + STORIES[:2]
    wanted = expected(openings, stories)
    found, requests = tell(cfg, OPENINGS, stories, 64, len(wanted), seed)
    assert found == wanted
    steps = []
    for opening, story in zip(openings, stories, strict=True):
        for number, token in enumerate([*opening, *story[:-1]]):
            flags = int(number >= len(opening) - 1) | 2 * (number == 0) | (4 if cfg.sequences > 1 else 0)
            others = bytes(2 * (cfg.sequences - 1))
            steps.append(bytes([Request.STEP, flags]) + token.to_bytes(2, "little") + others)
    assert requests[:len(steps)] == steps[:len(requests)] and len(requests) >= len(steps) - 1


def test_a_story_without_an_end_is_over_when_the_context_is_full() -> None:
    cfg, context = PRESETS["icebreaker"], 9
    stories = [[4] * (context - len(opening) + 1) for opening in OPENINGS]
    wanted = expected(OPENINGS, stories)
    assert tell(cfg, OPENINGS, stories, context, len(wanted))[0] == wanted


def test_a_wrong_text_is_noticed() -> None:
    """That the comparison can fail: the same stories in other words."""
    wanted = expected(OPENINGS, STORIES)
    stories = [[4, *story[1:]] for story in STORIES]
    assert tell(PRESETS["icebreaker"], OPENINGS, stories, 64, len(wanted))[0] != wanted


def test_what_cannot_be_told_is_refused() -> None:
    with pytest.raises(InputError, match=f"token 3 prints {RECORD_BYTES} bytes"):
        script(Tokenizer([*PIECES[:3], b"x" * RECORD_BYTES], [0.0] * 4), [[BEGIN]], 64)
    with pytest.raises(InputError, match="it must have 1 to 2"):
        script(TOKENIZER, [[BEGIN, 3, 4]], 2)
    with pytest.raises(InputError, match="no opening"):
        script(TOKENIZER, [], 2)
