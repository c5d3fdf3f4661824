"""How checkpoints describe rotary embedding, and what it means here."""

from __future__ import annotations

from typing import Final

from compiler.errors import InputError
from compiler.float_model import LinearScaling, Llama3Scaling, Rope
from compiler.importers.files import Settings

SCALINGS: Final = "default, linear and llama3"


def hugging_face_rope(settings: Settings, base: float) -> Rope:
    """The rotation that a config.json asks for.

    Parameters
    ----------
    base: of the architecture, where the file names none.

    Raises `InputError` for a scaling that is not known. Old files have `rope_theta` and `rope_scaling`, new ones
    `rope_parameters` with both.
    """
    scaling = settings.section("rope_parameters") or settings.section("rope_scaling")
    base = settings.number("rope_theta", base)
    for part in (settings, scaling):
        if part and part.number("partial_rotary_factor", 1.0) != 1.0:
            raise InputError(f"{part.where}: partial_rotary_factor is not 1: heads that rotate in part are unsupported")
    if scaling is None:
        return Rope(base=base)
    base = scaling.number("rope_theta", base)
    kind = scaling.text("rope_type", scaling.text("type", "default"))
    if kind == "default":
        return Rope(base=base)
    if kind == "linear":
        return Rope(base=base, scaling=LinearScaling(factor=scaling.number("factor")))
    if kind == "llama3":
        low, high = scaling.number("low_freq_factor"), scaling.number("high_freq_factor")
        if low >= high:
            raise InputError(f"{scaling.where}: low_freq_factor {low:g} is not below high_freq_factor {high:g}")
        return Rope(base=base, scaling=Llama3Scaling(
            factor=scaling.number("factor"), low=low, high=high,
            original=int(scaling.number("original_max_position_embeddings"))))
    raise InputError(f"{scaling.where}: RoPE scaling {kind!r} is not supported; {SCALINGS} are")
