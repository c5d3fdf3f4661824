"""The lpu command, run as a command: what it prints as JSON, and how it says that its input is bad."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from compiler.float_model import FloatModel
from compiler.library import open_model
from rtl.config import preset
from sim import cli

MODEL = "fables80k"
PRESET = "icebreaker"


class Result:
    """What a run of the command gave."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    @property
    def json(self) -> dict[str, Any]:
        return json.loads(self.out)


@pytest.fixture
def lpu(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    def run(*arguments: object) -> Result:
        monkeypatch.setattr(sys, "argv", ["lpu", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as exit_:
            cli.main()
        captured = capsys.readouterr()
        code = exit_.value.code
        return Result(code if isinstance(code, int) else 0, captured.out, captured.err)
    return run


@pytest.fixture(scope="module")
def model() -> FloatModel:
    return open_model(MODEL)[0]


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("images") / "small.lpu"
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as exit_:
        patch.setattr(sys, "argv", ["lpu", "compile", MODEL, "-o", str(path), "--preset", PRESET, "--context", "32"])
        cli.main()
    assert exit_.value.code == 0
    return path


def test_compile_json(lpu: Any, tmp_path: Path):
    made = lpu("compile", MODEL, "-o", tmp_path / "a.lpu", "--preset", PRESET, "--context", 24, "--json")
    assert made.code == 0 and made.err == ""
    report = made.json
    assert report["context"] == 24 and len(report["cycles"]["classified"]) == len(report["cycles"]["prompt"]) == 24
    assert all(room.keys() == {"used", "free"} for room in [*report["memory"].values(), *report["program"].values()])
    assert (tmp_path / "a.lpu").exists()


@pytest.mark.parametrize("device", ["golden", "cycle"])
def test_generate_json(lpu: Any, image: Path, device: str):
    made = lpu("generate", image, "--tokens", 5, "--device", device, "--json", "--ignore-stop")
    assert made.code == 0 and made.err == ""
    report = made.json
    assert report["prompt_tokens"] == [1] and len(report["tokens"]) == 5
    assert len(report["cycles"]) == len(report["predicted_cycles"]) == len(report["useful_macs"]) == 5
    assert report["cycles"] == (report["predicted_cycles"] if device == "cycle" else [None] * 5)
    assert 0 < report["utilisation"] < 1 and report["peak_macs_per_cycle"] == 8
    assert report["text"]


def test_generate_streams_the_prompt_and_a_summary(lpu: Any, image: Path):
    made = lpu("generate", image, "--prompt", "Once upon", "--tokens", 4)
    assert made.code == 0 and made.out.startswith("Once upon")
    assert "cycles a token, predicted" in made.out and "utilisation" in made.out


def test_check(lpu: Any, image: Path):
    made = lpu("check", image, "--devices", "golden,cycle", "--tokens", 6, "--tensors", "--json")
    assert made.code == 0, made.out
    assert made.json["good"] and made.json["devices"][1]["tensors_compared"]
    assert "the same" in lpu("check", image, "--devices", "golden,cycle", "--tokens", 2).out


def test_verify(lpu: Any, image: Path, tmp_path: Path):
    made = lpu("verify", image, "--json")
    assert made.code == 0 and made.err == "", made.out
    assert made.json["good"] and made.json["positions"] == 32
    assert made.json["values_compared"] == 1 + preset(PRESET).buckets
    assert "legal on icebreaker" in lpu("verify", image).out


def test_verify_rejects_a_wait_too_short(lpu: Any, image: Path, tmp_path: Path):
    from compiler.image_file import load_image, save_image
    from rtl.isa import MATRIX
    from tests.sim.mutants import with_word, words_of
    good = load_image(image)
    waits = [insn.number("wait") for insn in words_of(good, MATRIX)]
    save_image(with_word(good, MATRIX, waits.index(max(waits)), wait=0), tmp_path / "wrong.lpu")
    made = lpu("verify", tmp_path / "wrong.lpu", "--json")
    assert made.code == 1 and not made.json["good"]
    assert made.json["cycle"] > 0 and made.json["words"] and made.json["rule"] == "arrival"
    shown = lpu("verify", tmp_path / "wrong.lpu")
    assert shown.code == 1 and "not legal" in shown.out and " word " in shown.out


def test_profile(lpu: Any, image: Path, tmp_path: Path):
    made = lpu("profile", image, "--position", 9, "--trace", tmp_path / "trace.json", "--json")
    assert made.code == 0, made.err
    report = made.json
    assert report["position"] == 9 and report["classified"]
    assert report["floor"] + sum(report["padding"].values()) + report["idle"] == report["cycles"]
    assert len(json.loads((tmp_path / "trace.json").read_text())["traceEvents"]) > 1000
    prompt = lpu("profile", image, "--prompt-token")
    assert prompt.code == 0 and "prompt token at position 31" in prompt.out
    assert "matrix unit idle" in prompt.out and "chain, by work" in prompt.out


def test_disasm_assembles_again(lpu: Any, image: Path, tmp_path: Path):
    from compiler.image_file import load_image
    from rtl.encoding import assemble, encode
    from rtl.isa import QUEUES
    loaded, programs = load_image(image), lpu("disasm", image, "--json").json["programs"]
    for queue in QUEUES:
        words = [encode(loaded.config, assemble(queue, line)) for line in programs[queue.name]]
        assert words == loaded.programs[queue.name]
    assert lpu("disasm", image, "-o", tmp_path / "listing").code == 0
    assert (tmp_path / "listing").read_text() == lpu("disasm", image).out


def test_isa_is_the_manual(lpu: Any, tmp_path: Path):
    assert lpu("isa", "-o", tmp_path / "isa.md").code == 0
    assert (tmp_path / "isa.md").read_text().startswith("# Instruction set")
    assert lpu("isa", "--json").json.keys() == {"matrix", "vector", "scalar"}


def test_verilog(lpu: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Where it goes; what it says is tested with the gateware."""
    monkeypatch.setattr("rtl.verilog.generate", lambda cfg: f"module {cfg.name};\nendmodule\n")
    made = lpu("verilog", "--preset", "tiny", "-o", tmp_path / "a.v", "--json")
    assert made.json == {"preset": "tiny", "lines": 2, "bytes": 23, "output": str(tmp_path / "a.v")}
    assert lpu("verilog", "--preset", "tiny").out == (tmp_path / "a.v").read_text()


def test_eval_json(lpu: Any, tmp_path: Path):
    (tmp_path / "text").write_text("Once upon a time there was a girl.\n")
    made = lpu("eval", MODEL, tmp_path / "text", "--tokens", 8, "--json")
    assert made.code == 0, made.err
    assert {"float_ce", "int_ce", "top1_agreement", "predictions"} <= made.json.keys()


def test_bench(lpu: Any):
    made = lpu("bench", MODEL, "--preset", f"{PRESET},tiny", "--tokens", 2, "--json")
    fits, too_small, _ = made.json["results"]  # icebreaker keeps one sequence, tiny two
    assert fits["devices"].keys() == {"golden", "cycle"} and 0 < fits["utilisation"] < 1
    assert "does not fit tiny" in too_small["does_not_fit"]


def test_demo_on_the_cycle_device(lpu: Any):
    made = lpu("demo", "--device", "cycle", "--tokens", 3)
    assert made.code == 0 and "golden model agrees on 3 of 3 tokens" in made.out


def bad_inputs(model: FloatModel, image: Path, tmp_path: Path) -> dict[str, tuple[list[object], str]]:
    """name -> arguments and what the message must say."""
    (tmp_path / "broken.lpu").write_bytes(image.read_bytes()[:-9])
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "empty").write_text("")
    (tmp_path / "short.bin").write_bytes(b"12345")
    target = ["-o", tmp_path / "out.lpu"]
    long = "Once upon a time there was a girl. " * 20
    return {
        "no model": (["compile", "nobody", *target], "no model 'nobody'"),
        "no such shape": (["compile", "random:huge", *target], "no model 'random:huge'; .* random:stories15M"),
        "no checkpoint": (["compile", tmp_path / "short.bin", *target], "short.bin"),
        "no preset": (["compile", MODEL, "--preset", "huge", *target], "unknown preset 'huge'; known presets: tiny"),
        "does not fit": (["compile", MODEL, "--preset", "tiny", *target],
                         r"does not fit tiny: \d+ bytes.*presets that hold it, the smallest first"),
        "context of the model": (["compile", MODEL, "--preset", PRESET, "--context", model.shape.context + 1, *target],
                                 r"context \d+ is not possible"),
        "context 0": (["compile", MODEL, "--preset", PRESET, "--context", 0, *target], "context 0"),
        "folder missing": (["compile", MODEL, "-o", tmp_path / "no" / "out.lpu"], "cannot write"),
        "output is a folder": (["compile", MODEL, "-o", tmp_path], "cannot write"),
        "verilog output": (["verilog", "-o", tmp_path / "no" / "out.v"], "cannot write"),
        "disasm output": (["disasm", image, "-o", tmp_path / "no" / "out"], "cannot write"),
        "isa output": (["isa", "-o", tmp_path / "no" / "out"], "cannot write"),
        "verilog preset": (["verilog", "--preset", "huge"], "unknown preset"),
        "no position": (["profile", image, "--position", 32], "no position 32; this image has 0 to 31"),
        "trace output": (["profile", image, "--trace", tmp_path / "no" / "trace"], "cannot write"),
        "no device": (["generate", image, "--device", "gpu"], "unknown device 'gpu'; known devices: golden, cycle"),
        "check device": (["check", image, "--devices", "golden,gpu"], "unknown device 'gpu'"),
        "check none": (["check", image, "--devices", ","], "no devices"),
        "bench device": (["bench", MODEL, "--devices", "gpu"], "unknown device 'gpu'"),
        "bench into nothing": (["bench", MODEL, "--write", tmp_path / "missing.md"], "cannot read .*missing.md"),
        "bench without markers": (["bench", MODEL, "--write", tmp_path / "empty"], "empty needs one line <!-- be"),
        "bench, no counts": (["bench", MODEL, "--write-cycles", tmp_path / "empty"], "no file of committed cycle"),
        "bench, no folder": (["bench", MODEL, "--write-cycles", tmp_path / "no" / "c.json"], "cannot write"),
        "no tokens": (["generate", image, "--tokens", 0], "at least 1"),
        "fewer tokens": (["generate", image, "--tokens", -3], "at least 1"),
        "demo tokens": (["demo", "--tokens", 0], "at least 1"),
        "check tokens": (["check", image, "--tokens", 0], "at least 1"),
        "no noise": (["generate", image, "--temperature", 1], "icebreaker cannot sample, .*; tiny, tangnano20k, "),
        "a seed alone": (["check", image, "--seed", 1], "give --temperature too"),
        "a top-k alone": (["generate", image, "--top-k", 4], "a top-k has no use .* give --temperature too"),
        "no top-k": (["compile", MODEL, "--preset", PRESET, "--top-k", 4, *target],
                     "icebreaker cannot draw from the likeliest tokens alone; tiny, tangnano20k, "),
        "another top-k": (["check", image, "--temperature", 1, "--top-k", 4], "compiled for a top-k of 0, 0 for all"),
        "less than none": (["compile", MODEL, "--top-k", -4, *target], "a top-k of -4 is impossible"),
        "cold": (["generate", image, "--temperature", -1], "a temperature of -1.0 is impossible"),
        "bench tokens": (["bench", MODEL, "--tokens", 0], "at least 1"),
        "eval tokens": (["eval", MODEL, tmp_path / "empty", "--tokens", 0], "at least 1"),
        "empty prompt": (["generate", image, "--prompt", ""], "prompt is empty"),
        "long prompt": (["generate", image, "--prompt", long], r"the prompt has \d+ tokens .* the context holds 32"),
        "broken image": (["generate", tmp_path / "broken.lpu"], "truncated"),
        "missing image": (["generate", tmp_path / "missing.lpu"], "no image"),
        "another preset": (["generate", image, "--preset", "ulx3s"], "is an image for icebreaker, not for ulx3s"),
        "another context": (["generate", image, "--context", 64], "compiled for a context of 32"),
        "disasm of a model": (["disasm", tmp_path / "short.bin"], "not an image"),
        "disasm of nothing": (["disasm", tmp_path / "missing"], "cannot read"),
        "no text": (["eval", MODEL, tmp_path / "missing"], "cannot read"),
        "text of bytes": (["eval", MODEL, tmp_path / "binary"], "no UTF-8 text"),
        "empty text": (["eval", MODEL, tmp_path / "empty"], "no stories"),
    }


def test_bad_input_is_one_line_and_exit_code_2(lpu: Any, model: FloatModel, image: Path, tmp_path: Path):
    cases = bad_inputs(model, image, tmp_path)
    before = sorted(tmp_path.iterdir())
    for name, (arguments, message) in cases.items():
        made = lpu(*arguments)
        assert made.code == 2, (name, made.out, made.err)
        assert made.out == "", name
        assert made.err.startswith("lpu: ") and made.err.count("\n") == 1, (name, made.err)
        assert re.search(message, made.err), (name, made.err)
        assert sorted(tmp_path.iterdir()) == before, name


def test_a_prompt_that_cannot_be_encoded(lpu: Any, image: Path):
    """A vocabulary without byte tokens says so; one with them takes anything."""
    made = lpu("generate", image, "--prompt", "\u4e2d", "--tokens", 1)
    assert made.code == 0 or (made.code == 2 and "is not in this model's vocabulary" in made.err)


@pytest.mark.parametrize("arguments", [[], ["--help"], ["compile", "--help"]])
def test_help(lpu: Any, arguments: list[str]):
    assert "lpu" in lpu(*arguments).out
