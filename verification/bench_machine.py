"""The whole machine behind its byte streams: small models token by token, tensors and caches against golden."""

from __future__ import annotations

from typing import Any

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.task import bridge, resume
from cocotb.triggers import FallingEdge, RisingEdge

from compiler.image import Image
from compiler.layout import Layout, lay_out
from compiler.sampling import with_sampling
from rtl.config import preset
from rtl.protocol import Space
from sim.cycle.execute import noises
from sim.device import tensor_cells, tensor_order
from sim.driver import Driver
from sim.golden import Golden
from sim.golden.model import Trace
from sim.golden.primitives import Int
from verification.runner import bench_parameters
from verification.settings import generator
from verification.small_model import SHAPES, small_image

PERIOD_NS = 10
TOKENS = 10
PROMPT = 4
"""Tokens of the prompt; all but the last go without the classifier."""
LATE = 2
"""Tokens after which one of several sequences begins anew."""
TEMPERATURE = 0.3
"""Low enough for the logits of every small model."""


class Streams:
    """The machine's byte streams, as sim.driver wants them. Everything happens at the clock's falling edge: what the
    rising edge made is steady by then, and what is set then is taken by the next."""

    def __init__(self, dut: Any) -> None:
        self._dut = dut
        self._received = bytearray()
        self.send, self.receive = resume(self._send), resume(self._receive)

    async def start(self) -> None:
        """Clock and reset; from now on a byte is always taken from the machine."""
        dut = self._dut
        dut.rst.value, dut.rx_valid.value, dut.rx_data.value, dut.tx_ready.value = 1, 0, 0, 0
        Clock(dut.clk, PERIOD_NS, unit="ns").start()
        for _ in range(3):
            await FallingEdge(dut.clk)
        dut.rst.value = 0
        dut.tx_ready.value = 1

    async def _send(self, data: bytes) -> None:
        dut = self._dut
        dut.rx_valid.value = 1
        for byte in data:
            dut.rx_data.value = byte
            # `rx_ready` depends on nothing that is set here, so it still holds at the rising edge.
            while not int(dut.rx_ready.value):
                await self._cycle()
            await self._cycle()
        dut.rx_valid.value = 0

    async def _receive(self, count: int) -> bytes:
        dut = self._dut
        while len(self._received) < count:
            if not int(dut.tx_valid.value):
                await RisingEdge(dut.tx_valid)
                await FallingEdge(dut.clk)
            await self._cycle()
        data = bytes(self._received[:count])
        del self._received[:count]
        return data

    async def _cycle(self) -> None:
        """From one falling edge to the next; the rising edge between takes a byte from the machine if there is one."""
        if int(self._dut.tx_valid.value):
            self._received.append(int(self._dut.tx_data.value))
        await FallingEdge(self._dut.clk)


class Text:
    """One sequence's text on the golden model: the token of each position, what it gave, and its trace."""

    def __init__(self, golden: Golden, layout: Layout, prompt: list[int]) -> None:
        self.golden, self.layout, self.prompt = golden, layout, prompt
        self.traces: list[Trace] = []
        self.token = prompt[0]
        golden.reset()

    def step(self, *, classify: bool) -> int:
        """One position further; returns the winner, without classifier the token. That comes next, after the prompt."""
        self.traces.append(trace := Trace())
        winner = self.golden.step(self.token, classify=classify, trace=trace)
        answer = self.token if winner is None else winner
        position = len(self.traces)
        self.token = self.prompt[position] if position < len(self.prompt) and not classify else answer
        return answer


