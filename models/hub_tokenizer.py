"""A tokenizer of `models.bpe` as tokenizer.json, for the `tokenizers` library: a story has the same tokens in both."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from models import bpe

FILE = "tokenizer.json"
SPACE = "\u2581"  # as SentencePiece writes a space
SPECIALS = ("<unk>", "<s>", "</s>")


def save(folder: Path, tokenizer: bpe.Tokenizer) -> None:
    """Write tokenizer.json."""
    pieces = [*SPECIALS, *(piece.replace(" ", SPACE) for piece in tokenizer.pieces[len(SPECIALS):])]
    known = set(pieces)
    ranked = sorted((i for i, piece in enumerate(pieces) if i >= len(SPECIALS) and len(piece) > 1),
                    key=lambda i: -tokenizer.scores[i])
    # llama2.c joins any two pieces whose text together is a piece; here every such pair is a merge of its own.
    merges = [[pieces[i][:cut], pieces[i][cut:]] for i in ranked for cut in range(1, len(pieces[i]))
              if pieces[i][:cut] in known and pieces[i][cut:] in known]
    special = [{"id": i, "content": piece, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
                "special": True} for i, piece in enumerate(SPECIALS)]
    write_json(folder / FILE, {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": special,
        "normalizer": {"type": "Sequence", "normalizers": [
            {"type": "Prepend", "prepend": SPACE},
            {"type": "Replace", "pattern": {"String": " "}, "content": SPACE}]},
        "pre_tokenizer": {"type": "Split", "pattern": {"Regex": f"{SPACE}?[A-Za-z']+|{SPACE}?[^A-Za-z'{SPACE}]+"},
                          "behavior": "Isolated", "invert": False},
        "post_processor": {
            "type": "TemplateProcessing", "single": [{"SpecialToken": {"id": SPECIALS[1], "type_id": 0}},
                                                     {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {SPECIALS[1]: {"id": SPECIALS[1], "ids": [bpe.BEGIN], "tokens": [SPECIALS[1]]}}},
        "decoder": {"type": "Sequence", "decoders": [
            {"type": "Replace", "pattern": {"String": SPACE}, "content": " "}, {"type": "Fuse"},
            {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
        "model": {"type": "BPE", "dropout": None, "unk_token": SPECIALS[0], "continuing_subword_prefix": None,
                  "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
                  "vocab": {piece: i for i, piece in enumerate(pieces)}, "merges": merges}})


def load(folder: Path) -> bpe.Tokenizer:
    """Read what `save` wrote."""
    model = json.loads((folder / FILE).read_text(encoding="utf-8"))["model"]
    pieces = [*bpe.SPECIALS, *(piece.replace(SPACE, " ") for piece in list(model["vocab"])[len(SPECIALS):])]
    ranks: dict[str, int] = {}
    for left, right in model["merges"]:
        ranks.setdefault((left + right).replace(SPACE, " "), len(ranks))
    return bpe.Tokenizer(pieces, [-float(ranks.get(piece, 0)) for piece in pieces])


def write_json(path: Path, content: dict[str, Any]) -> None:
    """One file of the folder."""
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
