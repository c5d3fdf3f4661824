"""Sampling: the registers that make a machine draw its tokens, from a temperature and a seed.

Nothing is compiled anew: they are set as the image is loaded. From how many of the likeliest tokens it draws (top-k) is
the program's matter: it is compiled for it.
"""

from __future__ import annotations

import math
from dataclasses import replace

from compiler.errors import InputError
from compiler.image import Image
from compiler.lower import MOST_TOP_K
from rtl.config import PRESETS, Config
from rtl.noise import FRACTION_BITS, MANTISSA_BITS, SHIFT_BITS, least_noise

SEEDS = 1 << 63
"""Seeds are smaller than this."""
_WORD = (1 << 64) - 1


def mixed(seed: int) -> int:
    """The first state of a seed's generator, 64 bits and not 0; neighbouring seeds have nothing in common.

    The finaliser of SplitMix64 (Steele, Lea and Flood, Fast Splittable Pseudorandom Number Generators, OOPSLA 2014).
    """
    state = (seed + 1) * 0x9E3779B97F4A7C15 & _WORD
    state = (state ^ state >> 30) * 0xBF58476D1CE4E5B9 & _WORD
    state = (state ^ state >> 27) * 0x94D049BB133111EB & _WORD
    return state ^ state >> 31 or 1


def with_sampling(image: Image, temperature: float, seed: int = 0) -> Image:
    """The image of a machine that draws tokens from softmax(logits / temperature); at 0 it takes the likeliest.

    seed: of the first sequence; each further one has the next number, and tells what it would tell alone with that.

    Raises InputError where the machine has no noise, the image no model, or a number is out of range.
    """
    if not 0 <= temperature < math.inf:
        raise InputError(f"a temperature of {temperature} is impossible; 0 takes the likeliest token, 1 draws as the "
                         "model was trained")
    if not 0 <= seed < SEEDS:
        raise InputError(f"a seed of {seed} is impossible; it must be 0 to {SEEDS - 1}")
    if temperature == 0:
        return replace(image, registers=replace(image.registers, temperature=0, seeds=()))
    if not image.config.noise_rate:
        raise InputError(f"{image.config.name} cannot sample, it has no noise generator; {_able('noise_rate')} can")
    seeds = tuple(mixed(seed + sequence) for sequence in range(image.sequences))
    return replace(image, registers=replace(image.registers, temperature=_register(image, temperature), seeds=seeds))


def checked_top_k(top_k: int, vocab: int, config: Config) -> int:
    """The number of likeliest tokens to draw from; 0 where that is all of them. Raises InputError."""
    if not 0 <= top_k <= MOST_TOP_K and top_k < vocab:
        raise InputError(f"a top-k of {top_k} is impossible; it must be 1 to {MOST_TOP_K}, or 0 for all")
    if top_k and not config.top_k:
        raise InputError(f"{config.name} cannot draw from the likeliest tokens alone; {_able('top_k')} can")
    return 0 if top_k >= vocab else top_k


def _able(option: str) -> str:
    return ", ".join(name for name, config in PRESETS.items() if getattr(config, option))


def mantissa_and_shift(register: int) -> tuple[int, int]:
    """The parts of the temperature's register."""
    return register & (1 << MANTISSA_BITS) - 1, register >> MANTISSA_BITS


def temperature_of(image: Image) -> float:
    """What the image's register makes of the temperature: the nearest of those that there are."""
    mantissa, shift = mantissa_and_shift(image.registers.temperature)
    return mantissa * 2.0 ** (FRACTION_BITS - shift) * _logit_scale(image) if mantissa else 0.0


def _logit_scale(image: Image) -> float:
    if image.model is None:
        raise InputError("this image does not carry its model, whose logits a temperature needs; compile it again")
    return image.model.logit_scale


def _register(image: Image, temperature: float) -> int:
    """Mantissa and shift, so that noise comes in units of a logit."""
    scale = _logit_scale(image)
    wanted, most = temperature / scale, -(1 << 15 + FRACTION_BITS) / least_noise()  # units of a logit in a nat
    if wanted > most:
        raise InputError(f"a temperature of {temperature:g} is too high for this model's logits; at most "
                         f"{most * scale:.3g} is possible")
    most_shift = (1 << SHIFT_BITS) - 1
    shift = min(most_shift, FRACTION_BITS + MANTISSA_BITS - 1 - math.floor(math.log2(wanted)))
    mantissa = round(wanted * 2.0 ** (shift - FRACTION_BITS))
    if mantissa == 1 << MANTISSA_BITS:
        mantissa, shift = mantissa // 2, shift - 1
    if not mantissa:
        raise InputError(f"a temperature of {temperature:g} is too low to differ from 0")
    return mantissa | shift << MANTISSA_BITS
