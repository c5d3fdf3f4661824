"""Files of the checkpoints: tokenizer round trip, llama2.c layout, and what the committed models can do in float."""

from __future__ import annotations

import math
import struct
from pathlib import Path

import numpy as np
import pytest

from models import bpe, checkpoint
from models.grammar import tell_many
from models.loss import measure
from models.presets import PRESETS, Preset
from models.sampler import load_tokenizer, sample
from models.score import score

each_preset = pytest.mark.parametrize("preset", PRESETS.values(), ids=lambda p: p.name)
each_dense = pytest.mark.parametrize("preset", [p for p in PRESETS.values() if not p.experts], ids=lambda p: p.name)


def encode_whole_text(tokenizer: bpe.Tokenizer, text: str) -> list[int]:
    """llama2.c's algorithm on the whole text at once, without the chunks that make ours fast."""
    ids_of = {piece: i for i, piece in enumerate(tokenizer.pieces) if i > bpe.END}
    ids = [ids_of[character] for character in " " + text]
    while True:
        best_score, best_at, best_id = -math.inf, -1, -1
        for at in range(len(ids) - 1):
            merged = ids_of.get(tokenizer.pieces[ids[at]] + tokenizer.pieces[ids[at + 1]])
            if merged is not None and tokenizer.scores[merged] > best_score:
                best_score, best_at, best_id = tokenizer.scores[merged], at, merged
        if best_at < 0:
            return ids
        ids[best_at:best_at + 2] = [best_id]


@each_preset
def test_chunked_encoding_is_that_of_llama2c(preset: Preset) -> None:
    tokenizer = load_tokenizer(preset.folder)
    for story in tell_many(30, 6, preset.profile):
        ids = tokenizer.encode(story.text)
        assert ids == encode_whole_text(tokenizer, story.text)
        assert tokenizer.decode(ids) == story.text


@each_dense
def test_tokenizer_file_has_the_layout_of_llama2c(preset: Preset, tmp_path: Path) -> None:
    data = (preset.folder / "tokenizer.bin").read_bytes()
    longest, offset, pieces = struct.unpack_from("<i", data)[0], 4, []
    while offset < len(data):
        _, length = struct.unpack_from("<fi", data, offset)
        pieces.append(data[offset + 8:offset + 8 + length])
        offset += 8 + length
    assert len(pieces) == preset.shape.vocabulary and max(map(len, pieces)) == longest
    assert pieces[1:3] == [b"\n<s>\n", b"\n</s>\n"] and len(set(pieces)) == len(pieces)
    bpe.Tokenizer.load(preset.folder / "tokenizer.bin").save(tmp_path / "again.bin")
    assert (tmp_path / "again.bin").read_bytes() == data


def test_unknown_characters_are_an_error() -> None:
    tokenizer = bpe.train(["Lily was a cat."], 20)
    with pytest.raises(ValueError, match="not in the vocabulary"):
        tokenizer.encode("Zoë")


@each_dense
def test_checkpoint_file_is_what_its_preset_says(preset: Preset, tmp_path: Path) -> None:
    shape, arrays = checkpoint.load(preset.folder / "model.bin")
    assert shape == preset.shape
    assert all(np.isfinite(array).all() for array in arrays.values())
    checkpoint.save(tmp_path / "again.bin", shape, arrays)
    assert (tmp_path / "again.bin").read_bytes() == (preset.folder / "model.bin").read_bytes()


@each_preset
def test_loss_is_near_the_entropy_of_the_grammar(preset: Preset) -> None:
    """On 10 stories, so the bound is wide; the cards have the numbers for 1000."""
    stories = tell_many(10, 8, preset.profile)
    floor = -sum(story.log_probability for story in stories)
    assert 0.98 * floor < measure(preset.folder, [story.text for story in stories]).nats < 1.08 * floor


@pytest.mark.parametrize(("name", "least"), [("fables260k", 0.80), ("fables80k", 0.76), ("fables43k", 0.76),
                                              ("fables75k-w4", 0.88), ("fables96k-w4", 0.88), ("fables275k-moe", 0.88)])
def test_sampled_stories_are_accepted(name: str, least: float) -> None:
    print("seed 0")
    report = score(sample(PRESETS[name].folder, count=25, temperature=0.8, seed=0))
    assert report.total == 25 and report.rate >= least, str(report)


def test_sampling_is_repeatable() -> None:
    folder = PRESETS["fables80k"].folder
    first, again = (sample(folder, count=3, temperature=0.8, seed=1) for _ in range(2))
    assert first == again != sample(folder, count=3, temperature=0.8, seed=2)


def test_score_counts_and_gives_reasons() -> None:
    good = tell_many(1, 9)[0].text
    report = score([good, good.removesuffix("."), "nonsense"])
    assert (report.total, report.accepted, report.distinct) == (3, 1, 3)
    assert all(rejection.problems for rejection in report.rejections)
    assert score([]).rate == 0.0
