"""What a compiled model takes: exact figures, which repeat on every machine, and speeds, which do not."""

from __future__ import annotations

from typing import Any, Final

from compiler.image import Image
from sim.device import open_device
from sim.generate import generate_together

POSITIONS: Final = (0, 15, 63, 127, 255)
MEAN_POSITIONS: Final = 128
RUNS: Final = {"prompt": 0, "classified": 1}
"""How tokens are run -> row of `Image.cycles`."""


def runs(image: Image) -> dict[str, int]:
    """How an image's tokens are run, as `RUNS`; with several sequences one step makes a token of each."""
    return RUNS if image.sequences == 1 else {f"interleaved {image.sequences}": RUNS["classified"]}


def cycles_by_position(image: Image, row: int) -> dict[str, float]:
    """Cycles of a step at `POSITIONS`, as far as the context goes, and "mean" over the first `MEAN_POSITIONS`.

    row: of `Image.cycles`.
    """
    cycles = image.cycles[row]
    found: dict[str, float] = {str(position): int(cycles[position]) for position in POSITIONS if position < len(cycles)}
    return {**found, "mean": float(cycles[:MEAN_POSITIONS].mean())}


def utilisation(image: Image) -> float:
    """Useful multiply-accumulates over those that the cycles have room for, mean over the first positions, classified.

    Attention counts as useful, padding does not. Several sequences are all at the same position.
    """
    cycles, macs = image.cycles[1, :MEAN_POSITIONS], image.useful_macs[1, :MEAN_POSITIONS]
    return float((image.sequences * macs / (cycles * image.config.peak_macs)).mean())


def exact(image: Image) -> dict[str, Any]:
    """Context, cycles, utilisation, words of program used and free a queue, and how much of its experts a token reads.
    """
    return {
        **{name: image.provenance[name] for name in ("experts",) if name in image.provenance},
        "sequences": image.sequences, "context": image.context,
        "cycles": {run: cycles_by_position(image, row) for run, row in runs(image).items()},
        "utilisation": utilisation(image), "program": image.provenance["program"]}


def speed(image: Image, device_name: str, tokens: int) -> dict[str, Any]:
    """Speed of a device once it is warm, by wall clock.

    Returns
    -------
    tokens_per_second; and where the device counts cycles (elsewhere None) cycles_per_second, and whether every token,
    the warming ones included, took the cycles that the compiler predicted: as_predicted.
    """
    device = open_device(device_name, image)
    tokens, prompts = min(tokens, image.context), [[1]] * image.sequences
    made = generate_together(device, image, prompts, tokens=tokens, stop=frozenset())
    wrong = bool(made.mispredicted)
    made = generate_together(device, image, prompts, tokens=tokens, stop=frozenset())
    counted = [count for count in made.cycles if count is not None]
    return {
        "positions": made.positions, "tokens_per_second": image.sequences * made.positions / made.seconds,
        "cycles_per_second": sum(counted) / made.seconds if counted else None,
        "as_predicted": not (wrong or made.mispredicted) if counted else None}
