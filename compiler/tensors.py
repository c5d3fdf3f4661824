"""Where named tensors lie in the machine after a token, for comparisons between devices.

`first` is a row (vector memory) or a vector (activation memory), `index` maps the machine's elements to the model's
channels, -1 for padding. Layers share their buffers: after a token they hold the last layer's.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from compiler.geometry import Index
from compiler.layout import Layout


def tensor_map(layout: Layout, sequences: int = 1) -> dict[str, Any]:
    """name -> {"space": "vector" | "act", "first": address, "index": channels}.

    Names are the golden model's; those of further sequences have the sequence's number before them ("1:final.x8").
    """
    return {f"{sequence}:{name}" if sequence else name: entry for sequence in range(sequences)
            for name, entry in _own(layout.of(sequence)).items()}


def _own(layout: Layout) -> dict[str, Any]:
    """Of the layout's own sequence."""
    g = layout.geometry
    last = g.shape.layers - 1
    x: Index = np.arange(g.x_blocks * g.config.lanes)
    x = np.where(x < g.shape.dim, x, -1)
    hidden: Index = np.arange(g.hidden_blocks * g.config.lanes)
    hidden = np.where(hidden < g.shape.hidden, hidden, -1)
    heads = g.head_map(g.shape.heads)
    keys = g.head_map(g.shape.kv_heads)
    entries = {
        "x": ("vector", layout.x, x), "q": ("vector", layout.wide, heads), "q8": ("act", layout.q_act, heads),
        "k": ("vector", layout.wide + layout.matrices["wq"].blocks, keys), "gate": ("vector", layout.silu, hidden),
        "h": ("vector", layout.hidden, hidden), "h8": ("act", layout.hidden_act, hidden),
        "o8": ("act", layout.attention_act, g.attention_map())}
    named = {f"layer{last}.{name}": entry for name, entry in entries.items()} | {"final.x8": ("act", layout.x, x)}
    for logits in (one for one in layout.vector.regions if one.name == "logits"):  # what they lie over is gone
        vocab = layout.matrices["classifier"].outputs
        named = {name: entry for name, entry in named.items() if entry[0] != "vector" or not (
            logits.start - len(entry[2]) // g.config.lanes < entry[1] < logits.start + logits.size)}
        named["logits"] = ("vector", layout.logits, vocab)
    return {name: {"space": space, "first": first, "index": index.tolist()}
            for name, (space, first, index) in named.items()}