class Comparison:
    """A model on the machine and on the golden model, side by side, with a text for each of the image's sequences.

    Parameters
    ----------
    driver : the machine, the image loaded. image : with its model in it.
    """

    def __init__(self, driver: Driver, image: Image) -> None:
        assert image.model is not None
        self.driver, self.image, self.model = driver, image, image.model
        layout = lay_out(image.model, image.config, image.context, image.sequences)
        self.layouts = [layout.of(sequence) for sequence in range(image.sequences)]
        noise = noises(image) or [None] * image.sequences
        self.golden = [Golden(image.model, noise[sequence], image.top_k) for sequence in range(image.sequences)]
        self.compared: set[str] = set()

    def run(self, prompts: list[list[int]], *, each: bool, late: int) -> list[int]:
        """TOKENS tokens of each sequence from position 0; returns the cycles of each.

        each: step the machine and compare everything after each token. Else the part after the prompt runs on chip
        without the host, and everything is compared at the end. late: the sequence that begins anew at LATE tokens, if
        there are several; the others are ahead of it from then on.
        """
        def text(sequence: int) -> Text:
            return Text(self.golden[sequence], self.layouts[sequence], prompts[sequence])

        texts = [text(sequence) for sequence in range(len(prompts))]
        self.driver.reset()
        expected: list[tuple[int, ...]] = []
        records: list[tuple[tuple[int, ...], int]] = []
        for number in range(TOKENS):
            restart = [late] if number == LATE and len(texts) > 1 else []
            for sequence in restart:
                texts[sequence] = text(sequence)
            classify, tokens = number >= PROMPT - 1, [one.token for one in texts]
            expected.append(tuple(one.step(classify=classify) for one in texts))
            if each or number < PROMPT:
                records.append(self.driver.step(tokens, classify=classify, restart=restart))
                self._compare(texts)
        if not each:
            records += [(found[:len(texts)], cycles) for found, cycles in self.driver.run(TOKENS - PROMPT)]
            self._compare(texts)
        assert [found for found, _ in records] == expected, "tokens"
        cycles = [int(self.image.cycles[int(number >= PROMPT - 1), number]) for number in range(TOKENS)]
        assert [taken for _, taken in records] == cycles, "cycles"
        status, positions = self.driver.status(), tuple(len(one.traces) for one in texts)
        found = status.positions[:len(texts)], status.tokens[:len(texts)], status.cycles
        assert found == (positions, expected[-1], sum(cycles))
        return cycles

    def _compare(self, texts: list[Text]) -> None:
        """Everything that a token leaves behind, the caches of every layer first."""
        for sequence, text in enumerate(texts):
            of, traces, position = f"{sequence}:" if sequence else "", text.traces, len(text.traces) - 1
            for layer in range(self.model.shape.layers):
                keys, values = self._caches(text.layout, layer, position + 1)
                for past in range(position + 1):
                    name = f"{of}layer{layer}"
                    _same(f"{name}.k8 in the cache", past, keys[past], traces[past][f"layer{layer}.k8"])
                    _same(f"{name}.v8 in the cache", past, values[past],
                          traces[past][f"layer{layer}.v8"].reshape(values[past].shape))
            for name in traces[-1]:
                if (entry := self.image.tensors.get(of + name)) is not None:
                    space, cells = tensor_cells(self.image.config, entry)
                    memory = Space.VECTOR if space == "vector" else Space.ACT
                    found = tensor_order(entry, self.driver.read(memory, cells.start, len(cells)))
                    _same(of + name, position, found, traces[-1][name].reshape(-1))
                    self.compared.add(of + name)

    def _caches(self, layout: Layout, layer: int, positions: int) -> tuple[Int, Int]:
        """(positions, kv_heads, head_dim) keys and (positions, kv_heads * head_dim) values, from the banks."""
        g, shape, cfg = layout.geometry, self.model.shape, self.image.config
        base = layer * layout.layer_rows
        keys = np.zeros((positions, shape.kv_heads, shape.head_dim), np.int64)
        for head in range(shape.kv_heads):
            rows = self._rows(base + layout.key_row + head * g.key_rows, -(-positions // cfg.lanes) * g.head_steps)
            # (blocks, head_steps, lanes, taps): a lane is a position, a head fills words of taps.
            blocks = rows.reshape(-1, g.head_steps, cfg.lanes, cfg.taps).transpose(0, 2, 1, 3)
            keys[:, head] = blocks.reshape(-1, g.padded_head)[:positions, :shape.head_dim]
        channels = g.value_map().reshape(-1, cfg.lanes)
        values = np.zeros((positions, shape.kv_heads * shape.head_dim), np.int64)
        for block, lanes in enumerate(channels):
            rows = self._rows(base + layout.value_row + block * g.value_rows, -(-positions // cfg.taps))
            columns = rows.transpose(0, 2, 1).reshape(-1, cfg.lanes)[:positions]  # a tap is a position
            values[:, lanes[lanes >= 0]] = columns[:, lanes >= 0]
        return keys, values

    def _rows(self, first: int, count: int) -> Int:
        """(rows, lanes, taps) of the banks."""
        cfg = self.image.config
        words = self.driver.read(Space.BANK, first * cfg.lanes, count * cfg.lanes)
        return words.reshape(count, cfg.lanes, cfg.taps).astype(np.int64)


def _same(name: str, position: int, found: Int, expected: Int) -> None:
    if not np.array_equal(found, expected):
        wrong = np.argwhere(found != expected)[:6].tolist()
        raise AssertionError(
            f"{name} at position {position} differs at {wrong}: found {found.tolist()}, expected {expected.tolist()}")


@cocotb.test()
async def ten_tokens_as_golden(dut: Any) -> None:
    """Two runs with other prompts; the cycles depend neither on them nor on which sequence is the furthest."""
    parameters = bench_parameters()
    cfg, shape, rng = preset(parameters["preset"]), parameters["shape"], generator(parameters)
    sequences = parameters["sequences"]
    streams = Streams(dut)
    await streams.start()
    driver, image = Driver(cfg, streams), small_image(cfg, shape, rng.getrandbits(32), sequences=sequences)
    first, second = (
        [rng.sample(range(SHAPES[shape].vocab), PROMPT) for _ in range(sequences)] for _ in range(2))
    if cfg.noise_rate:  # as often the likeliest tokens, and drawn ones
        image = with_sampling(image, rng.choice((0, TEMPERATURE)), rng.getrandbits(32))
    comparison = Comparison(driver, image)

    def both() -> None:
        driver.load(image, skip_zeros=True)  # into a machine that is all zero
        stepped, ran = (comparison.run(first, each=True, late=sequences - 1),
                        comparison.run(second, each=False, late=0))
        assert stepped == ran

    await bridge(both)()
    last = SHAPES[shape].layers - 1
    names = {f"layer{last}.{name}" for name in ("x", "q", "k", "q8", "gate", "h", "h8", "o8")}
    assert comparison.compared >= names | {f"{other}:{name}" for other in range(1, sequences) for name in names}
