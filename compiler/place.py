"""Placing: the model's integers into the machine's memories, by the index maps of the Layout."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from compiler.errors import InputError
from compiler.geometry import Index
from compiler.layout import Layout, Matrix
from compiler.lower import shift_constants
from compiler.prepare import ONE_HOT
from compiler.quantised import Layer, Linear, QuantisedModel
from rtl.isa import Plane


def _gather(values: npt.NDArray[np.generic], index: Index, axis: int) -> npt.NDArray[np.generic]:
    """values[index] along an axis, zero where the index is -1."""
    taken = np.take(values, np.maximum(index, 0), axis=axis)
    shape = [1] * values.ndim
    shape[axis] = len(index)
    return np.where((index >= 0).reshape(shape), taken, 0).astype(values.dtype)


def _rows(matrix: Matrix, weights: npt.NDArray[np.int8], lanes: int, taps: int) -> npt.NDArray[np.int8]:
    """(blocks, steps, lanes, taps): what the banks hold, one row a step."""
    padded = _gather(_gather(weights, matrix.outputs, 0), matrix.inputs, 1)
    return padded.reshape(matrix.blocks, lanes, matrix.steps, taps).transpose(0, 2, 1, 3).astype(np.int8)


def in_plane(weights: npt.NDArray[np.int8], plane: Plane) -> npt.NDArray[np.int8]:
    """What weights put into the bytes of a bank; the other half, if there is one, is zero."""
    return weights if plane is not Plane.LOW else (weights.view(np.uint8) >> 4).view(np.int8)


def _biases(layer: Layer) -> dict[str, Linear]:
    """A layer's biases by the names of their matrices."""
    every = {"bias q": layer.bias_q, "bias k": layer.bias_k, "bias v": layer.bias_v}
    return {name: bias for name, bias in every.items() if bias is not None}


def banks(model: QuantisedModel, layout: Layout) -> npt.NDArray[np.int8]:
    """(bank_rows, lanes, taps) int8: embedding, classifier, and each layer's weights; the caches start at zero."""
    g, config = layout.geometry, layout.geometry.config
    lanes, taps = config.lanes, config.taps
    memory = np.zeros((config.bank_rows, lanes, taps), np.int8)

    # Column c of the embedding is tap c % taps of row c // taps; a token owns embed_columns columns, lane n of
    # its column i is its channel i * lanes + n.
    vocab, columns = g.shape.vocab, g.embed_columns
    channels = np.zeros((vocab, columns * lanes), np.int8)
    channels[:, :g.shape.dim] = model.embed
    stream = channels.reshape(vocab * columns, lanes)
    stream = np.concatenate([stream, np.zeros((-len(stream) % taps, lanes), np.int8)])
    packed = stream.reshape(-1, taps, lanes).transpose(0, 2, 1)
    memory[layout.embed_row:layout.embed_row + len(packed)] = packed

    def put(name: str, linear: Linear, base: int) -> None:
        if linear.weights.ndim == 3:
            for expert, weights in enumerate(linear.weights):
                put(name, replace(linear, weights=weights), base + expert * layout.expert_rows)
            return
        matrix = layout.matrices[name]
        rows = _rows(matrix, linear.weights, lanes, taps)
        for block in range(matrix.blocks):
            start = base + matrix.row + block * matrix.row_pitch
            memory[start:start + matrix.steps] |= in_plane(rows[block], matrix.plane)

    put("classifier", model.classifier, 0)
    for number, layer in enumerate(model.layers):
        base = number * layout.layer_rows
        for name, linear in (("wk", layer.wk), ("wq", layer.wq), ("wv", layer.wv), ("wo", layer.wo),
                             ("gate", layer.w1), ("up", layer.w3)):
            put(name, linear, base)
        for chunk in range(len(layout.hidden_chunks)):
            put(f"down{chunk}", layer.w2, base)
        for name, bias in _biases(layer).items():
            put(name, bias, base)
        if layer.router is not None:
            put("router", layer.router, base)
    return memory


