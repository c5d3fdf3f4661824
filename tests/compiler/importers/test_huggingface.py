"""Hugging Face folders: each architecture is read back to the weights that were written, in every number format."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from compiler.errors import InputError
from compiler.importers.huggingface import load_folder
from compiler.library import open_model, shortened
from tests.compiler.importers.folders import CASES, configuration, write_folder


@pytest.mark.parametrize("name", CASES)
def test_what_was_written_is_read(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    model, files = load_folder(write_folder(case, tmp_path / "model"))
    assert (model.shape, model.traits, model.begin) == (case.model.shape, case.model.traits, 1)
    assert [path.name for path in files] == ["config.json", "model.safetensors"]
    found, expected = model.tensors(), case.model.tensors()
    assert found.keys() == expected.keys()
    for tensor, value in expected.items():
        np.testing.assert_array_equal(found[tensor], value, err_msg=tensor)
    assert (model.classifier is model.embed) == case.tied


@pytest.mark.parametrize(("dtype", "bits"), [("F16", 11), ("BF16", 7)])
@pytest.mark.parametrize("index", [True, False])
def test_halves_of_floats_in_several_files(dtype: str, bits: int, index: bool, tmp_path: Path) -> None:
    case = CASES["llama"]
    model, files = load_folder(write_folder(case, tmp_path / "model", dtype=dtype, shards=3, index=index))
    assert len(files) == 4
    for tensor, value in case.model.tensors().items():
        np.testing.assert_allclose(model.tensors()[tensor], value, rtol=2.0**-bits, atol=1e-7)


def test_old_and_new_files_say_the_same_of_the_rotation(tmp_path: Path) -> None:
    case = CASES["llama 3"]
    folder = write_folder(case, tmp_path / "model")
    content = configuration(case)
    scaling = content.pop("rope_scaling")
    (folder / "config.json").write_text(json.dumps(
        content | {"rope_parameters": {**scaling, "rope_theta": content.pop("rope_theta")}}))
    assert load_folder(folder)[0].traits == case.model.traits


def test_a_mistral_file_that_is_silent_has_the_architectures_window(tmp_path: Path) -> None:
    case = CASES["mistral, no window"]
    folder = write_folder(case, tmp_path / "model")
    content = configuration(case) | {"max_position_embeddings": 8192}
    del content["sliding_window"]
    (folder / "config.json").write_text(json.dumps(content))
    assert load_folder(folder)[0].traits.window == 4096
    # No machine has so many positions, so none can see past the window.
    assert open_model(str(folder))[0].traits.window is None


def test_positions_beyond_every_machine_are_left_out() -> None:
    model = CASES["mistral"].model
    long = replace(model, shape=replace(model.shape, context=1 << 17))
    assert shortened(long).shape.context == 1024
    assert shortened(long).traits.window == 5


def test_frequencies_in_old_files_are_known_to_follow_from_the_configuration(tmp_path: Path) -> None:
    from safetensors.numpy import load, save

    folder = write_folder(CASES["llama"], tmp_path / "model")
    path = folder / "model.safetensors"
    path.write_bytes(save({**load(path.read_bytes()), "model.layers.0.self_attn.rotary_emb.inv_freq": np.ones(3)}))
    with pytest.raises(InputError, match="F64"):
        load_folder(folder)
    path.write_bytes(save({**load(path.read_bytes()),
                           "model.layers.0.self_attn.rotary_emb.inv_freq": np.ones(3, np.float32)}))
    load_folder(folder)
