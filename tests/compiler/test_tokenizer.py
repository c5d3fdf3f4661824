"""llama2.c tokenizers: text to tokens and back, and files that are not one."""

import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compiler.errors import InputError
from compiler.tokenizer import BEGIN, END, Decoder, Tokenizer, load_tokenizer, parse_tokenizer

SPECIALS = [b"<unk>", b"\n<s>\n", b"\n</s>\n"]
BYTES = [f"<0x{value:02X}>".encode() for value in range(256)]
MERGES = [b" a", b"ab", b" ab", b"bc", b"abc", "é".encode()]
CHARACTERS = [bytes([c]) for c in b" abc<>0x4"]


def tokenizer(*, with_bytes: bool) -> Tokenizer:
    pieces = [*SPECIALS, *(BYTES if with_bytes else []), *MERGES, *CHARACTERS]
    scores = [-float(i) for i in range(len(pieces))]
    return Tokenizer(pieces, scores)


def pieces_of(t: Tokenizer, text: str) -> list[bytes]:
    return [t.pieces[i] for i in t.encode(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("a", [b" a"]),
        ("ab", [b" ab"]),  # " a" has a better score than "ab", and " ab" joins it then
        ("bc", [b" ", b"bc"]),
        ("abc", [b" ab", b"c"]),
        ("cabc", [b" ", b"c", b"abc"]),
        ("abab", [b" ab", b"ab"]),
        ("é", [b" ", "é".encode()]),
        ("ü", [b" ", b"<0xC3>", b"<0xBC>"]),
        ("\n", [b" ", b"<0x0A>"]),
    ],
)
def test_the_best_pair_merges_first(text: str, expected: list[bytes]) -> None:
    assert pieces_of(tokenizer(with_bytes=True), text) == expected


def test_text_that_names_a_byte_piece_is_not_that_byte() -> None:
    t = tokenizer(with_bytes=True)
    assert t.decode([BEGIN, *t.encode("<0x44>")]) == "<0x44>"


def test_without_byte_tokens_the_unknown_character_is_named() -> None:
    with pytest.raises(InputError, match=r"'ü' \(U\+00FC\) is not in this model's vocabulary"):
        tokenizer(with_bytes=False).encode("aü")


@given(st.text(max_size=40))
def test_any_text_survives_byte_fallback(text: str) -> None:
    t = tokenizer(with_bytes=True)
    try:
        text.encode()
    except UnicodeEncodeError:
        return  # lone surrogates are no text
    ids = t.encode(text)
    assert t.decode([BEGIN, *ids]) == text
    decoder = Decoder(t)
    assert "".join(decoder.push(i) for i in ids) + decoder.finish() == text


def test_only_after_begin_is_the_leading_space_taken_off() -> None:
    t = tokenizer(with_bytes=False)
    space_a = t.encode("a")[0]
    assert t.decode([BEGIN, space_a, space_a]) == "a a"
    assert t.decode([space_a]) == " a"
    assert t.decode([BEGIN, space_a, END, BEGIN, space_a]) == "aa"


def test_the_stream_keeps_back_unfinished_characters() -> None:
    t = tokenizer(with_bytes=True)
    decoder = Decoder(t)
    pushed = [decoder.push(i) for i in t.encode("ü€")]
    assert pushed == ["", "", "ü", "", "", "€"]
    decoder.push(t.encode("ü")[1])
    assert decoder.finish() == "�"


def test_a_written_tokenizer_reads_back() -> None:
    t = tokenizer(with_bytes=True)
    again = parse_tokenizer(t.file(), "memory", vocab=len(t))
    assert (again.pieces, again.scores) == (t.pieces, t.scores)


WHOLE = tokenizer(with_bytes=False).file()


@pytest.mark.parametrize(
    ("data", "vocab", "message"),
    [
        (b"", None, "no llama2.c tokenizer"),
        (b"\0\0\0\0" + WHOLE[4:], None, "no llama2.c tokenizer"),
        (WHOLE[:-1], None, "truncated in the text of token"),
        (WHOLE[:-4], None, "truncated in the entry of token"),
        (WHOLE[:4] + struct.pack("<fi", 0, 99) + WHOLE[12:], None, "token 0 has length 99"),
        (WHOLE[:4] + struct.pack("<fi", float("nan"), 5) + WHOLE[12:], None, "token 0 has length 5 and score nan"),
        (WHOLE, 512, "has 18 tokens, the model's vocabulary has 512"),
        (WHOLE[:4], None, "has only 0 tokens"),
        (b"GIF89a" + bytes(100), None, "no llama2.c tokenizer"),
    ],
)
def test_bad_files_say_what_is_wrong(data: bytes, vocab: int | None, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_tokenizer(data, "tok.bin", vocab=vocab)


def test_a_missing_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"does not exist, expected a llama2\.c tokenizer"):
        load_tokenizer(tmp_path / "tok.bin")


def test_tokens_outside_the_vocabulary_are_refused() -> None:
    with pytest.raises(InputError, match="token 18 is not in the vocabulary"):
        tokenizer(with_bytes=False).decode([18])
