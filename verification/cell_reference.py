"""What FPGA cells do, written a second time: a block RAM and a multiplier, vector by vector, in plain integers."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(kw_only=True)
class Port:
    """One side of a block RAM.

    Members
    -------
    width : of a word. shows : "nothing", "new" or "old" while it writes. register : behind the output.
    inverted : works on falling edges. blocks : a synchronous reset stops writes.
    select : the chip select that means it.
    """

    width: int
    shows: str = "nothing"
    register: bool = False
    inverted: bool = False
    blocks: bool = False
    select: int = 0
    # State.
    held: int = 0
    registered: int = 0
    clock: int = 0


@dataclass(kw_only=True)
class BlockRam:
    """2048 bytes of `byte` bits behind two ports.

    contents: what they hold in the beginning.
    """

    byte: int
    asynchronous: bool
    ports: tuple[Port, Port]
    contents: list[int] = field(default_factory=lambda: [0] * 2048)

    def places(self, port: Port, address: int) -> list[tuple[int, int]]:
        """(byte, bit) of each bit of the word at an address, the lowest first."""
        if port.width < self.byte:
            first = address % 8 // port.width * port.width
            return [(address // 8, first + bit) for bit in range(port.width)]
        count = port.width // self.byte
        first = address // 8 // count * count
        return [(first + number, bit) for number in range(count) for bit in range(self.byte)]

    def changes(self, port: Port, now: dict[str, int]) -> dict[tuple[int, int], int]:
        """What a port would write: the new value of each bit."""
        stopped = port.blocks and not self.asynchronous and now["reset"]
        if not (now["enable"] and now["select"] == port.select and now["write"]) or stopped:
            return {}
        count = port.width // self.byte
        enabled = [count < 2 or now["address"] >> number & 1 for number in range(max(count, 1))]
        return {place: now["data"] >> index & 1 for index, place in enumerate(self.places(port, now["address"]))
                if enabled[index // self.byte if count else 0]}

    def step(self, inputs: tuple[dict[str, int], dict[str, int]]) -> tuple[int, int]:
        """Both outputs after the inputs of both ports were set."""
        changes = [self.changes(port, now) for port, now in zip(self.ports, inputs, strict=True)]
        clash = changes[0].keys() & changes[1].keys()
        after = list(self.contents)
        for mine, (port, now) in enumerate(zip(self.ports, inputs, strict=True)):
            before, port.clock = port.clock, now["clock"]
            edge = (before, now["clock"]) == ((1, 0) if port.inverted else (0, 1))
            if edge:
                for (number, bit), value in changes[mine].items():
                    if (number, bit) in clash:
                        if mine == 1:
                            continue
                        value ^= 1
                    after[number] = after[number] & ~(1 << bit) | value << bit
                port.registered = port.held if now["register_enable"] else port.registered
                self._read(port, now, changes[mine], changes[1 - mine])
            if now["reset"] and (self.asynchronous or edge):
                port.held = port.registered = 0
        self.contents = after
        first, second = (port.registered if port.register else port.held for port in self.ports)
        return first, second

    def _read(self, port: Port, now: dict[str, int], own: dict[tuple[int, int], int],
              other: dict[tuple[int, int], int]) -> None:
        if not now["enable"] or now["select"] != port.select or (now["write"] and port.shows == "nothing"):
            return
        word = 0
        for index, (number, bit) in enumerate(self.places(port, now["address"])):
            value = self.contents[number] >> bit & 1
            value ^= (number, bit) in other  # written by the other port: shown as nobody wants it
            if port.shows == "new" and (number, bit) in own:
                value = own[number, bit]
            word |= value << index
        port.held = word


@dataclass
class Register:
    """A register of a multiplier: which clock, enable and reset it has; without a clock it is a wire."""

    clock: int | None = None
    enable: int = 0
    reset: int = 0
    value: int = 0


@dataclass(kw_only=True)
class Multiplier:
    """A multiplier of two operands of `bits`, with registers for each operand, the product and the output.

    signs: the signs' own registers; None where they go with the operands.
    """

    bits: int
    asynchronous: bool
    a: Register
    b: Register
    pipeline: Register
    output: Register
    signs: tuple[Register, Register] | None = None
    clocks: int = 0

    def step(self, now: dict[str, int]) -> int:
        """The output after a, b, signed_a, signed_b, chained and the masks clocks, enables and resets were set."""
        mask = (1 << 2 * self.bits) - 1
        rising, self.clocks = now["clocks"] & ~self.clocks, now["clocks"]
        together = self.signs is None
        sign_a, sign_b = self.signs or (self.a, self.b)
        # From the output back, so that each register sees what was there before the edge; then forwards once more, for
        # those that are only wires.
        result = 0
        for _ in range(2):
            seen_a = self._seen(self.a, now["a"] | (now["signed_a"] << self.bits if together else 0))
            seen_b = self._seen(self.b, now["b"] | (now["signed_b"] << self.bits if together else 0))
            signed_a = seen_a >> self.bits if together else self._seen(sign_a, now["signed_a"])
            signed_b = seen_b >> self.bits if together else self._seen(sign_b, now["signed_b"])
            product = self._number(seen_a, signed_a) * self._number(seen_b, signed_b) & mask
            piped = self._seen(self.pipeline, product)
            self._clock(self.output, piped, rising, now)
            self._clock(self.pipeline, product, rising, now)
            if not together:
                self._clock(sign_a, now["signed_a"], rising, now)
                self._clock(sign_b, now["signed_b"], rising, now)
            self._clock(self.a, now["a"] | (now["signed_a"] << self.bits if together else 0), rising, now)
            self._clock(self.b, now["b"] | (now["signed_b"] << self.bits if together else 0), rising, now)
            rising = 0
            result = self._seen(self.output, piped)
        return ~result & mask if now["chained"] else result

    def _number(self, operand: int, signed: int) -> int:
        value = operand & (1 << self.bits) - 1
        return value - (1 << self.bits) if signed and value >> self.bits - 1 else value

    def _seen(self, register: Register, value: int) -> int:
        return value if register.clock is None else register.value

    def _clock(self, register: Register, value: int, rising: int, now: dict[str, int]) -> None:
        if register.clock is None:
            return
        edge = rising >> register.clock & 1
        if now["resets"] >> register.reset & 1:
            if self.asynchronous or edge:
                register.value = 0
        elif edge and now["enables"] >> register.enable & 1:
            register.value = value
