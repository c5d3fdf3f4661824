"""The checkpoints: shape, stories and folder of each."""

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
    weight_bits: of its layers' weights, as it is trained: 8 (the compiler rounds them afterwards) or 4.
    experts, experts_used: feed-forward networks of a layer, and those of them that a token uses.
    """

    name: str
    shape: Shape
    profile: Profile
    learning_rate: float
    weight_bits: int = 8
    experts: int = 0
    experts_used: int = 0

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
# Twice the layers of fables43k in the same 64 KB, and the stories of fables80k: the layers' weights have four bits.
FABLES75K_W4: Final = Preset(
    name="fables75k-w4", profile=TALE, learning_rate=4e-3, weight_bits=4,
    shape=Shape(dim=32, hidden=88, layers=6, heads=4, kv_heads=1, vocabulary=256, context=160))
# One layer more than fables80k in 128 KB; the parameter memory has no room for the multipliers of a fifth.
FABLES96K_W4: Final = Preset(
    name="fables96k-w4", profile=TALE, learning_rate=4e-3, weight_bits=4,
    shape=Shape(dim=48, hidden=96, layers=4, heads=6, kv_heads=2, vocabulary=320, context=160))
# A token uses 109k of its 275k parameters.
FABLES275K_MOE: Final = Preset(
    name="fables275k-moe", profile=FABLE, learning_rate=3e-3, experts=8, experts_used=2,
    shape=Shape(dim=48, hidden=48, layers=4, heads=6, kv_heads=3, vocabulary=512, context=256))
PRESETS: Final = {preset.name: preset for preset in (
    FABLES260K, FABLES80K, FABLES43K, FABLES75K_W4, FABLES96K_W4, FABLES275K_MOE)}
