"""A page of code coverage: each module's shares, and its Verilog around every hole."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from html import escape

from verification.coverage_points import KINDS, Explanation, Measured, Point, share

AROUND = 2
"""Lines of Verilog shown before and after a hole."""
STYLE = """body{font:14px sans-serif;margin:2em;max-width:70em}
table{border-collapse:collapse} td,th{padding:2px 12px;text-align:right} td:first-child,th:first-child{text-align:left}
tr:last-child{font-weight:bold} pre{background:#f4f4f4;padding:4px 8px;overflow:auto}
b{background:#fcc} .why{color:#555}"""


def page(measured: Sequence[Measured], explanations: Sequence[Explanation]) -> str:
    """HTML that needs nothing else. Toggles are in the table alone: there are too many."""
    body = "".join(_preset(one, explanations) for one in measured)
    return f"<!doctype html><meta charset=utf-8><title>Code coverage</title><style>{STYLE}</style>{body}\n"


def _preset(one: Measured, explanations: Sequence[Explanation]) -> str:
    head = "".join(f"<th>{kind}" for kind in KINDS)
    totals = {**one.table(), "all": {kind: one.total(kind) for kind in KINDS}}
    rows = "".join(f"<tr><td>{escape(module)}" + "".join(f"<td>{share(*kinds[kind])}" for kind in KINDS)
                   for module, kinds in totals.items())
    return (f"<h1>{escape(one.preset)}</h1><table><tr><th>module{head}{rows}</table>"
            + "".join(_module(one, explanations, module, points) for module, points in _by_module(one).items()))


def _by_module(one: Measured) -> dict[str, list[Point]]:
    found = defaultdict[str, list[Point]](list)
    for point in one.holes([kind for kind in KINDS if kind != "toggle"]):
        found[point.module].append(point)
    return found


def _module(one: Measured, explanations: Sequence[Explanation], module: str, points: Sequence[Point]) -> str:
    by_line = defaultdict[int, list[Point]](list)
    for point in points:
        by_line[point.line].append(point)
    return f"<h2>{escape(module)}</h2>" + "".join(
        _hole(one, explanations, line, found) for line, found in sorted(by_line.items()))


def _hole(one: Measured, explanations: Sequence[Explanation], line: int, points: Sequence[Point]) -> str:
    first = max(0, line - 1 - AROUND)
    code = "\n".join(f"<b>{escape(text)}</b>" if number == line else escape(text)
                     for number, text in enumerate(one.verilog[first:line + AROUND], first + 1))
    reasons = {found.reason for point in points for found in explanations
               if found.covers(one.preset, point, one.code(point))}
    missed = ", ".join(f"{point.kind} {point.what}" for point in points)
    return (f"<p>line {line}: {escape(missed)} <span class=why>{escape('; '.join(sorted(reasons)))}</span>"
            f"<pre>{code}</pre>")
