"""Banks: what was written before comes out in time, dual- and single-port; and the host's way in."""

from __future__ import annotations

import random
from typing import Any

import cocotb
import numpy as np

from rtl.bank import Banks
from rtl.config import Config
from rtl.ports import bank_rows_layout, host_read_cycles
from rtl.timing import bank_stages, timing
from sim.golden.primitives import Int
from verification.ports import Ports, decode, encode
from verification.runner import bench_parameters
from verification.settings import generator, shallow

RANDOM_CYCLES = 250


class Rows:
    """What the banks hold, as far as it is known: row -> (lanes, taps)."""

    def __init__(self, cfg: Config) -> None:
        self.cfg = cfg
        self.known: dict[int, Int] = {}

    def write(self, row: int, masks: list[int], values: Int) -> None:
        """Enabled bytes; a row must have been written whole first."""
        taps = np.arange(self.cfg.taps)
        enabled = np.array(masks)[:, None] >> taps & 1
        if row not in self.known:
            assert enabled.all()
            self.known[row] = values
        self.known[row] = np.where(enabled, values, self.known[row])


def numbers(cfg: Config, rng: random.Random) -> Int:
    """A row of every bank: anything, or all at one end."""
    end = rng.choice([None, None, None, -128, 127])
    if end is not None:
        return np.full((cfg.lanes, cfg.taps), end)
    return np.random.default_rng(rng.getrandbits(32)).integers(-128, 128, (cfg.lanes, cfg.taps))


def some_rows(cfg: Config, rng: random.Random) -> list[int]:
    """The first and the last, neighbours, and some others."""
    return [0, 1, 2, cfg.bank_rows - 1, *(rng.randrange(cfg.bank_rows) for _ in range(3))]


async def fill(ports: Ports, cfg: Config, rows: dict[int, Int]) -> Rows:
    """Write rows whole."""
    held, whole = Rows(cfg), (1 << cfg.taps) - 1
    for row, values in rows.items():
        held.write(row, [whole] * cfg.lanes, values)
        ports.set(write_row=row, write_shared=1)
        for lane in range(cfg.lanes):
            ports.set(write_enable=[whole * (lane == other) for other in range(cfg.lanes)], write_chunk=values[lane])
            await ports.settle()
            await ports.edge()
    ports.set(write_enable=[0] * cfg.lanes)
    await land(ports, cfg)
    return held


def write_way(cfg: Config) -> int:
    """Cycles from a write to the first read that sees it: with `spread` its way is a cycle longer than the read's."""
    return timing(cfg).bank_visible - timing(cfg).bank_write + int(cfg.spread)


async def land(ports: Ports, cfg: Config) -> None:
    """Until the last write can be seen."""
    for _ in range(write_way(cfg) + int(cfg.spread)):
        await ports.settle()
        await ports.edge()


@cocotb.test()
async def random_reads_and_writes(dut: Any) -> None:
    """Often of one row; banks with a shared port are never asked for both. Without an enable the output stays."""
    cfg, rng = shallow(bench_parameters()["preset"]), generator(bench_parameters())
    ports, latency = Ports(dut, Banks(cfg)), bank_stages(cfg) + int(cfg.spread)
    await ports.start()
    rows = some_rows(cfg, rng)
    held = await fill(ports, cfg, {row: numbers(cfg, rng) for row in rows})
    arriving: dict[int, Int | None] = {}
    landing: list[tuple[int, int, list[int], Int]] = []
    shown: Int | None = None
    writes = False
    for cycle in range(RANDOM_CYCLES):
        wrote, reads, writes = writes, rng.random() < 0.6, rng.random() < 0.6
        if cfg.shared_port and (wrote if cfg.spread else writes):  # they would meet in the memory
            reads = False
        row, target, values, shared = rng.choice(rows), rng.choice(rows), numbers(cfg, rng), rng.random() < 0.5
        chunk, own = values[0], values[:, 0]
        values = np.where(shared, chunk, own[:, None])
        masks = [rng.getrandbits(cfg.taps) if writes else 0 for _ in range(cfg.lanes)]
        ports.set(read_row=row, read_enable=int(reads), write_row=target, write_enable=masks,
                  write_chunk=chunk, write_bytes=own, write_shared=int(shared))
        await ports.settle()
        shown = arriving.get(cycle, shown)
        if shown is not None:
            ports.expect("read_data", shown)
        if cfg.ecc:
            ports.expect("corrected", 0)
            ports.expect("uncorrectable", 0)
        # Where a write must read first, its row is on the output.
        while landing and landing[0][0] <= cycle:
            held.write(*landing.pop(0)[1:])
        if reads:
            arriving[cycle + latency] = held.known[row]
        if cfg.ecc and any(masks):
            arriving[cycle + latency + int(cfg.spread)] = None
        landing.append((cycle + write_way(cfg), target, masks, values))
        await ports.edge()


