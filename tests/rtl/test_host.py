"""The byte protocol on the whole Verilated machine: every request, wrong bytes, STOP, and hosts that are slow."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from rtl.config import PRESETS
from rtl.isa import MATRIX, SCALAR, VECTOR, Insn, Op, Reduce, Source, encode
from rtl.protocol import ERROR, READABLE, RECORD_BYTES, STATUS_BYTES, VERSION, Request, Space, word_bytes
from rtl.timing import timing
from sim.driver import Driver, ProtocolError
from sim.rtl_device import build_core
from sim.verilate import CoreTimeout, VerilatedCore

CFG = PRESETS["tiny"]
CYCLES = 60 + timing(CFG).token_overhead  # of the token in `PROGRAM`
PROGRAM = {
    Space.MATRIX_PROGRAM: [Insn(MATRIX, {"op": Op.END})],
    # The winner is always lane 2: row 0 of vector memory holds its maximum there.
    Space.VECTOR_PROGRAM: [
        Insn(VECTOR, {"op": Op.END_PROMPT, "wait": 20}),
        Insn(VECTOR, {"op": Op.RUN, "source": Source.MEM, "reduce": Reduce.ARGMAX, "first": 1}),
        Insn(VECTOR, {"op": Op.END, "wait": 37})],
    Space.SCALAR_PROGRAM: [Insn(SCALAR, {"op": Op.END})],
}


@pytest.fixture(scope="module")
def library() -> Path:
    return build_core(CFG)


@pytest.fixture
def core(library: Path) -> Iterator[VerilatedCore]:
    with VerilatedCore(library) as made:
        yield made


@pytest.fixture
def driver(core: VerilatedCore) -> Driver:
    """A machine with a program of known length."""
    made = Driver(CFG, core)
    for space, words in PROGRAM.items():
        size = word_bytes(CFG, space)
        made.write(space, 0, b"".join(encode(CFG, word).to_bytes(size, "little") for word in words))
    made.write(Space.VECTOR, 0, b"".join(value.to_bytes(2, "little") for value in (1, 2, 99, 3)))
    return made


def record(token: int, cycles: int) -> bytes:
    return token.to_bytes(2, "little") + cycles.to_bytes(4, "little")


def header(request: Request, space: int, address: int, count: int) -> bytes:
    return bytes([request, space]) + address.to_bytes(4, "little") + count.to_bytes(4, "little")


@pytest.mark.parametrize("space", READABLE, ids=lambda space: space.name)
def test_what_is_written_is_read_back(core: VerilatedCore, space: Space) -> None:
    size = word_bytes(CFG, space)
    data = bytes((7 * index + 3) % 256 for index in range(9 * size))
    assert core.transact(header(Request.WRITE, space, 5, 9) + data, 1) == bytes([Request.WRITE])
    assert core.transact(header(Request.READ, space, 5, 9), len(data)) == data
    assert core.transact(header(Request.READ, space, 6, 2), 2 * size) == data[size:3 * size]
    core.run(100)
    assert core.received() == b""


def test_a_request_for_no_words_is_complete_at_once(core: VerilatedCore) -> None:
    assert core.transact(header(Request.WRITE, Space.BANK, 0, 0), 1) == bytes([Request.WRITE])
    core.send(header(Request.READ, Space.BANK, 0, 0))
    assert core.transact(bytes([Request.RESET]), 1) == bytes([Request.RESET])


@pytest.mark.parametrize("byte", [0, 8, 0x55, 0xFF])
def test_a_byte_that_is_no_request_is_answered_with_an_error_and_ignored(core: VerilatedCore, byte: int) -> None:
    assert core.transact(bytes([byte, byte, Request.STOP]), 3) == bytes([ERROR, ERROR, Request.STOP])


@pytest.mark.parametrize(
    ("request_", "space"), [(Request.WRITE, 10), (Request.WRITE, 255), (Request.READ, Space.PARAM), (Request.READ, 77)])
def test_a_space_that_cannot_be_reached_is_an_error(core: VerilatedCore, request_: Request, space: int) -> None:
    assert core.transact(header(request_, space, 0, 3), 1) == bytes([ERROR])
    assert core.transact(bytes([Request.STOP]), 1) == bytes([Request.STOP])


def test_long_writes_go_in_parts(core: VerilatedCore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sim.driver.WRITE_BYTES", 5)  # two words of vector memory
    Driver(CFG, core).write(Space.VECTOR, 3, bytes(range(10)))
    assert Driver(CFG, core).read(Space.VECTOR, 3, 5).tobytes() == bytes(range(10))


def test_a_step_without_classifier_returns_its_own_token(core: VerilatedCore, driver: Driver) -> None:
    answer = core.transact(bytes([Request.STEP, 0, 0x2A, 0]), RECORD_BYTES)
    assert answer == record(0x2A, 21 + timing(CFG).token_overhead)


def test_a_step_with_classifier_returns_the_winner(core: VerilatedCore, driver: Driver) -> None:
    assert core.transact(bytes([Request.STEP, 1, 0x2A, 0]), RECORD_BYTES) == record(2, CYCLES)


def test_status_counts_positions_and_cycles_until_reset(core: VerilatedCore, driver: Driver) -> None:
    driver.step(9, classify=True)
    driver.step(9, classify=False)
    cycles = CYCLES + 21 + timing(CFG).token_overhead
    expected = bytes([VERSION]) + (2).to_bytes(2, "little") + (9).to_bytes(2, "little") + cycles.to_bytes(4, "little")
    assert core.transact(bytes([Request.STATUS]), STATUS_BYTES) == expected
    assert core.transact(bytes([Request.RESET]), 1) == bytes([Request.RESET])
    assert core.transact(bytes([Request.STATUS]), STATUS_BYTES) == bytes([VERSION]) + bytes(8)


def test_run_gives_as_many_records_as_asked(core: VerilatedCore, driver: Driver) -> None:
    assert list(driver.run(5)) == [(2, CYCLES)] * 5
    assert list(driver.run(0)) == []
    core.run(3 * CYCLES)
    assert core.received() == b"" and driver.status().position == 5


def test_stop_ends_a_run_after_the_token_in_progress(core: VerilatedCore, driver: Driver) -> None:
    core.transact(bytes([Request.RUN, 200, 0]), RECORD_BYTES)
    core.run(CYCLES // 2)
    core.send(bytes([Request.STOP]))
    core.run(5 * CYCLES)
    assert core.received() == record(2, CYCLES) + bytes([Request.STOP])
    assert driver.status().position == 2


def test_other_bytes_wait_until_the_run_is_over(core: VerilatedCore, driver: Driver) -> None:
    answer = core.transact(bytes([Request.RUN, 3, 0, Request.STATUS]), 3 * RECORD_BYTES + STATUS_BYTES)
    assert answer[:3 * RECORD_BYTES] == record(2, CYCLES) * 3
    assert answer[3 * RECORD_BYTES:][:3] == bytes([VERSION, 3, 0])


def test_each_stop_has_one_answer(core: VerilatedCore, driver: Driver) -> None:
    core.send(bytes([Request.STOP]))
    core.send(bytes([Request.RUN, 9, 0, Request.STOP, Request.STOP]))
    core.run(1000)
    assert core.received() == bytes([Request.STOP]) + record(2, CYCLES) + bytes([Request.STOP] * 2)


def test_a_host_that_does_not_listen_stops_the_machine_between_tokens(core: VerilatedCore, driver: Driver) -> None:
    core.stall(tx=1.0)
    core.send(bytes([Request.RUN, 4, 0]))
    core.run(20 * CYCLES)
    assert core.received() == b""
    core.stall()
    # Two tokens had run; the second's record waited. No record counts the waiting.
    assert core.receive(4 * RECORD_BYTES) == record(2, CYCLES) * 4
    assert driver.status().cycles == 4 * CYCLES


@pytest.mark.parametrize(("rx", "tx"), [(0.5, 0.0), (0.0, 0.5), (0.9, 0.9)])
def test_slow_hosts_hear_the_same(core: VerilatedCore, driver: Driver, rx: float, tx: float) -> None:
    core.stall(rx=rx, tx=tx, seed=3)
    data = bytes(range(64))
    driver.write(Space.BANK, 16, data)
    assert driver.read(Space.BANK, 16, 16).tobytes() == data
    assert list(driver.run(5)) == [(2, CYCLES)] * 5
    assert driver.step(1, classify=False) == (1, 21 + timing(CFG).token_overhead)
    assert driver.status().position == 6


def test_reset_of_the_chip_forgets_a_request_in_the_middle(core: VerilatedCore, driver: Driver) -> None:
    core.send(header(Request.WRITE, Space.BANK, 0, 1000) + b"abc")
    core.reset()
    assert driver.status().position == 0
    assert driver.step(9, classify=True) == (2, CYCLES)  # the programs are still there


def test_a_run_that_is_left_early_is_stopped(core: VerilatedCore, driver: Driver) -> None:
    for _ in driver.run(100):
        break
    assert driver.status().position == 2  # the token in progress was finished
    running = driver.run(100)
    next(running)
    next(running)
    assert driver.step(5, classify=False)[0] == 5  # another request stops it as well
    with pytest.raises(ProtocolError, match="ended by another request"):
        next(running)


def test_reading_what_cannot_be_read_is_refused(driver: Driver) -> None:
    with pytest.raises(ValueError, match="PARAM cannot be read back; BANK, VECTOR, ACT can"):
        driver.read(Space.PARAM, 0, 1)
    with pytest.raises(ValueError, match="no whole words of BANK"):
        driver.write(Space.BANK, 0, b"abc")


def test_a_machine_that_never_answers_is_a_timeout(core: VerilatedCore) -> None:
    core.send(bytes([Request.STEP, 0, 0, 0]))  # no program was loaded: NOP for ever
    with pytest.raises(CoreTimeout):
        core.receive(RECORD_BYTES, max_cycles=10_000)
