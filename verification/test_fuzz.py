"""A slice of fuzzing with a new seed each time, and seeded bugs: a reader whose check is taken out must be found."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

import compiler.image_file
import compiler.model_tensors
from compiler import calibrate, errors
from compiler.image import Registers
from compiler.importers import files, gguf_file, hub_tokenizer, safetensors_files
from fpga.link.frames import FrameReader
from sim.driver import Driver
from verification.fuzz import guard, images, models
from verification.fuzz.__main__ import main
from verification.fuzz.guard import Finding, fuzz
from verification.fuzz.target import Files, Target
from verification.fuzz.targets import TARGETS

SLICE = {"image": 400, "checkpoint": 2000, "frames": 2000, "link": 300, "driver": 2000, "folder": 1200, "gguf": 600,
         "tokenizer": 1200, "report": 600}
"""Inputs of each target in CI."""
BOUND = 4000
"""Inputs within which a seeded bug must be found."""


@pytest.mark.parametrize("name", TARGETS)
def test_no_input_does_harm(name: str) -> None:
    seed = secrets.randbelow(1 << 30)
    print(f"seed {seed}")
    target = TARGETS[name]
    seeds = target.seeds()
    for start, stop in ((-len(seeds), 0), (0, SLICE[name])):
        for _, found in fuzz(target, seeds, seed, range(start, stop)):
            assert not found, "\n".join(f"{one.kind} at {one.place}: {one.said}\n{one.repeat}" for one in found)


def anything(value: Any, *_: Any, **__: Any) -> Any:
    return value


Patch = Callable[[pytest.MonkeyPatch], None]


def replaced(where: Any, name: str, by: Any) -> Patch:
    return lambda monkeypatch: monkeypatch.setattr(where, name, by)


SEEDED: dict[str, tuple[str, Patch]] = {
    "messages repeat control characters": ("folder", replaced(errors.InputError, "__str__", Exception.__str__)),
    "words that are no instructions are loaded": ("image", replaced(compiler.image_file, "decode", anything)),
    "registers are taken as they are": ("image", replaced(
        compiler.image_file, "_registers", lambda cfg, content: Registers(
            **{**content, "seeds": tuple(content["seeds"])}))),
    "offsets of an image are taken as they are": ("image", replaced(compiler.image_file, "integer", anything)),
    "shifts of a model are taken as they are": ("image", replaced(
        compiler.model_tensors, "_shifts", lambda content: compiler.model_tensors.Shifts(**content))),
    "weights that overflow are calibrated": ("checkpoint", replaced(calibrate, "ACTIVATION_LIMIT", float("inf"))),
    "array lengths of a GGUF file are believed": ("gguf", replaced(gguf_file, "check_header", anything)),
    "a library's panics are let through": ("tokenizer", replaced(hub_tokenizer, "library", lambda *_: nullcontext())),
    "entries of a header are believed": ("folder", replaced(safetensors_files, "_entry", lambda value, where: (
        value["dtype"], tuple(value["shape"]), *value["data_offsets"]))),
    "settings are taken as they are": ("folder", replaced(files.Settings, "_take", lambda self, name, default, *_: (
        self.values.get(name, default)))),
    "deep JSON is parsed without a net": ("folder", replaced(
        files, "parse_json", lambda data, where: json.loads(data))),
    "a driver waits for ever": ("driver", replaced(Driver, "settle", lambda self: _wait_for_ever(self))),
    "frames of any length": ("frames", replaced(FrameReader, "feed", lambda self, data: _swallow(self, data))),
}


def _wait_for_ever(driver: Any) -> None:
    if driver._running:
        driver._running = False
        while driver._transport.receive(1) != b"\x07":
            pass


def _swallow(reader: Any, data: bytes) -> list[Any]:
    reader._body = (reader._body or bytearray()) + data
    return []


@pytest.mark.parametrize("bug", SEEDED)
def test_a_reader_without_its_check_is_found(bug: str, monkeypatch: pytest.MonkeyPatch) -> None:
    name, patch = SEEDED[bug]
    target = TARGETS[name]
    seeds = target.seeds()
    monkeypatch.setattr(guard, "BATCH", 50)
    monkeypatch.setattr(guard, "CPU_S", 1.0)
    for module in (images, models):  # what shows only when it runs comes up soon
        monkeypatch.setattr(module, "DEEP", 2)
    patch(monkeypatch)
    seed = secrets.randbelow(1 << 30)
    print(f"seed {seed}")
    assert any(found for _, found in fuzz(target, seeds, seed, range(BOUND))), f"{bug}: not in {BOUND} inputs"


def plain_target(read: Callable[[Path], None]) -> Target:
    return Target(name="frames", seeds=lambda: [{"x": b""}], damage=lambda rng, files: files, read=read)


def run(read: Callable[[Path], None], cases: int = 1) -> list[Finding]:
    made: list[Files] = [{"x": b""}]
    return [one for _, found in fuzz(plain_target(read), made, 1, range(cases)) for one in found]


def _crash(folder: Path) -> None:
    import ctypes
    import faulthandler
    faulthandler.disable()  # a forked worker has that of pytest, which would tell of a crash that is meant
    ctypes.string_at(0)


def _write(folder: Path) -> None:
    (folder.parent / "fuzz-elsewhere").write_text("x")


def _start(folder: Path) -> None:
    import subprocess
    subprocess.run(["true"], check=False)


def _refuse(message: str) -> Callable[[Path], None]:
    def read(folder: Path) -> None:
        raise errors.InputError(message)
    return read


def _hide(folder: Path) -> None:
    try:
        raise MemoryError
    except MemoryError:
        raise errors.InputError("damaged") from None


def _spin(folder: Path) -> None:
    while True:
        pass


@pytest.mark.parametrize(("read", "kind"), [
    (_crash, "crash, SIGSEGV"), (_write, "Harm"), (_start, "Harm"), (lambda folder: bytearray(1 << 32), "MemoryError"),
    (_hide, "MemoryError, refused too late"), (_spin, "TooSlow"), (lambda folder: {}["x"], "KeyError"),
    (lambda folder: guard.plain("a\x1b[2J"), "Harm"), (_refuse(""), "message of several lines"),
], ids=["crash", "write", "start", "memory", "hidden memory", "spin", "exception", "print", "message"])
def test_the_guard_sees_each_kind_of_harm(read: Any, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "CPU_S", 0.5)
    (found,) = run(read)
    assert found.kind.startswith(kind), found
    assert found.case == 0


def test_a_native_hang_is_killed_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "WALL_S", 0.5)
    (found,) = run(lambda folder: time.sleep(60))
    assert (found.kind, found.case) == ("hang", 0)


def test_what_comes_after_a_crash_is_run_too() -> None:
    assert [one.case for one in run(_crash, 3)] == [0, 1, 2]
    assert not run(_refuse("one line"), 3)


def test_the_command_tells_what_repeats_a_finding(monkeypatch: pytest.MonkeyPatch,
                                                  capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--target", "frames", "--inputs", "50", "--seed", "3", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["targets"][0]["inputs"] == 50
    assert main(["--target", "frames", "--seed", "3", "--case", "7"]) == 0
    monkeypatch.setitem(TARGETS, "frames", plain_target(_write))
    assert main(["--target", "frames", "--inputs", "2", "--seed", "3"]) == 1
    assert "--target frames --seed 3 --case" in capsys.readouterr().out
