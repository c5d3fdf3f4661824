"""The three checkpoints: shape, stories and folder of each."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from models.checkpoint import Shape
from models.vocabulary import FABLE, SKETCH, TALE, Profile


@dataclass(frozen=True, kw_only=True)
class Preset:
    """One checkpoint of this folder.

    Parameters
    ----------
    name: its folder here.
    shape: the network.
    profile: the stories it learns.
    learning_rate: the peak of a first run.
    """

    name: str
    shape: Shape
    profile: Profile
    learning_rate: float

    @property
    def folder(self) -> Path:
        """Where model.bin, tokenizer.bin and README.md are."""
        return Path(__file__).parent / self.name


FABLES260K: Final = Preset(
    name="fables260k", profile=FABLE, learning_rate=3e-3,
    shape=Shape(dim=64, hidden=172, layers=5, heads=8, kv_heads=4, vocabulary=512, context=256))
# Fits the 128 KB of single-port RAM of an iCE40UP5K at one byte a weight, KV cache included.
FABLES80K: Final = Preset(
    name="fables80k", profile=TALE, learning_rate=4e-3,
    shape=Shape(dim=48, hidden=112, layers=3, heads=6, kv_heads=3, vocabulary=320, context=160))
# Fits 64 KB of banks (32 of the 46 block RAMs of a GW2AR-18), where embedding and classifier each have a copy of the
# vocabulary's matrix.
FABLES43K: Final = Preset(
    name="fables43k", profile=SKETCH, learning_rate=4e-3,
    shape=Shape(dim=32, hidden=88, layers=3, heads=4, kv_heads=2, vocabulary=256, context=144))
PRESETS: Final = {preset.name: preset for preset in (FABLES260K, FABLES80K, FABLES43K)}
