"""Banks and the other memories: read latency, what a read sees, and the host's way in."""

from __future__ import annotations

import random

import pytest

from rtl.bank import Banks
from rtl.config import PRESETS, WITH_ECC, Config, preset
from rtl.memories import ActMemory, ParamMemory, VectorMemory
from rtl.ports import host_read_cycles, host_words
from rtl.protocol import Space, word_bytes
from rtl.timing import bank_stages, timing
from tests.rtl.bench import SMALL, pack, run, shallow, small, unpack

WIDE = {"square": (4, 4), "tall": (8, 2), "flat": (2, 8), "spread": (4, 4), "bytes": (2, 4)}


def shaped(name: str) -> Config:
    """A small machine with more lanes than taps, fewer, or as many; or one whose host moves bytes."""
    lanes, taps = WIDE[name]
    own = {"small_control": True, "linear_values": True, "values": 4, "noise_rate": 0, "top_k": False, "experts": 0,
           "choices": 0} if name == "bytes" else {}
    return small(PRESETS["tiny"], lanes=lanes, taps=taps, groups=1 if lanes == 2 else 2, bank_rows=16, vector_rows=16,
                 act_rows=16, param_rows=16, bank_register=name not in ("flat", "spread"),
                 spread=name in ("tall", "spread"), **own)


ECC = {f"{name}{WITH_ECC}": shallow(preset(f"{name}{WITH_ECC}"))
       for name, config in PRESETS.items() if not config.single_port}


@pytest.mark.parametrize("name", [*SMALL, *ECC])
def test_banks_answer_in_time_with_what_was_written_before(name):
    """Random reads and writes, often of one row; never both in a cycle where they share a port."""
    cfg, seed = (SMALL | ECC)[name], random.randrange(2**32)
    print(f"seed {seed}")
    rng, latency, size = random.Random(seed), bank_stages(cfg) + int(cfg.spread), cfg.lanes * cfg.taps
    dut, landing = Banks(cfg), timing(cfg).bank_visible - timing(cfg).bank_write + int(cfg.spread)

    async def body(ctx):
        rows = {row: [0] * size for row in range(cfg.bank_rows)}
        due: dict[int, list[int]] = {}
        written: list[tuple[int, int, int, list[int]]] = []
        writes = False
        for cycle in range(60):
            wrote, reads, writes = writes, rng.random() < 0.6, rng.random() < 0.6
            if cfg.shared_port and (wrote if cfg.spread else writes):  # a write's way is a cycle longer then
                reads = False
            row, target = rng.choice([3, rng.randrange(cfg.bank_rows)]), rng.choice([3, rng.randrange(cfg.bank_rows)])
            enables, shared = rng.getrandbits(size) if writes else 0, rng.random() < 0.5
            chunk, bytes_ = ([rng.randint(-128, 127) for _ in range(count)] for count in (cfg.taps, cfg.lanes))
            values = [chunk[tap] if shared else byte for byte in bytes_ for tap in range(cfg.taps)]
            ctx.set(dut.read_row, row)
            ctx.set(dut.read_enable, reads)
            ctx.set(dut.write_row, target)
            ctx.set(dut.write_enable.as_value(), enables)
            ctx.set(dut.write_chunk.as_value(), pack(chunk, 8))
            ctx.set(dut.write_bytes.as_value(), pack(bytes_, 8))
            ctx.set(dut.write_shared, shared)
            while written and written[0][0] <= cycle:
                _, old, some, new = written.pop(0)
                rows[old] = [new[place] if some >> place & 1 else rows[old][place] for place in range(size)]
            written.append((cycle + landing, target, enables, values))
            if reads:
                due[cycle + latency] = list(rows[row])
            if cycle in due:
                assert unpack(ctx.get(dut.read_data.as_value()), 8, size) == due[cycle]
            await ctx.tick()

    run(dut, body)


def test_single_port_bank_reads_nothing_while_it_writes():
    cfg = small(shaped("square"), single_port=True, bank_register=False)
    dut = Banks(cfg)

    async def body(ctx):
        ctx.set(dut.write_row, 2)
        ctx.set(dut.write_enable.as_value(), (1 << 16) - 1)
        ctx.set(dut.write_bytes[0], 7)
        await ctx.tick()
        ctx.set(dut.read_row, 2)
        ctx.set(dut.read_enable, 1)
        ctx.set(dut.write_enable.as_value(), 0)
        await ctx.tick()
        assert ctx.get(dut.read_data.as_value()) == 0x07070707
        ctx.set(dut.read_row, 3)
        ctx.set(dut.write_row, 3)  # empty so far
        ctx.set(dut.write_enable.as_value(), 1)
        await ctx.tick()
        assert ctx.get(dut.read_data[0].as_value()) == 0x07070707  # the bank that wrote kept its output

    run(dut, body)


@pytest.mark.parametrize("name", SMALL)
def test_vector_and_parameter_memory_answer_a_cycle_later(name):
    cfg, seed = SMALL[name], random.randrange(2**32)
    print(f"seed {seed}")
    rng, dut = random.Random(seed), VectorMemory(SMALL[name])

    async def body(ctx):
        rows = {row: [0] * cfg.lanes for row in range(cfg.vector_rows)}
        expected, before, told = None, None, None
        for _ in range(60):
            if expected is not None:
                assert unpack(ctx.get(dut.read_data.as_value()), 16, cfg.lanes) == expected
            row, target, writes = rng.choice([3, 5]), rng.choice([3, 5]), rng.random() < 0.5
            values = [rng.randrange(-32768, 32768) for _ in range(cfg.lanes)]
            ctx.set(dut.read_row, row)
            ctx.set(dut.read_enable, 1)
            ctx.set(dut.write_row, target)
            ctx.set(dut.write_enable, writes)
            ctx.set(dut.write_data.as_value(), pack(values, 16))
            read, before = before if cfg.spread else row, row
            expected = None if read is None else list(rows[read])
            written, told = told if cfg.spread else (target, writes), (target, writes)
            if written and written[1]:
                rows[written[0]] = values
            await ctx.tick()

    run(dut, body)


