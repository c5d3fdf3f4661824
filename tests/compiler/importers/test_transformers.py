"""The float reference against the `transformers` library, on random models of every architecture.

Its logits are recorded in transformers_logits.json, so that this runs everywhere. Where the library is installed
(`pip install .[reference]`) they are computed again, in one pass over all tokens and token by token; and
`python -m tests.compiler.importers.test_transformers` records them.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from compiler.importers.huggingface import load_folder
from sim.reference import Reference
from tests.compiler.importers.folders import CASES, Case, write_folder

RECORDED = Path(__file__).with_name("transformers_logits.json")
TOKENS = [1, 7, 33, 4, 4, 20, 47, 11, 2, 9, 38, 16, 5, 29, 40, 8, 3, 25, 13, 45, 6, 31]
RELATIVE = 1e-4
HAVE = all(importlib.util.find_spec(name) for name in ("torch", "transformers"))


def difference(found: npt.NDArray[Any], expected: npt.NDArray[Any]) -> float:
    """The largest difference, beside the largest logit."""
    return float(np.abs(found - expected).max() / np.abs(expected).max())


def ours(case: Case, folder: Path) -> npt.NDArray[Any]:
    """(tokens, vocab) logits of the float reference on the imported folder."""
    return Reference(load_folder(write_folder(case, folder))[0]).prefill(TOKENS)


def libraries() -> tuple[Any, Any]:
    """torch and transformers, which need not be there."""
    return importlib.import_module("torch"), importlib.import_module("transformers")


def theirs(case: Case, folder: Path) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """(tokens, vocab) logits of the library: all tokens at once, and one by one with its cache."""
    torch, transformers = libraries()
    path = str(write_folder(case, folder))
    model: Any = transformers.AutoModelForCausalLM.from_pretrained(path, local_files_only=True, dtype=torch.float32)
    model.eval()
    with torch.no_grad():
        whole = model(torch.tensor([TOKENS])).logits[0].numpy()
        steps, cache = list[npt.NDArray[Any]](), None
        for token in TOKENS:
            out = model(torch.tensor([[token]]), past_key_values=cache, use_cache=True)
            cache = out.past_key_values
            steps.append(out.logits[0, 0].numpy())
    return whole, np.array(steps)


@pytest.mark.parametrize("name", CASES)
def test_the_reference_agrees_with_what_the_library_gave(name: str, tmp_path: Path) -> None:
    expected = np.array(json.loads(RECORDED.read_text())["logits"][name])
    found = ours(CASES[name], tmp_path / "model")
    assert found.shape == (len(TOKENS), CASES[name].model.shape.vocab)
    assert difference(found, expected) < RELATIVE


@pytest.mark.skipif(not HAVE, reason="needs torch and transformers: pip install .[reference]")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", CASES)
def test_the_reference_agrees_with_the_library(name: str, tmp_path: Path) -> None:
    found, (whole, steps) = ours(CASES[name], tmp_path / "model"), theirs(CASES[name], tmp_path / "model")
    assert difference(found, whole) < RELATIVE
    assert difference(found, steps) < RELATIVE


# What a model does that a plain Llama does not: left out, the logits must be others, or the comparison shows nothing.
WITHOUT: dict[str, dict[str, Any]] = {
    "qwen2": {"q_bias": None, "k_bias": None, "v_bias": None}, "qwen3": {"q_norm": None, "k_norm": None}}
PLAINER: dict[str, dict[str, Any]] = {
    "llama 3": {"rope": replace(CASES["llama 3"].model.traits.rope, scaling=None)},
    "llama, linear": {"rope": replace(CASES["llama, linear"].model.traits.rope, scaling=None)},
    "mistral": {"window": 6}, "qwen2": {"norm_epsilon": 1e-5}, "qwen2, window": {"window": 3},
    "mixtral": {"experts_used": 3}}


@pytest.mark.parametrize("name", sorted({*WITHOUT, *PLAINER}))
def test_each_difference_between_the_architectures_shows_in_the_logits(name: str) -> None:
    model = CASES[name].model
    expected = np.array(json.loads(RECORDED.read_text())["logits"][name])
    changed = [replace(model, **WITHOUT[name])] if name in WITHOUT else []
    changed += [replace(model, traits=replace(model.traits, **PLAINER[name]))] if name in PLAINER else []
    for other in changed:
        assert difference(Reference(other).prefill(TOKENS), expected) > 5 * RELATIVE


def record() -> None:
    """Write the library's logits."""
    torch, transformers = libraries()
    found: dict[str, list[list[float]]] = {}
    for name, case in CASES.items():
        with tempfile.TemporaryDirectory() as folder:
            found[name] = [[float(f"{x:.7g}") for x in row] for row in theirs(case, Path(folder) / "model")[0].tolist()]
    RECORDED.write_text(json.dumps({
        "transformers": transformers.__version__, "torch": torch.__version__, "logits": found}) + "\n")


if __name__ == "__main__":
    record()
