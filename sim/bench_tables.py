"""Results of `lpu bench` as tables, for a terminal and for a Markdown document."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from compiler.errors import InputError
from sim.measure import MEAN_POSITIONS, POSITIONS

Rows = Sequence[dict[str, Any]]
Table = list[list[str]]
"""Rows of cells, the head first."""

BEGIN: Final = "<!-- bench: begin -->"
END: Final = "<!-- bench: end -->"


def exact_table(rows: Rows) -> Table:
    """Figures that are the same on every machine: cycles of classified tokens, utilisation, words of program."""
    table = [["model", "preset", "sequences", "context", *(f"at {position}" for position in POSITIONS), "mean",
              "utilisation", "matrix words", "vector", "scalar"]]
    for row in _fitting(rows):
        cycles = next(cycles for run, cycles in row["cycles"].items() if run != "prompt")
        words = [f"{room['used']} of {room['used'] + room['free']}" for room in row["program"].values()]
        table.append([
            row["model"], row["preset"], str(row["sequences"]), str(row["context"]),
            *(str(cycles.get(str(position), "")) for position in POSITIONS), f"{cycles['mean']:.1f}",
            f"{row['utilisation']:.3f}", *words])
    return table


def speed_table(rows: Rows, devices: Sequence[str]) -> Table:
    """Figures that vary: CPU time to quantise and compile, simulation speed by wall clock."""
    table = [["model", "preset", "sequences", "quantise, CPU s", "compile, CPU s",
              *(f"{name}, tokens/s" for name in devices)]]
    for row in _fitting(rows):
        table.append([row["model"], row["preset"], str(row["sequences"]), f"{row['quantise_seconds']:.1f}",
                      f"{row['compile_seconds']:.1f}",
                      *(_speed(row["devices"][name]) for name in devices)])
    return table


def _speed(timed: dict[str, Any]) -> str:
    text = f"{timed['tokens_per_second']:.0f}"
    if timed["cycles_per_second"] is None:
        return text
    verdict = "as predicted" if timed["as_predicted"] else "MISPREDICTED"
    return f"{text} ({timed['cycles_per_second'] / 1e6:.2f}M cycles/s, {verdict})"


def expert_share(experts: dict[str, int]) -> str:
    """How much of its experts' weights a token reads."""
    return (f"a token uses {experts['used']} of {experts['of']} experts: {experts['bank_rows_read']} of their "
            f"{experts['bank_rows']} bank rows ({experts['bank_rows_read'] / experts['bank_rows']:.0%})")


def _fitting(rows: Rows) -> Rows:
    return [row for row in rows if "does_not_fit" not in row]


def notes(rows: Rows) -> list[str]:
    """What the tables do not say."""
    mean = f"positions 0 to {MEAN_POSITIONS - 1}, or as many as the context has"
    found = [
        f"Cycles are those of classified tokens; mean and utilisation are over {mean}.",
        "With two sequences a step makes two tokens, and both stand at that position."]
    shares = {row["model"]: expert_share(row["experts"]) for row in _fitting(rows) if "experts" in row}
    found += [f"Of {name} {share}." for name, share in shares.items()]
    left: dict[str, list[str]] = {}
    for row in rows:
        if "does_not_fit" in row and row["sequences"] == 1:
            left.setdefault(row["model"], []).append(row["preset"])
    if left:
        found.append("Does not fit: " + "; ".join(f"{name} on {', '.join(on)}" for name, on in left.items()) + ".")
    return found


def markdown(table: Table) -> str:
    """A table of a Markdown document."""
    lines = [table[0], ["---"] * len(table[0]), *table[1:]]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def document(rows: Rows, devices: Sequence[str], command: str) -> str:
    """Markdown of everything, and the command that measured it."""
    return "\n\n".join([f"Written by `{command}`.", markdown(exact_table(rows)), *notes(rows),
                        "Speeds vary with the machine and its load:", markdown(speed_table(rows, devices))])


def between_markers(text: str, new: str, where: str, markers: tuple[str, str] = (BEGIN, END)) -> str:
    """A document with what stands between the markers replaced. Raises InputError where they are not there once."""
    first, last = markers
    begin, end = text.find(first), text.find(last)
    if text.count(first) != 1 or text.count(last) != 1 or end < begin:
        raise InputError(f"{where} needs one line {first} and one line {last} after it, between which the tables go")
    return f"{text[:begin + len(first)]}\n{new}\n{text[end:]}"