@pytest.mark.parametrize("name", ["icebreaker", "ulx3s", "ulx3s-fast", *ECC, *WIDE])
def test_activations_written_as_vectors_are_read_as_words_by_each_group(name):
    cfg, seed = (SMALL | ECC)[name] if name in SMALL | ECC else shaped(name), random.randrange(2**32)
    print(f"seed {seed}")
    rng, latency, dut = random.Random(seed), bank_stages(cfg), ActMemory(cfg)

    async def body(ctx):
        memory, before = [0] * (cfg.act_rows * cfg.act_width), []
        due: dict[int, list[int]] = {}
        for cycle in range(80):
            words = [rng.choice([1, 2, rng.randrange(cfg.act_words)]) for _ in range(cfg.groups)]
            vector, writes = rng.choice([0, 1, 2, 3, rng.randrange(cfg.act_vectors)]), rng.random() < 0.6
            values = [rng.randint(-128, 127) for _ in range(cfg.lanes)]
            ctx.set(dut.read_words.as_value(), pack(words, len(dut.read_words[0])))
            ctx.set(dut.read_enable, 1)
            ctx.set(dut.write_vector, vector)
            ctx.set(dut.write_enable, writes)
            ctx.set(dut.write_data.as_value(), pack(values, 8))
            read, before = before if cfg.spread else words, words
            due[cycle + latency] = [memory[word * cfg.taps + tap] for word in read for tap in range(cfg.taps)]
            if cycle in due and cycle >= latency + int(cfg.spread):
                assert unpack(ctx.get(dut.read_data.as_value()), 8, cfg.groups * cfg.taps) == due[cycle]
            if writes:
                memory[vector * cfg.lanes:(vector + 1) * cfg.lanes] = values
            await ctx.tick()

    run(dut, body)


UNITS = {Space.BANK: (Banks, 8), Space.VECTOR: (VectorMemory, 16), Space.ACT: (ActMemory, 8)}


@pytest.mark.parametrize("space", UNITS)
@pytest.mark.parametrize("name", WIDE)
def test_host_reads_back_every_word_that_it_wrote(name, space):
    cfg = shaped(name)
    dut = UNITS[space][0](cfg)
    rng = random.Random(6)
    bits = 8 * word_bytes(cfg, space)
    words = {address: rng.getrandbits(bits) for address in range(host_words(cfg, space))}

    async def body(ctx):
        ctx.set(dut.host.active, 1)
        ctx.set(dut.host.write, 1)
        for address, word in words.items():
            ctx.set(dut.host.address, address)
            for byte in range(bits // 8 if cfg.small_control else 1):
                if cfg.small_control:
                    ctx.set(dut.host.byte, byte)
                ctx.set(dut.host.data, word >> 8 * byte)
                await ctx.tick()
        ctx.set(dut.host.write, 0)
        for address in rng.sample(list(words), 24):
            ctx.set(dut.host.address, address)
            found = 0
            for byte in range(bits // 8 if cfg.small_control else 1):
                if cfg.small_control:
                    ctx.set(dut.host.byte, byte)
                for _ in range(host_read_cycles(cfg)):
                    await ctx.tick()
                found |= ctx.get(dut.host.value) << 8 * byte
            assert found == words[address]
        # And the machine sees the same words at the place that rtl.protocol gives.
        ctx.set(dut.host.active, 0)
        ctx.set(dut.read_enable, 1)
        if space is Space.ACT:
            ctx.set(dut.read_words[0], 3)
            expected = [words[3 * cfg.taps + tap] for tap in range(cfg.taps)]
        else:
            ctx.set(dut.read_row, 3)
            expected = [words[3 * cfg.lanes + lane] for lane in range(cfg.lanes)]
        for _ in range(bank_stages(cfg) + int(cfg.spread)):
            await ctx.tick()
        shown = dut.read_data[0] if space is Space.ACT else dut.read_data
        assert unpack(ctx.get(shown.as_value()), bits, len(expected), signed=False) == expected

    run(dut, body)


@pytest.mark.parametrize("name", SMALL)
def test_parameters_are_what_the_host_wrote(name):
    cfg = SMALL[name]
    dut = ParamMemory(cfg)

    async def body(ctx):
        ctx.set(dut.host.active, 1)
        ctx.set(dut.host.write, 1)
        for address in range(3 * cfg.lanes):
            ctx.set(dut.host.address, address)
            ctx.set(dut.host.data, 200 - address)
            await ctx.tick()
        ctx.set(dut.host.active, 0)  # what is still on the host's wires must not be written
        ctx.set(dut.host.address, 0)
        ctx.set(dut.host.data, 9)
        ctx.set(dut.read_enable, 1)
        for row in (2, 0, 1):
            ctx.set(dut.read_row, row)
            await ctx.tick()
            expected = [200 - row * cfg.lanes - lane for lane in range(cfg.lanes)]
            assert unpack(ctx.get(dut.read_data.as_value()), 8, cfg.lanes, signed=False) == expected

    run(dut, body)
