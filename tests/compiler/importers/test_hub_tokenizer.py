"""tokenizer.json and tokenizer.model: the libraries' tokens, our bytes, and both again out of an image."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

from compiler.errors import InputError
from compiler.importers.hub_tokenizer import JsonTokenizer, SentencePieceTokenizer, load_hub_tokenizer
from compiler.tokenizer import AnyTokenizer, Decoder, parse_tokenizer
from sim.generate import encode_prompt
from tests.compiler.importers.folders import CASES, byte_level, spaced, write_folder

TEXTS = ["a", "the once", " a the", "abc", "h\u00e9 a", "a\n b", "cab bc", "!"]


def from_json(tokenizer: Any) -> JsonTokenizer:
    return JsonTokenizer(tokenizer.to_str().encode(), vocab=tokenizer.get_vocab_size(), begin=0,
                         stops=frozenset({1, 2}), where="here")


def told(tokenizer: AnyTokenizer, tokens: list[int]) -> str:
    """As a story is printed: token by token."""
    decoder = Decoder(tokenizer, after=None)
    return "".join(decoder.push(token) for token in tokens) + decoder.finish()


@pytest.mark.parametrize("library", [byte_level(48), spaced()], ids=["byte level", "spaced"])
@pytest.mark.parametrize("text", TEXTS)
def test_tokens_are_the_librarys_and_so_is_the_text(library: Any, text: str) -> None:
    ours = from_json(library)
    tokens = [*ours.prefix, *ours.encode(text)]
    assert tokens == library.encode(text).ids
    assert told(ours, tokens) == library.decode(tokens)


@pytest.mark.parametrize("library", [byte_level(48), spaced()], ids=["byte level", "spaced"])
def test_an_image_carries_it(library: Any) -> None:
    ours = from_json(library)
    again = parse_tokenizer(ours.file(), "image")
    assert (len(again), again.begin, again.prefix, again.stops) == (len(ours), 1, (1,), {1, 2})
    assert again.encode("the once") == ours.encode("the once")


def test_a_character_in_several_tokens_is_printed_once_it_is_whole() -> None:
    library = byte_level(30 + 3)  # without the merge that joins its bytes
    ours = from_json(library)
    decoder = Decoder(ours)
    assert [decoder.push(token) for token in ours.encode("\u00e9")] == ["", "\u00e9"]


def test_a_model_without_a_first_token_begins_with_the_prompt(tmp_path: Path) -> None:
    folder = write_folder(CASES["qwen2"], tmp_path / "model")
    content = json.loads((folder / "tokenizer.json").read_text())
    content["post_processor"] = None
    (folder / "tokenizer.json").write_text(json.dumps(content))
    tokenizer, path = load_hub_tokenizer(folder, CASES["qwen2"].model)
    assert path.name == "tokenizer.json"
    assert (tokenizer.prefix, tokenizer.begin) == ((), 1)
    assert encode_prompt(tokenizer, None, 9) == [1]
    assert encode_prompt(tokenizer, "a", 9) == tokenizer.encode("a")


def test_chat_models_stop_at_each_of_their_ends(tmp_path: Path) -> None:
    folder = write_folder(CASES["llama"], tmp_path / "model")
    assert load_hub_tokenizer(folder, CASES["llama"].model)[0].stops == {1, 2}
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [2, 40]}))
    assert load_hub_tokenizer(folder, CASES["llama"].model)[0].stops == {1, 2, 40}


@pytest.mark.parametrize("vocab", [48, 50])
def test_a_vocabulary_that_is_rounded_up_is_the_models_own(vocab: int) -> None:
    library = byte_level(48)
    ours = JsonTokenizer(library.to_str().encode(), vocab=vocab, begin=1, stops=frozenset(), where="here")
    assert len(ours) == vocab
    assert ours.piece(vocab - 1) == (b"" if vocab > 48 else ours.piece(47))


@pytest.mark.parametrize("vocab", [47, 60])
def test_another_models_tokenizer_is_refused(vocab: int) -> None:
    with pytest.raises(InputError, match="use the model's own"):
        JsonTokenizer(byte_level(48).to_str().encode(), vocab=vocab, begin=1, stops=frozenset(), where="here")


def sentencepiece_model() -> bytes:
    """Trained here, on a few lines of nothing."""
    import sentencepiece

    sentencepiece.set_min_log_level(3)  # it talks
    made = io.BytesIO()
    lines = ["the cat sat on the mat", "a dog ran to the cat", "once there was a fox", "the fox ate the cheese"] * 3
    sentencepiece.SentencePieceTrainer.Train(
        sentence_iterator=iter(lines), model_writer=made, vocab_size=290, model_type="bpe", byte_fallback=True,
        character_coverage=1.0, hard_vocab_limit=False, minloglevel=3)
    return made.getvalue()


def test_sentencepiece(tmp_path: Path) -> None:
    import sentencepiece

    content = sentencepiece_model()
    processor: Any = sentencepiece.SentencePieceProcessor(model_proto=content)
    ours = SentencePieceTokenizer(content, vocab=processor.GetPieceSize(), stops=frozenset({2}), where="here")
    assert (ours.begin, ours.prefix) == (1, (1,))
    for text in ("the cat", "a fox \u00e9 sat", "Q"):
        tokens = ours.encode(text)
        assert tokens == processor.EncodeAsIds(text)
        assert told(ours, [*ours.prefix, *tokens]) == text
    again = parse_tokenizer(ours.file(), "image")
    assert again.encode("the cat") == ours.encode("the cat")
    assert again.stops == {2}


def test_a_piece_that_is_no_utf_8_is_refused() -> None:
    content = sentencepiece_model()
    piece = "\u2581the".encode()
    damaged = content.replace(piece, piece.replace(b"t", b"\xe3"), 1)
    assert damaged != content
    with pytest.raises(InputError, match="here is no SentencePiece model: 'utf-8' codec"):
        SentencePieceTokenizer(damaged, vocab=300, stops=frozenset(), where="here")


@pytest.mark.parametrize(("data", "message"), [
    (b'{"', "is no JSON"), (b'{"format": "x"}', "has no content"), (b'{"content": "*"}', "no base64"),
    (b'{"content": "", "vocab": 1, "format": "x"}', "has the format 'x'")])
def test_damaged_tokenizers_of_images(data: bytes, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_tokenizer(data, "the image's tokenizer")
