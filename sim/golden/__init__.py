"""The golden model: docs/numerics.md in numpy, integers only. Bit for bit what every machine must compute."""

from sim.golden.model import Golden

__all__ = ["Golden"]
