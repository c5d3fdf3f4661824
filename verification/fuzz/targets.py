"""All targets, by name, in the order in which they run."""

from __future__ import annotations

from typing import Final

from verification.fuzz import gguf, images, line, models, reports, tokenizers
from verification.fuzz.target import Target

TARGETS: Final[dict[str, Target]] = {target.name: target for target in (
    images.TARGET, models.CHECKPOINT, line.FRAMES, line.LINK, line.DRIVER, models.FOLDER, gguf.TARGET,
    tokenizers.TARGET, reports.TARGET)}