@cocotb.test()
async def a_write_keeps_a_single_port_from_reading(dut: Any) -> None:
    cfg, rng = shallow(bench_parameters()["preset"]), generator(bench_parameters())
    ports, latency = Ports(dut, Banks(cfg)), bank_stages(cfg) + int(cfg.spread)
    await ports.start()
    values = numbers(cfg, rng)
    held = await fill(ports, cfg, {1: values, 2: ~values})  # no byte the same
    # Row 1 is read, then row 2 while the first lane's bank writes to it.
    masks = [1, *[0] * (cfg.lanes - 1)]
    before = held.known[2]
    seen: list[Any] = []
    for asked in (1, 2, None, None, None, None):
        ports.set(read_enable=int(asked is not None), read_row=asked or 0)
        writes = asked == (1 if cfg.spread else 2)  # such that they meet in the memory
        ports.set(write_enable=masks if writes else [0] * cfg.lanes, write_row=2, write_chunk=values[0])
        await ports.settle()
        seen.append(ports.get("read_data"))
        await ports.edge()
    first, second = np.array(seen[latency]), np.array(seen[latency + 1])
    assert (first == held.known[1]).all()
    assert (second[1:] == before[1:]).all()  # the other lanes do not write, so they read
    assert (second[0] == (first[0] if cfg.single_port else before[0])).all(), "what a bank shows that writes"


@cocotb.test()
async def the_host_reaches_every_lane(dut: Any) -> None:
    cfg, rng = shallow(bench_parameters()["preset"]), generator(bench_parameters())
    ports = Ports(dut, Banks(cfg))
    await ports.start()
    rows = sorted(set(some_rows(cfg, rng)))
    held = {row: numbers(cfg, rng) for row in rows}
    lane_layout = bank_rows_layout(cfg).elem_shape
    ports.set(host__active=1, host__write=1)
    for row in rows:
        for lane in range(cfg.lanes):
            word, size = encode(lane_layout, held[row][lane]), cfg.taps if cfg.small_control else 1
            for byte in range(size):
                if cfg.small_control:
                    ports.set(host__byte=byte)
                data = word >> 8 * byte & 0xFF if cfg.small_control else word
                ports.set(host__address=row * cfg.lanes + lane, host__data=data)
                await ports.settle()
                await ports.edge()
    ports.set(host__write=0)
    await land(ports, cfg)  # a host never reads so soon
    places = [(row, lane) for row in rows for lane in range(cfg.lanes)]
    for row, lane in rng.sample(places, min(len(places), 30)):
        ports.set(host__address=row * cfg.lanes + lane)
        if cfg.ecc:
            ports.set(host__read=1)
        word = 0
        for byte in range(cfg.taps if cfg.small_control else 1):
            if cfg.small_control:
                ports.set(host__byte=byte)
            for _ in range(host_read_cycles(cfg)):
                await ports.settle()
                await ports.edge()
            await ports.settle()
            word |= ports.get("host__value") << 8 * byte
        found = decode(lane_layout, word)
        assert found == held[row][lane].tolist(), f"row {row}, lane {lane}: {found}, not {held[row][lane].tolist()}"
    # The matrix unit sees the same, and the host's wires do nothing any more.
    ports.set(host__active=0, host__write=1, host__data=0, read_enable=1)
    for row in rows:
        ports.set(read_row=row)
        for _ in range(bank_stages(cfg) + int(cfg.spread)):
            await ports.settle()
            await ports.edge()
        await ports.settle()
        ports.expect("read_data", held[row], f"row {row}")
