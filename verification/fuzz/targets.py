"""All targets, by name, in the order in which they run."""

from __future__ import annotations

from typing import Final

from verification.fuzz import images
from verification.fuzz.target import Target

TARGETS: Final[dict[str, Target]] = {target.name: target for target in (images.TARGET,)}
