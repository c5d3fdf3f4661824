"""`lpu bench`: cycles, utilisation, compile time and simulation speed of models on machines."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from rich.table import Table

from compiler.compile import compile_model
from compiler.errors import InputError
from compiler.image_file import check_writable, write_atomically
from compiler.library import open_model, shipped_models
from compiler.quantise import quantise
from compiler.quantised import QuantisedModel
from rtl.config import PRESETS, Config
from rtl.config import preset as find_preset
from sim.bench_tables import between_markers, document, exact_table, notes, speed_table
from sim.commands import common
from sim.committed import Row, dump_rows, load_rows, merged, rows_of
from sim.device import DEVICES
from sim.measure import exact, speed

T = TypeVar("T")

SMALL_MODELS = ("random:small", "random:odd")
"""Measured beside the shipped models, which are too large for the smaller machines."""


def bench_command(
    models: Annotated[list[str] | None, typer.Argument(
        help="Models, also random:SHAPE; all that are shipped, and small random ones.")] = None,
    presets: Annotated[str | None, typer.Option("--preset", help="Machines, with commas between; all.")] = None,
    devices: Annotated[str, typer.Option(help="Devices to time, with commas between; '' for none.")] = "golden,cycle",
    tokens: Annotated[int, typer.Option(help="Tokens to time each device with.")] = 16,
    write: Annotated[Path | None, typer.Option(help="Markdown file in which to replace the tables.")] = None,
    write_cycles: Annotated[Path | None, typer.Option(help="File of committed cycle counts to update.")] = None,
    as_json: common.Json = False,
) -> None:
    """Measure cycles a token, utilisation, compile time and simulation speed."""
    if tokens < 1:
        raise InputError(f"{tokens} tokens cannot be generated; ask for at least 1")
    names = [name.strip() for name in devices.split(",") if name.strip()]
    if unknown := [name for name in names if name not in DEVICES]:
        raise InputError(f"unknown device {unknown[0]!r}; known devices: {', '.join(DEVICES)}")
    configs = [find_preset(name.strip()) for name in (presets.split(",") if presets else PRESETS)]
    models = models or [*shipped_models(), *SMALL_MODELS]
    # Before work whose result could not be written.
    text = _document(write) if write else ""
    if write_cycles:
        check_writable(write_cycles)
    committed = load_rows(write_cycles) if write_cycles and write_cycles.exists() else []
    rows: list[dict[str, Any]] = []
    promised: list[Row] = []
    for model in models:
        loaded, _, provenance = open_model(model)
        with common.progress(f"quantising {provenance.name}"):
            quantised, seconds = _timed(lambda loaded=loaded: quantise(loaded))
        for config, sequences in [(one, number) for one in configs for number in (1, 2) if number <= one.sequences]:
            row: dict[str, Any] = {"model": provenance.name, "preset": config.name, "sequences": sequences,
                                   "quantise_seconds": seconds}
            try:
                with common.progress(f"{provenance.name} on {config.name}"):
                    measured, found = _measure(quantised, config, sequences, names, tokens, provenance.name)
                row |= measured
                promised += found
            except InputError as error:
                row["does_not_fit"] = str(error)
            rows.append(row)
    if as_json:
        common.print_json({"results": rows})
    else:
        _print(exact_table(rows))
        _print(speed_table(rows, names))
        common.out.print("\n".join(notes(rows)))
    if any(timed["as_predicted"] is False for row in rows for timed in row.get("devices", {}).values()):
        raise InputError("a device did not take the cycles that the compiler predicted; nothing is written")
    if write:
        made = document(rows, names, _command(models, presets, devices, tokens))
        write_atomically(write, between_markers(text, made, str(write)).encode())
    if write_cycles:
        tried = [(str(row["model"]), str(row["preset"])) for row in rows]
        write_atomically(write_cycles, dump_rows(merged(committed, promised, tried)).encode())


def _timed(work: Callable[[], T]) -> tuple[T, float]:
    """What some work gives, and the CPU seconds of this process that it took."""
    started = time.process_time()
    return work(), time.process_time() - started


def _measure(model: QuantisedModel, config: Config, sequences: int, devices: list[str], tokens: int,
             name: str) -> tuple[dict[str, Any], list[Row]]:
    """A row of results, and the cycles promised."""
    compiled, seconds = _timed(lambda: compile_model(model, config, sequences=sequences))
    image = common.with_model(compiled, model)
    timed = {device: speed(image, device, tokens) for device in devices}
    return {**exact(image), "compile_seconds": seconds, "devices": timed}, rows_of(image, name)


def _document(path: Path) -> str:
    """The text of a document that has the markers and can be written."""
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read {path}: {error}") from None
    between_markers(text, "", str(path))
    check_writable(path)
    return text


def _command(models: list[str], presets: str | None, devices: str, tokens: int) -> str:
    """This command, with paths cut to the files' names: they are other ones elsewhere."""
    named = [Path(model).name if Path(model).exists() else model for model in models]
    given = ["--preset", presets] if presets else []
    return " ".join(["lpu", "bench", *named, *given, "--devices", devices or "''", "--tokens", str(tokens)])


def _print(cells: list[list[str]]) -> None:
    table = Table(*cells[0], box=None, pad_edge=False)
    for line in cells[1:]:
        table.add_row(*line)
    common.out.print(table)
    common.out.print()
