"""`random:NAME`: the same model each time, whose tokens print as their numbers."""

from __future__ import annotations

import numpy as np
import pytest

from compiler.errors import InputError
from compiler.library import open_model
from compiler.random_model import RANDOM_SHAPES


def test_the_same_weights_each_time():
    (model, tokenizer, provenance), (again, _, same) = open_model("random:odd"), open_model("random:odd")
    assert model.shape == RANDOM_SHAPES["odd"] and provenance.name == "random:odd"
    assert np.array_equal(model.w2, again.w2) and provenance == same
    assert provenance.checkpoint_sha256 != open_model("random:small")[2].checkpoint_sha256
    assert len(tokenizer) == model.shape.vocab and tokenizer.decode([7, 32]) == " 7 32"


@pytest.mark.parametrize("name", ["random:", "random:huge"])
def test_a_shape_without_a_name(name: str):
    with pytest.raises(InputError, match=f"no model '{name}'; .* random:small, random:odd"):
        open_model(name)
