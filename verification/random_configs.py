"""Machines of random sizes: any legal Config may be built, so not only the presets should run programs right."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any

from rtl.config import LUT_MEMORIES, USUAL_CUTS, VECTOR_STEPS, Config, ConfigError, preset

RANDOM = "random-"
"""Names of such machines begin so, and end in a number."""
SERIAL_CUTS = ("select", "scale", "round", "multiply")
"""A serial vector unit may or may not have a register after these."""
Rule = Callable[[random.Random, Mapping[str, Any]], Any]


def _of(*choices: Any) -> Rule:
    return lambda rng, so_far: rng.choice(choices)


def _cuts(rng: random.Random, so_far: Mapping[str, Any]) -> tuple[str, ...]:
    if so_far["serial_vector"]:
        some = {"add", "clamp", "function", "narrow", *(step for step in SERIAL_CUTS if rng.random() < 0.5)}
    else:
        some = {"add", *(step for step in VECTOR_STEPS if rng.random() < 0.5)}
        some = rng.choice((some, set(VECTOR_STEPS), set(USUAL_CUTS)))
    return tuple(step for step in VECTOR_STEPS if step in some)


def _small(small: Any, *others: Any) -> Rule:
    """What a machine of small units needs, or any of the others."""
    return lambda rng, so_far: small if so_far["serial_vector"] else rng.choice(others)


RULES: dict[str, Rule] = {
    "name": _of(""), "serial_vector": _of(False, False, False, True),
    "lanes": _of(2, 4, 8, 16), "taps": _of(2, 4, 8, 16), "groups": _small(1, 1, 2),
    "bank_rows": _of(512, 1024, 3000), "single_port": _of(False, True), "bank_register": _of(False, True),
    "weight_planes": _of(False, True),
    "tile_lanes": lambda rng, so_far: rng.choice([n for n in (1, 2, 4, 8, 16) if n <= so_far["lanes"]]),
    "tile_taps": lambda rng, so_far: rng.choice([n for n in (1, 2, 4, 8, 16) if n <= so_far["taps"]]),
    "slots": _of(2, 4, 8), "acc_bits": _of(22, 24, 28, 32), "vector_rows": _of(40, 64, 200),
    "act_rows": _of(64, 100, 512),
    "param_rows": _of(256, 300, 1024), "constants": _of(20, 32, 64), "scalars": _of(4, 16, 32),
    "reduces": _of(4, 8, 32),
    "small_scalar": lambda rng, so_far: so_far["serial_vector"],
    "matrix_words": _of(96, 128), "vector_words": _of(192, 256), "scalar_words": _of(96, 100),
    "values": _of(2, 4, 16), "value_bits": _of(8, 12), "linear_values": lambda rng, so_far: so_far["serial_vector"],
    "small_control": lambda rng, so_far: so_far["serial_vector"],
    "matrix_fetch": _small(2, 1), "scalar_fetch": _small(4, 1), "cycle_bits": _of(24, 32), "sequences": _of(1, 2, 4),
    "experts": _small(0, 0, 2, 8), "choices": lambda rng, so_far: rng.choice((1, 2)) if so_far["experts"] else 0,
    "position_bits": _of(5, 6, 7), "token_bits": _of(6, 8, 10), "wait_bits": _of(8, 10, 12),
    "repeat_bits": _of(6, 8, 10),
    "narrow": _of(()), "vector_cuts": _cuts, "acc_register": _small(True, False, True), "reduce_levels": _of(1, 2, 3),
    "spread": _small(False, False, True), "scalar_register": _small(False, False, True),
    "direct_tables": _small(False, False, True), "logic_products": _of(0, 0, 3),
    "lut_memories": lambda rng, so_far: () if so_far["small_control"] else rng.choice(((), LUT_MEMORIES)),
    "noise_rate": lambda rng, so_far: 0 if so_far["serial_vector"] else rng.choice(
        [n for n in (0, 1, 2, 4, 8) if n <= so_far["lanes"]]),
    "top_k": lambda rng, so_far: so_far["noise_rate"] > 0 and rng.random() < 0.5,
    "windows": _of(False, True),
    "external_banks": _of(False, False, True), "ecc": _of(False, False, True),
    "paired_products": lambda rng, so_far: rng.random() < 0.3 and so_far["tile_lanes"] > 1,
    "act_register": _of(False, False, True)}
"""How each field of Config is drawn, in order: later ones may look at those before."""


def random_config(number: int) -> Config:
    """The machine of that number. Raises TypeError where a field of Config has no rule here."""
    if missing := {field.name for field in fields(Config)} ^ RULES.keys():
        raise TypeError(f"verification/random_configs.py: no rule, or one too many, for {', '.join(sorted(missing))}")
    rng = random.Random(number)
    for _ in range(1000):
        drawn: dict[str, Any] = {}
        for name, rule in RULES.items():
            drawn[name] = rule(rng, drawn)
        try:
            return Config(**{**drawn, "name": f"{RANDOM}{number}"})
        except ConfigError:
            continue
    raise TypeError("the rules of verification/random_configs.py make no legal Config")


def config_of(name: str) -> Config:
    """A preset, or a machine of random sizes. Raises ConfigError for a name that is neither."""
    number = name.removeprefix(RANDOM)
    return random_config(int(number)) if number != name and number.isdecimal() else preset(name)
