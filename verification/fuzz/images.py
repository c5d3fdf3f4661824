"""Target: image files. Past the checksum where the damage is meant for what it protects."""

from __future__ import annotations

import io
import json
import random
import zlib
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, Final

import numpy as np
from rich.console import Console
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from compiler.compile import compile_model
from compiler.errors import InputError
from compiler.image import Image
from compiler.image_file import FORMAT, Tensors, checksum, image_bytes, load_image
from compiler.quantise import quantise
from compiler.quantised import Shape
from compiler.random_model import random_float_model
from compiler.sampling import temperature_of
from compiler.tokenizer import Tokenizer, parse_tokenizer
from rtl.config import PRESETS
from rtl.encoding import decode, disassemble
from rtl.isa import QUEUES
from sim.cycle import CycleSimulator, IllegalProgram
from sim.device import GoldenDevice
from sim.driver import memory_writes
from verification.fuzz.guard import plain
from verification.fuzz.mutate import corner, damage_bytes, damage_json, json_bytes
from verification.fuzz.target import Files, Target

FILE: Final = "model.lpu"
SHAPE: Final = Shape(dim=8, hidden=12, layers=1, heads=2, kv_heads=1, head_dim=4, vocab=10, context=6)
PIECES: Final = (b"<unk>", b"<s>", b"</s>", b" ", b"1", b"2", b" 1", b" 12", b"<0x0A>", b"2 ")
DEEP: Final = 16
"""One input in so many is also simulated, profiled and run: that takes as long as many loads."""
_DTYPES: Final = (
    np.int8, np.uint8, np.int16, np.uint16, np.int32, np.int64, np.uint64, np.float32, np.float64, np.bool_)


def seeds() -> Sequence[Files]:
    """Images for the smallest machine: with a model and labels, without, with a tokenizer of Hugging Face's kind."""
    model = quantise(random_float_model(SHAPE))
    tokenizer = Tokenizer(PIECES, [-float(number) for number in range(SHAPE.vocab)])
    made = compile_model(model, PRESETS["tiny"], tokenizer=tokenizer.file(), provenance={"name": "random"})
    whole = replace(made, model=model)
    return [{FILE: image_bytes(one)} for one in (whole, whole, replace(whole, labels=None, model=None, tokenizer=b""))]


def damage(rng: random.Random, files: Files) -> Files:
    """The file, its header, its description, or its tensors; the latter two with a new checksum."""
    data = files[FILE]
    kind = rng.random()
    if kind < 0.15:
        return {FILE: damage_bytes(rng, data, within=2000)}
    end = 8 + int.from_bytes(data[:8], "little")
    header: dict[str, Any] = json.loads(data[8:end])
    if kind < 0.25:
        text = json_bytes(rng, damage_json(rng, header))
        return {FILE: len(text).to_bytes(8, "little") + text + data[end:]}
    whole: dict[str, Any] = json.loads(header["__metadata__"][FORMAT])
    tensors = load_tensors(data)
    description: dict[str, Any] = whole["description"]
    if kind < 0.75:
        part = rng.choice([*description, "config", "model", "model"])
        if isinstance(description.get(part), dict | list) and rng.random() < 0.8:
            description[part] = damage_json(rng, description[part])
        else:
            description = damage_json(rng, description)
    else:
        _damage_tensors(rng, tensors)
    try:
        whole = {"description": description, "sha256": checksum(description, tensors)}
        return {FILE: save_tensors(tensors, {FORMAT: json.dumps(whole, sort_keys=True)})}
    except (ValueError, TypeError, UnicodeError):  # halves of surrogates, which the library does not write
        return {FILE: damage_bytes(rng, data)}


def _damage_tensors(rng: random.Random, tensors: Tensors) -> None:
    for _ in range(rng.choice((1, 1, 2))):
        name = rng.choice(sorted(tensors))
        tensor = tensors[name]
        kind = rng.randrange(6)
        if kind == 0:
            del tensors[name]
        elif kind == 1:
            tensors[name] = np.ascontiguousarray(tensor.astype(rng.choice(_DTYPES)))
        elif kind == 2:
            tensors[name] = np.ascontiguousarray(rng.choice((
                tensor[:-1], tensor.reshape(-1), tensor[None], np.concatenate((tensor, tensor)), tensor[:0])))
        elif kind == 3:
            tensors[rng.choice((name + "x", "model.layer9.wq.weights", "../x", "program."))] = tensor
        elif tensor.size:
            flat = tensor.reshape(-1).copy()
            for _ in range(rng.choice((1, 3, 50))):
                value = corner(rng) if kind == 4 else rng.getrandbits(8)
                flat[rng.randrange(flat.size)] = np.array(value & (1 << 64) - 1, np.uint64).astype(flat.dtype)
            tensors[name] = flat.reshape(tensor.shape)
        if not tensors:
            tensors["banks"] = tensor


def read(folder: Path) -> None:
    """Load an image and do with it what the commands do."""
    path = folder / FILE
    use(load_image(path), deep=zlib.crc32(path.read_bytes()) % DEEP == 0)


def use(image: Image, *, deep: bool) -> None:
    """What `lpu disasm`, `check`, `generate` and `profile` ask of an image. deep: run it too."""
    image.registers.words(image.config)
    for queue in QUEUES:
        for word in image.programs[queue.name]:
            disassemble(decode(image.config, queue, word))
    temperature_of(image)
    for _ in memory_writes(image, skip_zeros=True):
        pass
    if image.tokenizer:
        tokenizer = parse_tokenizer(image.tokenizer, "the image's tokenizer")
        tokenizer.decode(tokenizer.encode(" 1 2"))
    if image.labels is not None:
        for queue in QUEUES:
            for _ in islice(image.labels.events(queue.name, 1, classify=True), 1000):
                pass
    if not deep:
        return
    if image.model is not None:
        golden = GoldenDevice(image)
        golden.reset()
        golden.advance([0] * image.sequences, classify=True)
    simulator = CycleSimulator(image)
    simulator.advance([0] * image.sequences, classify=True)
    _profile(image)


def _profile(image: Image) -> None:
    """`lpu profile`, as it prints."""
    from sim.commands import common, profile
    from sim.profile import profile as take_apart
    from sim.profile.report import report

    text, kept = io.StringIO(), common.out
    common.out = Console(file=text, highlight=False, markup=False, soft_wrap=True, width=160)
    try:
        profile.show(report(take_apart(image, 0)), image.provenance.get("name"))
    finally:
        common.out = kept
    plain(text.getvalue())


TARGET: Final = Target(name="image", seeds=seeds, damage=damage, read=read, refusals=(InputError, IllegalProgram))
