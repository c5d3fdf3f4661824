"""What a board says of itself, so that an image for another build is refused."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass

from fpga.link.frames import IDENTITY_BYTES, NAME_BYTES, VERSION
from rtl import protocol
from rtl.config import Config
from rtl.isa import QUEUES
from rtl.timing import timing

COMPUTING = ("paired_products",)
"""Sizes of `Config` that only say how the gateware computes; what that does to cycles is in the timing."""
HASH_BYTES = 4
CLOCK_BYTES = 3


def design_hash(cfg: Config) -> bytes:
    """The same for two builds exactly where one's images run on the other.

    An image depends on the machine's sizes, the host's requests, the encoding of every instruction, and the cycles in
    which each unit touches each memory. It does not depend on how the gateware computes.
    """
    words = [
        (queue.name, item.name, item.bits(cfg), item.signed, [(one.name, one.value) for one in item.enum or ()])
        for queue in QUEUES for item in queue.fields]
    spaces = [(space.name, space.value, protocol.word_bytes(cfg, space)) for space in protocol.Space]
    sizes = {name: value for name, value in asdict(cfg).items() if name not in COMPUTING}
    facts = repr((sorted(sizes.items()), sorted(asdict(timing(cfg)).items()), words, spaces, protocol.VERSION))
    return hashlib.sha256(facts.encode()).digest()[:HASH_BYTES]


@dataclass(frozen=True, kw_only=True)
class Identity:
    """A board's answer to HELLO and RESET.

    Members
    -------
    version : of the link. clock_khz : of the core. name : first letters of the preset's. design : its hash.
    """

    version: int
    clock_khz: int
    name: str
    design: bytes

    def encode(self) -> bytes:
        name = self.name.encode()[:NAME_BYTES].ljust(NAME_BYTES, b"\0")
        data = bytes([self.version]) + self.clock_khz.to_bytes(CLOCK_BYTES, "little") + name + self.design
        assert len(data) == IDENTITY_BYTES
        return data

    @classmethod
    def decode(cls, data: bytes) -> Identity:
        """Raises ValueError for another length; what a future version appends is its own business."""
        if len(data) != IDENTITY_BYTES:
            raise ValueError(f"an identity has {IDENTITY_BYTES} bytes, not {len(data)}")
        name_at = 1 + CLOCK_BYTES
        return cls(
            version=data[0], clock_khz=int.from_bytes(data[1:name_at], "little"),
            name=data[name_at:name_at + NAME_BYTES].rstrip(b"\0").decode("ascii", "replace"),
            design=data[name_at + NAME_BYTES:])


def identity(cfg: Config, clk_hz: float) -> Identity:
    """Of a board with this machine, clocked so."""
    return Identity(
        version=VERSION, clock_khz=round(clk_hz / 1e3), name=cfg.name[:NAME_BYTES], design=design_hash(cfg))
