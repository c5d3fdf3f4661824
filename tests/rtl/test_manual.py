"""docs/isa.md is what rtl/isa.py says."""

from __future__ import annotations

from pathlib import Path

from rtl.manual import manual

MANUAL = Path(__file__).parents[2] / "docs" / "isa.md"


def test_the_manual_in_docs_is_generated_from_the_table() -> None:
    assert MANUAL.read_text(encoding="utf-8").strip() == manual().strip(), "stale: run `make docs`"


def test_a_changed_field_would_be_noticed() -> None:
    assert "| `grouped` |" in manual()
    assert MANUAL.read_text(encoding="utf-8").replace("`grouped`", "`other`").strip() != manual().strip()