def params(model: QuantisedModel, layout: Layout) -> npt.NDArray[np.uint8]:
    """(param_rows, lanes) uint8: requantise multipliers, and the RoPE rows (signed bytes)."""
    g, config = layout.geometry, layout.geometry.config
    lanes = config.lanes
    memory = np.zeros((config.param_rows, lanes), np.uint8)

    def put(row: int, values: npt.NDArray[np.uint8], index: Index) -> None:
        data = _gather(values, index, 0).reshape(-1, lanes)
        memory[row:row + len(data)] = data

    x = np.arange(g.x_blocks * lanes)
    put(layout.embed_param, model.embed_multiplier, np.where(x < g.shape.dim, x, -1))
    classifier = layout.matrices["classifier"]
    put(classifier.param, model.classifier.multiplier, classifier.outputs)

    element = np.arange(g.rope_period * lanes) % g.padded_head
    pair, real = np.minimum(element // 2, g.shape.head_dim // 2 - 1), element < g.shape.head_dim
    cos = np.where(real, model.rope_cos[:, pair], 0)  # (context, period * lanes)
    sin = np.where(real, model.rope_sin[:, pair], 0)
    rope = np.where(element % 2 == 0, cos, sin)  # each pair's cosine in its even lane, its sine in the odd one
    flat = rope.astype(np.int8).view(np.uint8)[:g.context].reshape(-1, lanes)
    memory[layout.rope_param:layout.rope_param + len(flat)] = flat

    for number, layer in enumerate(model.layers):
        base = number * layout.layer_params
        for name, linear in (("wk", layer.wk), ("wq", layer.wq), ("wv", layer.wv), ("wo", layer.wo), ("gate", layer.w1),
                             ("up", layer.w3), ("down0", layer.w2)):
            put(base + layout.matrices[name].param, linear.multiplier, layout.matrices[name].outputs)
        if layer.router is not None:
            put(base + layout.matrices["router"].param, layer.router.multiplier, layout.matrices["router"].outputs)
        for name, bias in _biases(layer).items():
            put(base + layout.matrices[name].param, bias.multiplier, layout.matrices[name].outputs)
        for name, inverse in (("wq", layer.head_q), ("wk", layer.head_k)):
            for at, (block, head) in enumerate(layout.head_passes.get(name, ())):
                outputs = layout.matrices[name].outputs[block * lanes:][:lanes]
                mine = outputs // g.shape.head_dim == head  # padding is -1, of no head
                assert inverse is not None
                put(base + layout.head_params[name] + at, inverse, np.where(mine, outputs, -1))
        vectors = g.shape.queries_per_kv * g.value_blocks
        put(base + layout.attention_param, layer.attention, g.attention_map()[:vectors * lanes])
    return memory


def activations(layout: Layout) -> npt.NDArray[np.int8]:
    """(act_rows, act_width) int8: the one-hot words; everything else starts at zero."""
    config = layout.geometry.config
    memory = np.zeros(config.act_rows * config.act_width, np.int8)
    for tap in range(config.taps):
        memory[layout.onehot_act * config.lanes + tap * config.taps + tap] = ONE_HOT
    return memory.reshape(config.act_rows, config.act_width)


def constants(model: QuantisedModel, layout: Layout) -> npt.NDArray[np.uint8]:
    """(constants,) uint8: the shifts of the layers."""
    memory = np.zeros(layout.geometry.config.constants, np.uint8)
    values = shift_constants(model)
    memory[:len(values)] = values
    return memory


def check_accumulators(model: QuantisedModel, layout: Layout) -> None:
    """Proves that no accumulator can overflow. Raises InputError naming the matrix that could."""
    config = layout.geometry.config
    limit = (1 << config.acc_bits - 1) - 1
    worst = [("embedding", 128 * ONE_HOT), ("attention (context)", layout.geometry.padded_context * 127 * 128),
             ("scores", layout.geometry.shape.head_dim * 128 * 128), ("classifier", _worst(model.classifier))]
    for number, layer in enumerate(model.layers):
        worst += [(f"layer {number} {name}", _worst(getattr(layer, name)))
                  for name in ("wq", "wk", "wv", "wo", "w1", "w2", "w3", "router") if getattr(layer, name) is not None]
    for name, most in worst:
        if most > limit:
            raise InputError(
                f"{name} could reach {most} in an accumulator of {config.acc_bits} bits; {config.name} holds {limit}")


def _worst(linear: Linear) -> int:
    return int(np.abs(linear.weights.astype(np.int64)).sum(axis=-1).max()) * 128
