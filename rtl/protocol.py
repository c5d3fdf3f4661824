"""The host port's byte protocol: one table for the gateware and for every driver.

All numbers are little-endian. The core answers a request before it reads the next.

| request | bytes | answer |
|---|---|---|
| WRITE | 01 space:1 address:4 count:4 then count words | 01 |
| READ  | 02 space:1 address:4 count:4 | count words |
| STEP  | 03 flags:1 tokens | a record; runs a token of each sequence at its position; see below for the flags |
| RUN   | 04 count:2 | count records; tokens are the winners of the ones before; a STOP byte between tokens ends it |
| RESET | 05 | 05; all sequences are at position 0, with token 0 |
| STATUS| 06 | version:1 positions tokens cycles:4 (all cycles spent on tokens since RESET, modulo 2**32) |
| STOP  | 07 | 07; ends a RUN after the token in progress, its record comes first |

`tokens` and `positions` have two bytes for each sequence that the machine has (`Config.sequences`); all sequences go
one token further at a time. Flags of a STEP: bit 0 runs the classifier; bit 1 + s takes sequence s back to position 0
first.
A record is tokens cycles:4: the classifier's winners (for a token without classifier: the tokens themselves) and the
cycles from this token's start to the earliest start of the next.
Any other byte is answered with FF and ignored; so is a WRITE to an unknown space or a READ of one that cannot be read,
whose data must not follow. While a token runs the host port reads nothing but STOP, which ends a STEP too: its record
comes first. RUN with count 0 answers nothing.

With `Config.ecc` STATUS ends in two counters more, corrected:2 uncorrectable:2 (see rtl/bank_errors.py). Once a row of
the banks could not be corrected, records are not to be trusted any more: they say 0 cycles, which no token takes, and
a RUN ends with the first of them. RESET forgets that; what is in the banks stays as it is.
"""

from __future__ import annotations

import enum

from rtl.config import Config
from rtl.encoding import word_bits
from rtl.isa import MATRIX, SCALAR, VECTOR, Queue

VERSION = 1


class Request(enum.IntEnum):
    WRITE = 1
    READ = 2
    STEP = 3
    RUN = 4
    RESET = 5
    STATUS = 6
    STOP = 7


ERROR = 0xFF


def step_bytes(cfg: Config) -> int:
    """Bytes of a STEP after the first."""
    return 1 + 2 * cfg.sequences


def record_bytes(cfg: Config) -> int:
    """Bytes of a record."""
    return 2 * cfg.sequences + 4


def status_bytes(cfg: Config) -> int:
    """Bytes of STATUS's answer."""
    return 1 + 4 * cfg.sequences + 4 + (4 if cfg.ecc else 0)


class Space(enum.IntEnum):
    """Memories the host reaches. The address counts words, in the order given here."""

    BANK = 0  # word: taps bytes; address = row * lanes + lane; readable
    VECTOR = 1  # word: 2 bytes (one lane's int16); address = row * lanes + lane; readable
    ACT = 2  # word: 1 byte; address = row * act_width + byte; readable
    PARAM = 3  # word: 1 byte; address = row * lanes + lane
    CONSTANT = 4  # word: 1 byte
    MATRIX_PROGRAM = 5  # word: one instruction, whole bytes
    VECTOR_PROGRAM = 6
    SCALAR_PROGRAM = 7
    VALUES = 8  # word: 2 bytes; address = bucket * values + index
    REGISTER = 9  # word: 2 bytes; addresses: `register_names`


STEPS = ("key_step", "rope_step", "embed_shift")
"""Registers of the control unit, from address 0 on."""
SEED_WORDS = 4
"""Registers of one sequence's seed, its lowest 16 bits first."""


def register_names(cfg: Config) -> tuple[str, ...]:
    """Registers by address. Where the machine samples, the control unit's are followed by those of rtl/noise.py: a seed
    counts from the sequence's next restart on, the temperature from the next token on. Then, where the machine chooses
    experts, the rows of one; and where it has windows, the positions of one, 0 for all, from the next restart on."""
    names = STEPS
    if cfg.noise_rate:
        names = (*names, "temperature", *(
            f"seed_{sequence}_{word}" for sequence in range(cfg.sequences) for word in range(SEED_WORDS)))
    return (*names, *["expert_rows"] * (cfg.choices > 0), *["window"] * cfg.windows)


def register_words(cfg: Config) -> int:
    """Words of REGISTER."""
    return max(4, len(register_names(cfg)))


READABLE = (Space.BANK, Space.VECTOR, Space.ACT)


def program_space(queue: Queue) -> Space:
    """Where a queue's program is written."""
    return Space[f"{queue.name.upper()}_PROGRAM"]


def word_bytes(cfg: Config, space: Space) -> int:
    """Bytes of one word of a space."""
    programs = {Space.MATRIX_PROGRAM: MATRIX, Space.VECTOR_PROGRAM: VECTOR, Space.SCALAR_PROGRAM: SCALAR}
    if space in programs:
        return -(-word_bits(cfg, programs[space]) // 8)
    if space is Space.BANK:
        return cfg.taps
    return 2 if space in (Space.VECTOR, Space.VALUES, Space.REGISTER) else 1
