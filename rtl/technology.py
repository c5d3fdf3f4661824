"""Technology: which FPGA family the gateware is elaborated for.

Amaranth hands `elaborate` a platform. Ours is a `Technology`, or None for a simulation. A unit asks for it where a
family has a primitive that no tool infers well; in every other place it is ignored. It never changes what happens in
which cycle: a machine behaves the same on every technology, and the netlist is simulated to show it.
"""

from __future__ import annotations

import enum
from typing import Any


class Technology(enum.Enum):
    """A family of FPGAs."""

    ICE40 = "ice40"
    ECP5 = "ecp5"
    GOWIN = "gowin"


def technology(platform: Any) -> Technology | None:
    """The technology that `elaborate` was given; None where it is to be plain, inferred logic.

    Raises TypeError for a platform of another kind, which would be ignored in silence.
    """
    if platform is None or isinstance(platform, Technology):
        return platform
    raise TypeError(f"elaborate for a rtl.technology.Technology or None, not {platform!r}")


def lut_ram(platform: Any) -> dict[str, Any]:
    """Attributes of a memory that is to be LUT RAM where the family has it: it answers sooner than block RAM, of which
    there is too little; and a shallow and wide one would waste that."""
    families = (Technology.ECP5, Technology.GOWIN)
    return {"ram_style": "distributed"} if technology(platform) in families else {}
