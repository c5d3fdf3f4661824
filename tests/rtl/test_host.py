"""The byte protocol on whole Verilated machines: every request, wrong bytes, STOP, and hosts that are slow."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from rtl.protocol import (
    ERROR,
    READABLE,
    VERSION,
    Request,
    Space,
    record_bytes,
    status_bytes,
    step_bytes,
    word_bytes,
)
from sim.driver import Driver, ProtocolError
from sim.rtl_device import build_core
from sim.verilate import COVERAGE_VARIABLE, CoreTimeout, VerilatedCore
from tests.rtl.argmax_machine import Machine, pairs
from tests.rtl.bench import MACHINES


# All where coverage is measured: what each preset has of it.
@pytest.fixture(scope="module", params=MACHINES if COVERAGE_VARIABLE in os.environ else ["tiny", "icebreaker", "four"])
def machine(request: pytest.FixtureRequest) -> Machine:
    """Two sequences, one, and four."""
    return Machine(MACHINES[request.param])


@pytest.fixture(scope="module")
def library(machine: Machine) -> Path:
    return build_core(machine.cfg)


@pytest.fixture
def core(library: Path) -> Iterator[VerilatedCore]:
    with VerilatedCore(library) as made:
        yield made


@pytest.fixture
def driver(machine: Machine, core: VerilatedCore) -> Driver:
    """The machine with its program."""
    made = Driver(machine.cfg, core)
    machine.load(made)
    return made


def header(request: Request, space: int, address: int, count: int) -> bytes:
    return bytes([request, space]) + address.to_bytes(4, "little") + count.to_bytes(4, "little")


@pytest.mark.parametrize("space", READABLE, ids=lambda space: space.name)
def test_what_is_written_is_read_back(machine: Machine, core: VerilatedCore, space: Space) -> None:
    size = word_bytes(machine.cfg, space)
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


def test_long_writes_go_in_parts(machine: Machine, core: VerilatedCore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sim.driver.WRITE_BYTES", 5)  # two words of vector memory
    Driver(machine.cfg, core).write(Space.VECTOR, 3, bytes(range(10)))
    assert Driver(machine.cfg, core).read(Space.VECTOR, 3, 5).tobytes() == bytes(range(10))


def test_lengths_of_requests_and_answers(machine: Machine) -> None:
    lengths = step_bytes(machine.cfg), record_bytes(machine.cfg), status_bytes(machine.cfg)
    assert lengths == {1: (3, 6, 9), 2: (5, 8, 13), 4: (9, 12, 21)}[machine.cfg.sequences]


def test_a_step_without_classifier_returns_its_own_tokens(
    machine: Machine, core: VerilatedCore, driver: Driver
) -> None:
    tokens = machine.tokens(0x2A)
    answer = core.transact(bytes([Request.STEP, 0]) + pairs(*tokens), record_bytes(machine.cfg))
    assert answer == machine.record(tokens, machine.prompt_cycles)


def test_a_step_with_classifier_returns_the_winners(machine: Machine, core: VerilatedCore, driver: Driver) -> None:
    answer = core.transact(bytes([Request.STEP, 1]) + pairs(*machine.tokens(0x2A)), record_bytes(machine.cfg))
    assert answer == machine.winners_record


def test_status_counts_positions_and_cycles_until_reset(machine: Machine, core: VerilatedCore, driver: Driver) -> None:
    driver.step(machine.tokens(5), classify=True)
    driver.step(machine.tokens(9), classify=False)
    size, sequences = status_bytes(machine.cfg), machine.cfg.sequences
    expected = machine.status((2,) * sequences, machine.tokens(9), machine.cycles + machine.prompt_cycles)
    assert core.transact(bytes([Request.STATUS]), size) == expected
    assert core.transact(bytes([Request.RESET]), 1) == bytes([Request.RESET])
    assert core.transact(bytes([Request.STATUS]), size) == bytes([VERSION]) + bytes(size - 1)


def test_flags_of_a_step_take_their_sequence_back_to_position_0(
    machine: Machine, core: VerilatedCore, driver: Driver
) -> None:
    sequences, positions = machine.cfg.sequences, [0] * machine.cfg.sequences
    for flags in (0, 0, 2, 4, 0, 3, 5, 1, 6, 7, 0xF8, 4, 0xF9):  # a flag of a sequence that is not there does nothing
        tokens = machine.tokens(flags & 0x3F)
        answer = core.transact(bytes([Request.STEP, flags]) + pairs(*tokens), record_bytes(machine.cfg))
        assert answer == (machine.winners_record if flags & 1 else machine.record(tokens, machine.prompt_cycles))
        positions = [
            1 if flags >> 1 + sequence & 1 else position + 1 for sequence, position in enumerate(positions)]
        assert driver.status().positions == tuple(positions)
    assert sequences == 1 or len(set(positions)) > 1  # they did not only move together


def test_the_driver_restarts_whom_it_is_told_and_whom_it_gives_no_token(machine: Machine, driver: Driver) -> None:
    sequences, every = machine.cfg.sequences, machine.tokens(3)
    for _ in range(3):
        assert driver.step(every, classify=False) == (every, machine.prompt_cycles)
    assert driver.step([8], classify=False) == ((8,), machine.prompt_cycles)
    assert driver.status().positions == (4, *[1] * (sequences - 1))
    assert driver.step(every, classify=True, restart=[0]) == (machine.winners, machine.cycles)
    assert driver.status().positions == (1, *[2] * (sequences - 1))
    assert driver.step([8], classify=True) == (machine.winners[:1], machine.cycles)


def test_run_gives_as_many_records_as_asked(machine: Machine, core: VerilatedCore, driver: Driver) -> None:
    assert list(driver.run(5)) == [(machine.winners, machine.cycles)] * 5
    assert list(driver.run(0)) == []
    core.run(3 * machine.cycles)
    assert core.received() == b""
    status = driver.status()
    assert (status.positions, status.tokens) == ((5,) * machine.cfg.sequences, machine.winners)


def test_every_bit_of_a_runs_length_counts(machine: Machine, core: VerilatedCore, driver: Driver) -> None:
    for bit in range(16):
        length = (1 << bit).to_bytes(2, "little")
        assert core.transact(bytes([Request.RUN]) + length, record_bytes(machine.cfg)) == machine.winners_record
        core.send(bytes([Request.STOP]))
        core.run(3 * machine.cycles)
        *records, stop = core.received()
        assert stop == Request.STOP.value
        assert bytes(records) in (b"", machine.winners_record, machine.winners_record * 2)
        core.transact(bytes([Request.RESET]), 1)


def test_a_run_goes_on_from_where_each_sequence_is(machine: Machine, driver: Driver) -> None:
    last = machine.cfg.sequences - 1
    for restart in ((), (), (last,)):
        driver.step(machine.tokens(4), classify=True, restart=restart)
    list(driver.run(4))
    assert driver.status().positions == (*[7] * last, 5)


def test_stop_ends_a_run_after_the_token_in_progress(machine: Machine, core: VerilatedCore, driver: Driver) -> None:
    core.transact(bytes([Request.RUN, 200, 0]), record_bytes(machine.cfg))
    core.run(machine.cycles // 2)
    core.send(bytes([Request.STOP]))
    core.run(5 * machine.cycles)
    assert core.received() == machine.winners_record + bytes([Request.STOP])
    assert set(driver.status().positions) == {2}


def test_other_bytes_wait_until_the_run_is_over(machine: Machine, core: VerilatedCore, driver: Driver) -> None:
    records, status = machine.winners_record * 3, status_bytes(machine.cfg)
    answer = core.transact(bytes([Request.RUN, 3, 0, Request.STATUS]), len(records) + status)
    assert answer == records + machine.status((3,) * machine.cfg.sequences, machine.winners, 3 * machine.cycles)


def test_each_stop_has_one_answer(machine: Machine, core: VerilatedCore, driver: Driver) -> None:
    core.send(bytes([Request.STOP]))
    core.send(bytes([Request.RUN, 9, 0, Request.STOP, Request.STOP]))
    core.run(1000)
    assert core.received() == bytes([Request.STOP]) + machine.winners_record + bytes([Request.STOP] * 2)


def test_a_host_that_does_not_listen_stops_the_machine_between_tokens(
    machine: Machine, core: VerilatedCore, driver: Driver
) -> None:
    core.stall(tx=1.0)
    core.send(bytes([Request.RUN, 4, 0]))
    core.run(20 * machine.cycles)
    assert core.received() == b""
    core.stall()
    # Two tokens had run; the second's record waited. No record counts the waiting.
    assert core.receive(4 * record_bytes(machine.cfg)) == machine.winners_record * 4
    assert driver.status().cycles == 4 * machine.cycles


@pytest.mark.parametrize(("rx", "tx"), [(0.5, 0.0), (0.0, 0.5), (0.9, 0.9)])
def test_slow_hosts_hear_the_same(
    machine: Machine, core: VerilatedCore, driver: Driver, rx: float, tx: float
) -> None:
    core.stall(rx=rx, tx=tx, seed=3)
    data = bytes(range(64))
    driver.write(Space.BANK, 16, data)
    assert driver.read(Space.BANK, 16, 16).tobytes() == data
    assert list(driver.run(5)) == [(machine.winners, machine.cycles)] * 5
    tokens = machine.tokens(1)
    assert driver.step(tokens, classify=False) == (tokens, machine.prompt_cycles)
    assert driver.status().positions == (6,) * machine.cfg.sequences


def test_reset_of_the_chip_forgets_a_request_in_the_middle(
    machine: Machine, core: VerilatedCore, driver: Driver
) -> None:
    core.send(header(Request.WRITE, Space.BANK, 0, 1000) + b"abc")
    core.reset()
    assert set(driver.status().positions) == {0}
    answer = driver.step(machine.tokens(9), classify=True)
    assert answer == (machine.winners, machine.cycles)  # the programs are still there


def test_a_run_that_is_left_early_is_stopped(core: VerilatedCore, driver: Driver) -> None:
    for _ in driver.run(100):
        break
    assert set(driver.status().positions) == {2}  # the token in progress was finished
    running = driver.run(100)
    next(running)
    next(running)
    assert driver.step([5], classify=False)[0] == (5,)  # another request stops it as well
    with pytest.raises(ProtocolError, match="ended by another request"):
        next(running)


def test_reading_what_cannot_be_read_is_refused(driver: Driver) -> None:
    with pytest.raises(ValueError, match="PARAM cannot be read back; BANK, VECTOR, ACT can"):
        driver.read(Space.PARAM, 0, 1)
    with pytest.raises(ValueError, match="no whole words of BANK"):
        driver.write(Space.BANK, 0, b"abc")


def test_a_machine_that_never_answers_is_a_timeout(machine: Machine, core: VerilatedCore) -> None:
    core.send(bytes([Request.STEP]) + bytes(step_bytes(machine.cfg)))  # no program was loaded: NOP for ever
    with pytest.raises(CoreTimeout):
        core.receive(record_bytes(machine.cfg), max_cycles=10_000)
