"""The RTL device: the Verilated machine, loaded with an image."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import numpy.typing as npt

from compiler.image import Image
from rtl.config import Config
from rtl.protocol import Space
from rtl.verilog import generate
from sim.driver import Driver, Status
from sim.verilate import VerilatedCore, build, cached_verilog


def build_core(cfg: Config, *, trace: bool = False, probe: bool = False) -> Path:
    """The compiled machine, from the cache where it was built before. probe: with the output of rtl/probe.py.

    Raises
    ------
    ToolMissing, BuildFailed : see `sim.verilate.build`.
    """
    facts = f"{cfg!r} with probe" if probe else repr(cfg)
    return build(cached_verilog(lambda: generate(cfg, probe=probe), facts=facts), trace=trace,
                 probes=["probe"] if probe else [])


class RtlDevice:
    """A machine that runs an image, cycle by cycle as the gateware does.

    Parameters
    ----------
    image : the compiled model; its memories and programs are loaded.
    trace : a VCD file to write; slow.
    library : another build of the image's machine with the same ports, for instance of its netlist.
    skip_zeros : rely on memories that are zero in the beginning, which makes loading quicker.

    Raises
    ------
    ToolMissing, BuildFailed : see `sim.verilate.build`.
    """

    name = "rtl"

    def __init__(self, image: Image, *, trace: Path | None = None, library: Path | None = None,
                 skip_zeros: bool = True) -> None:
        self.image = image
        self._core = VerilatedCore(library or build_core(image.config, trace=trace is not None), trace=trace)
        self._driver = Driver(image.config, self._core)
        self._driver.load(image, skip_zeros=skip_zeros)
        self._driver.reset()

    @property
    def clocks(self) -> int:
        """Clocks since the machine was made, loading included: what simulation speed is measured with."""
        return self._core.cycles

    def reset(self) -> None:
        """The next token is at position 0."""
        self._driver.reset()

    def step(self, tokens: Sequence[int], classify: bool, restart: Sequence[int] = ()) -> tuple[tuple[int, ...], int]:
        """Run one token of each sequence; see `sim.driver.Driver.step`."""
        return self._driver.step(tokens, classify=classify, restart=restart)

    def run(self, count: int) -> Iterator[tuple[tuple[int, ...], int]]:
        """Generate on chip from the last tokens on; yields winners with their cycles. Close it to stop early."""
        return self._driver.run(count)

    def read(self, space: Space, address: int, count: int) -> npt.NDArray[np.int8] | npt.NDArray[np.int16]:
        """Words of a readable memory, see `sim.driver.Driver.read`."""
        return self._driver.read(space, address, count)

    def status(self) -> Status:
        """Position, token and cycle count."""
        return self._driver.status()

    def close(self) -> None:
        """Release the machine, and finish its VCD file."""
        self._core.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
