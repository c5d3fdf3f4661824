"""Which package may import which: one direction, so that each layer can be read and tested without those above it."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

# A package may import itself and those below it.
CHAIN = ("rtl", "compiler", "sim", "fpga")
ALLOWED: dict[str, set[str]] = {package: set(CHAIN[: place + 1]) for place, package in enumerate(CHAIN)}
# These may import all the others, and none of those imports them.
ALLOWED["models"] = {*CHAIN, "models"}
ALLOWED["verification"] = {*CHAIN, "models", "verification"}
OURS = {*ALLOWED, "tests"}

# The golden model shares facts with the hardware, never behaviour: it reads sizes, encodings and the quantised model.
GOLDEN_MAY = re.compile(r"(rtl\.config|rtl\.isa|compiler\.quantised|sim\.golden\w*)(\.|$)")


def imported(source: str) -> Iterator[tuple[int, str]]:
    """Line and full name of each import of a file, those inside functions included.

    ``from sim import golden`` yields ``sim.golden``: whether that is a module or a name in one, it is what is used.
    """
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                yield node.lineno, "." * node.level + (node.module or "")
            else:
                yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def is_golden(path: Path) -> bool:
    return path.parts[0] == "sim" and path.parts[1].startswith("golden")


def violations(path: Path, source: str) -> list[str]:
    """What a file, by its path in the repository, imports and must not."""
    found: list[str] = []
    for line, name in imported(source):
        package = name.partition(".")[0]
        if not package:
            found.append(f"{path}:{line}: imports {name} relatively; name its package")
        elif package not in OURS:
            continue
        elif package not in ALLOWED[path.parts[0]]:
            found.append(f"{path}:{line}: {path.parts[0]} must not import {name}")
        elif is_golden(path) and not GOLDEN_MAY.match(name):
            found.append(f"{path}:{line}: the golden model must not import {name}")
    return found


def sources() -> list[Path]:
    return sorted(path.relative_to(ROOT) for package in ALLOWED for path in (ROOT / package).rglob("*.py"))


def test_imports_follow_the_arrows() -> None:
    found = [line for path in sources() for line in violations(path, (ROOT / path).read_text())]
    assert not found, "\n".join(found)


def test_there_is_something_to_check() -> None:
    assert {path.parts[0] for path in sources()} >= {"rtl", "compiler", "sim", "verification"}


@pytest.mark.parametrize(
    ("path", "source", "complaint"),
    [
        ("rtl/core.py", "from compiler.lower import lower", "rtl must not import compiler.lower"),
        ("compiler/lower.py", "def f():\n    import sim.cycle", "lower.py:2: compiler must not import sim.cycle"),
        ("sim/cycle.py", "import numpy, fpga.board as board", "sim must not import fpga.board"),
        ("fpga/board.py", "from verification import runner", "fpga must not import verification.runner"),
        ("sim/cycle.py", "from models import checkpoint", "sim must not import models.checkpoint"),
        ("verification/runner.py", "from tests.helpers import x", "verification must not import tests.helpers"),
        ("rtl/core.py", "from .config import Config", "imports .config relatively"),
        ("sim/golden.py", "from compiler.schedule import Schedule", "golden model must not import compiler.schedule"),
        ("sim/golden_ops.py", "from rtl import mesh", "golden model must not import rtl.mesh"),
        ("sim/golden/ops.py", "from sim import cycle", "golden model must not import sim.cycle"),
        ("sim/golden.py", "from rtl.config_reader import x", "golden model must not import rtl.config_reader"),
        ("sim/golden.py", "from rtl.config import Config\nfrom sim.golden_ops import f\nimport numpy as np", ""),
        ("sim/golden_ops.py", "from compiler.quantised import Quantised\nfrom rtl import isa", ""),
        ("verification/bench.py", "from fpga.board import Board\nimport models.grammar\nimport cocotb", ""),
    ],
)
def test_the_check_finds_seeded_violations_and_nothing_else(path: str, source: str, complaint: str) -> None:
    found = violations(Path(path), source)
    if complaint:
        assert complaint in " ".join(found)
    else:
        assert found == []
