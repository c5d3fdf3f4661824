"""`lpu bench`: cycles, utilisation and simulation speed of models on machines."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.table import Table

from compiler.compile import compile_model
from compiler.errors import InputError
from compiler.image import Image
from compiler.library import open_model, shipped_models
from compiler.quantise import quantise
from rtl.config import PRESETS
from rtl.config import preset as find_preset
from sim.commands import common
from sim.device import DEVICES, open_device
from sim.generate import generate

UTILISATION_POSITIONS = 128


def utilisation(image: Image, positions: int = UTILISATION_POSITIONS) -> float:
    """Useful multiply-accumulates as a part of the possible ones, mean over the first positions, all classified."""
    cycles, macs = image.cycles[1, :positions], image.useful_macs[1, :positions]
    return float((macs / (cycles * image.config.peak_macs)).mean())


def measure(image: Image, name: str, tokens: int) -> dict[str, Any]:
    """Speed of a device, once it is warm."""
    device = open_device(name, image)
    generate(device, image, [1], tokens=min(tokens, image.context), stop=frozenset())
    made = generate(device, image, [1], tokens=min(tokens, image.context), stop=frozenset())
    return {"tokens_per_second": made.positions / made.seconds, "as_predicted": not made.mispredicted}


def bench_command(
    models: Annotated[list[str] | None, typer.Argument(help="Models; all that are shipped.")] = None,
    presets: Annotated[str | None, typer.Option("--preset", help="Machines, with commas between; all.")] = None,
    devices: Annotated[str, typer.Option(help="Devices to time, with commas between.")] = "golden,cycle",
    tokens: Annotated[int, typer.Option(help="Tokens to time each device with.")] = 16,
    as_json: common.Json = False,
) -> None:
    """Measure cycles a token, utilisation and simulation speed."""
    if tokens < 1:
        raise InputError(f"{tokens} tokens cannot be generated; ask for at least 1")
    names = [name.strip() for name in devices.split(",") if name.strip()]
    if unknown := [name for name in names if name not in DEVICES]:
        raise InputError(f"unknown device {unknown[0]!r}; known devices: {', '.join(DEVICES)}")
    configs = [find_preset(name.strip()) for name in (presets.split(",") if presets else PRESETS)]
    rows: list[dict[str, Any]] = []
    for model in models or shipped_models():
        loaded, _, provenance = open_model(model)
        with common.progress(f"quantising {provenance.name}"):
            quantised = quantise(loaded)
        for config in configs:
            row: dict[str, Any] = {"model": provenance.name, "preset": config.name}
            try:
                with common.progress(f"{provenance.name} on {config.name}"):
                    row |= _bench(common.with_model(compile_model(quantised, config), quantised), names, tokens)
            except InputError as error:
                row["does_not_fit"] = str(error)
            rows.append(row)
    if as_json:
        common.print_json({"utilisation_positions": UTILISATION_POSITIONS, "results": rows})
    else:
        _print(rows, names)


def _bench(image: Image, devices: list[str], tokens: int) -> dict[str, Any]:
    return {
        "context": image.context, "cycles_first": int(image.cycles[1, 0]), "cycles_last": int(image.cycles[1, -1]),
        "utilisation": utilisation(image), "devices": {name: measure(image, name, tokens) for name in devices}}


def _print(rows: list[dict[str, Any]], devices: list[str]) -> None:
    speeds = [f"{name}, tokens/s" for name in devices]
    table = Table("model", "preset", "context", "cycles a token", "utilisation", *speeds, box=None, pad_edge=False)
    for row in rows:
        if "does_not_fit" in row:
            table.add_row(row["model"], row["preset"], "does not fit")
            continue
        timed = [row["devices"][name] for name in devices]
        speeds = [f"{one['tokens_per_second']:.0f}{'' if one['as_predicted'] else ' MISPREDICTED'}" for one in timed]
        table.add_row(
            row["model"], row["preset"], str(row["context"]), f"{row['cycles_first']} to {row['cycles_last']}",
            f"{row['utilisation']:.3f}", *speeds)
    common.out.print(table)
    common.out.print(f"utilisation: mean over positions 0 to {UTILISATION_POSITIONS - 1} of classified tokens")
