"""Image: everything a machine is loaded with, and the cycles the compiler promises for it.

Memories are in the machine's own layout. `save` and `load` (safetensors, metadata as JSON) are in image_file.py.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from compiler.labels import Labels
from compiler.quantised import QuantisedModel
from rtl.config import Config
from rtl.protocol import SEED_WORDS, register_names


@dataclass(frozen=True, kw_only=True)
class Registers:
    """Control registers of the core, set once.

    key_step: bank rows between the K blocks of neighbouring groups of `lanes` positions: a K store goes to row
        dst + position // lanes * key_step.
    rope_step: parameter rows of one position. embed_shift: a token has 2**embed_shift embedding columns.
    temperature, seeds: of rtl/noise.py, a seed for each sequence; see compiler/sampling.py. Without, the likeliest
        token is taken.
    expert_rows: bank rows from an expert's matrices to the next one's; 0 where a layer has only one.
    window: positions that a token attends to, its own included; 0 for all.
    """

    key_step: int
    rope_step: int
    embed_shift: int
    expert_rows: int = 0
    window: int = 0
    temperature: int = 0
    seeds: tuple[int, ...] = ()

    def words(self, cfg: Config) -> list[int]:
        """By address, as `rtl.protocol.register_names` has them."""
        named = {"key_step": self.key_step, "rope_step": self.rope_step, "embed_shift": self.embed_shift,
                 "temperature": self.temperature, "expert_rows": self.expert_rows, "window": self.window}
        for sequence, seed in enumerate(self.seeds):
            named |= {f"seed_{sequence}_{word}": seed >> 16 * word & 0xFFFF for word in range(SEED_WORDS)}
        return [named.get(name, 0) for name in register_names(cfg)]


@dataclass(frozen=True, kw_only=True)
class Image:
    """A compiled model for one Config.

    Members:
        config: the machine.
        programs: encoded words of each queue, by queue name ("matrix", "vector", "scalar").
        banks: (bank_rows, lanes, taps) int8. act: (act_rows, act_width) int8. params: (param_rows, lanes) uint8.
        constants: (constants,) uint8. values: (buckets, config.values) uint16, column 0 all zero.
        registers: control registers.
        top_k: tokens are drawn from so many of the likeliest; 0: from all.
        context: most positions of a sequence. sequences: that the program works on in turn.
        cycles: (2, context) int64, predicted cycles of a token of every sequence when the furthest of them is at each
            position; row 0 prompt tokens (no classifier), row 1 classified tokens.
        tensors: where named tensors lie after a token, for comparison: name -> (space, ...) see compiler/tensors.py.
        useful_macs: (2, context) int64, of one sequence.
        labels: what the program's events are called; None in images of before there were any.
        provenance: where the model came from, checksums, tool version: plain JSON values.
        tokenizer: bytes of the llama2.c tokenizer file, so that an image speaks for itself.
        model: the integers that the image was compiled from, so that the golden model can run it too.
    """

    config: Config
    programs: dict[str, list[int]]
    banks: npt.NDArray[np.int8]
    act: npt.NDArray[np.int8]
    params: npt.NDArray[np.uint8]
    constants: npt.NDArray[np.uint8]
    values: npt.NDArray[np.uint16]
    registers: Registers
    context: int
    cycles: npt.NDArray[np.int64]
    useful_macs: npt.NDArray[np.int64]
    tensors: dict[str, Any] = field(default_factory=dict[str, Any])
    labels: Labels | None = None
    provenance: dict[str, Any] = field(default_factory=dict[str, Any])
    tokenizer: bytes = b""
    model: QuantisedModel | None = None
    sequences: int = 1
    top_k: int = 0
