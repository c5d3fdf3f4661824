"""Words of the instruction set: encoded, decoded, written and read without loss, and nothing else accepted."""

from __future__ import annotations

import enum

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtl.config import PRESETS, Config
from rtl.encoding import EncodingError, Insn, assemble, decode, disassemble, encode, layout, word_bits
from rtl.isa import MATRIX, QUEUES, SCALAR, VECTOR, Op, Queue, ScalarFunction
from rtl.manual import manual
from tests.rtl.bench import MACHINES

EVERY = [(cfg, queue) for cfg in MACHINES.values() for queue in QUEUES]


@st.composite
def words(draw: st.DrawFn) -> tuple[Config, Insn]:
    """A machine and an instruction for it, with the fields that are not zero."""
    cfg, queue = draw(st.sampled_from(EVERY))
    fields: dict[str, int | enum.Enum] = {}
    for item in queue.fields:
        bits = item.bits(cfg)
        if item.enum:
            value: int | enum.Enum = draw(st.sampled_from(list(item.enum) if bits else [item.enum(0)]))
            if value.value:
                fields[item.name] = value
        else:
            low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if item.signed else (0, (1 << bits) - 1)
            number = draw(st.one_of(st.sampled_from([low, 0, high]), st.integers(low, high)))
            if number:
                fields[item.name] = number
    return cfg, Insn(queue, fields)


@settings(deadline=None, max_examples=150)
@given(words())
def test_a_word_survives_encoding_and_assembly(case: tuple[Config, Insn]):
    cfg, insn = case
    word = encode(cfg, insn)
    assert 0 <= word < 1 << word_bits(cfg, insn.queue)
    assert decode(cfg, insn.queue, word) == insn
    assert assemble(insn.queue, disassemble(insn)) == insn
    shown = layout(cfg, insn.queue).from_bits(word)
    assert all(shown[item.name] == insn.number(item.name) for item in insn.queue.fields)  # the gateware's view


@pytest.mark.parametrize("queue", QUEUES, ids=lambda queue: queue.name)
def test_cleared_memory_is_nop(queue: Queue):
    for cfg in PRESETS.values():
        assert decode(cfg, queue, 0) == Insn(queue)
        assert decode(cfg, queue, 0)["op"] is Op.NOP
    assert encode(PRESETS["tiny"], Insn(queue)) == 0
    assert disassemble(Insn(queue)) == "NOP"
    assert assemble(queue, "NOP") == Insn(queue)


@pytest.mark.parametrize("queue", QUEUES, ids=lambda queue: queue.name)
def test_a_value_one_too_large_is_rejected_in_every_field(queue: Queue):
    for cfg in PRESETS.values():
        for item in queue.fields:
            if item.enum is None:
                bits = item.bits(cfg)
                low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if item.signed else (0, (1 << bits) - 1)
                for value in (low - 1, high + 1):
                    with pytest.raises(EncodingError, match=f"{queue.name}.{item.name} is {value}"):
                        encode(cfg, Insn(queue, {item.name: value}))


def test_what_is_no_instruction_is_rejected():
    cfg = PRESETS["tiny"]
    with pytest.raises(EncodingError, match="no field speed"):
        encode(cfg, Insn(MATRIX, {"speed": 1}))
    with pytest.raises(EncodingError, match="must be a ScalarFunction"):
        encode(cfg, Insn(SCALAR, {"function": 1}))
    with pytest.raises(EncodingError, match="op has no member 7"):
        decode(cfg, VECTOR, 7)
    with pytest.raises(EncodingError, match="does not fit"):
        decode(cfg, VECTOR, 1 << word_bits(cfg, VECTOR))
    with pytest.raises(EncodingError, match="does not fit"):
        decode(cfg, VECTOR, -1)


@pytest.mark.parametrize(("line", "complaint"), [
    ("", "does not begin"), ("JUMP row=1", "does not begin"), ("RUN row", "not a new field=value"),
    ("RUN speed=1", "not a new field=value"), ("RUN bias=1 bias=2", "not a new field=value"),
    ("RUN op=RUN", "not a new field=value"), ("RUN bias=many", "must be a number"),
    ("RUN function=SINE", "must be one of RSQRT")])
def test_assembly_names_what_is_wrong(line: str, complaint: str):
    with pytest.raises(EncodingError, match=complaint):
        assemble(SCALAR, line)


def test_assembly_reads_numbers_in_any_base_and_leaves_out_defaults():
    insn = assemble(SCALAR, "RUN bias=0x10 adjust=-3 a=0 function=RECIP")
    assert insn == Insn(SCALAR, {"op": Op.RUN, "bias": 16, "adjust": -3, "function": ScalarFunction.RECIP})
    assert disassemble(insn) == "RUN function=RECIP bias=16 adjust=-3"


def test_words_have_the_width_of_their_fields_and_names_are_not_repeated():
    for cfg, queue in EVERY:
        assert word_bits(cfg, queue) == layout(cfg, queue).size
        assert len(queue.by_name) == len(queue.fields)
        for item in queue.fields:
            assert item.bits(cfg) >= 1 or (item.name == "sequence" and cfg.sequences == 1) or (
                    item.name == "choice" and not cfg.choices) or (item.name == "below" and not cfg.top_k) or (
                    item.name == "plane" and not cfg.weight_planes) or (
                    (f"{queue.name}.{item.name}", 0) in cfg.narrow)
            if item.enum and item.bits(cfg):
                assert max(member.value for member in item.enum) < 1 << item.bits(cfg)
                assert item.enum(0) is not None


def test_manual_lists_every_field_and_member():
    text = manual()
    for queue in QUEUES:
        for item in queue.fields:
            assert f"| `{item.name}` |" in text
            for member in item.enum or ():
                assert member.name in text
