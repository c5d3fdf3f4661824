"""The guard around a reader: every way in which an input may do harm, as a finding with the case that repeats it.

Cases run in forked workers, whose memory is limited and whose end does not end the run: a native crash and a native
hang name their case, which is kept in shared memory. An audit hook sees files that are written elsewhere and programs
that are started.
"""

from __future__ import annotations

import json
import mmap
import os
import resource
import select
import signal
import sys
import tempfile
import time
import traceback
import unicodedata
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from compiler.errors import InputError
from verification.fuzz.target import Files, Target, case_input, put

ROOT: Final = Path(__file__).resolve().parents[2]
CPU_S: Final = 5.0
"""Of a worker's time for one input; more is a hang."""
WALL_S: Final = 60.0
"""A worker that says nothing for so long is killed: it sleeps, or does not return from native code."""
MEMORY: Final = 1 << 30
"""Bytes of address space that a worker may take beside what it was forked with."""
MESSAGE_LIMIT: Final = 1500
"""Characters of a message for people; the rest of a hostile name helps nobody."""
BATCH: Final = 2000
"""Inputs of one worker."""
_WRITES: Final = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_STARTS: Final = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "pickle.find_class", "socket.connect")
_CHANGES: Final = ("os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.chmod", "os.truncate")


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What an input did. place: the deepest line of this project, where there is one; findings of one kind and place
    are one."""

    target: str
    seed: int
    case: int
    kind: str
    place: str
    said: str

    @property
    def key(self) -> tuple[str, str, str]:
        return self.target, self.kind, self.place

    @property
    def repeat(self) -> str:
        return f"python -m verification.fuzz --target {self.target} --seed {self.seed} --case {self.case}"


class TooSlow(BaseException):
    """Raised by the timer in whatever takes too long; not an Exception, so that readers do not swallow it."""


class Harm(BaseException):
    """Raised by the audit hook, and by targets for output that is no plain text."""


def place_of(error: BaseException) -> str:
    """The deepest line of the project (the fuzzer aside) in an exception's traceback."""
    found = "outside"
    for frame in traceback.extract_tb(error.__traceback__):
        path = Path(frame.filename)
        if path.is_relative_to(ROOT) and "site-packages" not in path.parts:
            found = f"{path.relative_to(ROOT)}:{frame.lineno} {frame.name}"
    return found


def judge(target: Target, run: Callable[[], None], *, sound: bool = False) -> tuple[str, str, str] | None:
    """Kind, place and words of what goes wrong in a run; None where the input was taken, or refused as it should be.

    sound: it must be taken.
    """
    try:
        run()
    except target.refusals as error:
        message = str(error)
        if sound:
            return "a sound input is refused", place_of(error), message[:300]
        if not message or not message.isprintable():
            return "message of several lines or with control characters", place_of(error), message[:300]
        if len(message) > MESSAGE_LIMIT:
            return "endless message", place_of(error), message[:300]
        hidden: BaseException | None = error
        while hidden is not None:
            if isinstance(hidden, MemoryError | TooSlow | Harm):
                return f"{type(hidden).__name__}, refused too late", place_of(hidden), str(hidden)[:300]
            hidden = hidden.__context__
    except BaseException as error:
        return type(error).__name__, place_of(error), str(error)[:300]
    return None


def _watch(folder: Path) -> Callable[[str, tuple[Any, ...]], None]:
    """An audit hook: nothing outside of the folder is written, nothing is started."""
    allowed = (str(folder), os.devnull)

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, _, flags = arguments
            if isinstance(flags, int) and flags & _WRITES and not isinstance(path, int) \
                    and not os.fspath(path).startswith(allowed):
                raise Harm(f"writes {path}")
        elif event in _STARTS or (event in _CHANGES and not str(os.fspath(arguments[0])).startswith(allowed)):
            raise Harm(f"{event} {arguments[0]!r}")
    return hook


def _too_slow(*_: Any) -> None:
    raise TooSlow(f"more than {CPU_S:g} s")


def _virtual_bytes() -> int:
    try:
        return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    except OSError:  # another system: the limit is then of all
        return 0


def _work(target: Target, seeds: Sequence[Files], seed: int, cases: range, folder: Path, answer: int,
          current: mmap.mmap) -> None:
    """In the forked worker: a line of JSON for each case with a finding."""
    quiet = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(quiet, number)
    warnings.simplefilter("error", RuntimeWarning)  # several lines on a user's terminal
    signal.signal(signal.SIGPROF, _too_slow)
    limit = _virtual_bytes() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    sys.addaudithook(_watch(folder))
    for case in cases:
        current[:8] = case.to_bytes(8, "little", signed=True)
        put(case_input(target, seeds, seed, case), folder)

        def run() -> None:
            signal.setitimer(signal.ITIMER_PROF, CPU_S)
            try:
                target.read(folder)
            finally:
                signal.setitimer(signal.ITIMER_PROF, 0)

        found = judge(target, run, sound=case < 0)
        if found is not None:
            finding = Finding(target=target.name, seed=seed, case=case, kind=found[0], place=found[1], said=found[2])
            os.write(answer, json.dumps(asdict(finding)).encode() + b"\n")
    current[:8] = cases.stop.to_bytes(8, "little", signed=True)


def _fast_folder() -> str | None:
    """Memory instead of a disk, where the system has such a folder."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


def fuzz(target: Target, seeds: Sequence[Files], seed: int, cases: range) -> Iterator[tuple[int, list[Finding]]]:
    """Run cases, negative ones for the sound inputs; yields, after each batch, how many were run and what was found."""
    at = cases.start
    while at < cases.stop:
        done, found = _batch(target, seeds, seed, range(at, min(at + BATCH, cases.stop)))
        yield done - at, found
        at = done


def _batch(target: Target, seeds: Sequence[Files], seed: int, cases: range) -> tuple[int, list[Finding]]:
    """One worker; returns the first case that was not run, and what was found."""
    current = mmap.mmap(-1, 8)
    current[:8] = cases.start.to_bytes(8, "little", signed=True)
    out, into = os.pipe()
    with tempfile.TemporaryDirectory(prefix="fuzz-", dir=_fast_folder()) as folder:
        worker = os.fork()
        if not worker:
            code = 1
            try:
                os.close(out)
                _work(target, seeds, seed, cases, Path(folder), into, current)
                code = 0
            except BaseException:  # the fuzzer's own fault: seen in the report of the crash
                os.write(into, traceback.format_exc().encode()[-2000:])
            finally:
                os._exit(code)
        os.close(into)
        lines, killed = _listen(out, worker, current)
        os.close(out)
        _, status = os.waitpid(worker, 0)
    found = [Finding(**json.loads(line)) for line in lines.splitlines() if line.startswith(b'{"target"')]
    at = int.from_bytes(current[:8], "little", signed=True)
    current.close()
    if status:
        kind = "hang" if killed else f"crash, {_ending(status)}"
        found.append(Finding(target=target.name, seed=seed, case=at, kind=kind, place="native",
                             said=lines.decode(errors="replace").rpartition("}\n")[2][-600:]))
        return at + 1, found
    return cases.stop, found


def _listen(out: int, worker: int, current: mmap.mmap) -> tuple[bytes, bool]:
    """All that a worker says until its end; kills one that hangs."""
    lines, case, since, killed = b"", current[:8], time.monotonic(), False
    while True:
        if select.select([out], [], [], 1.0)[0]:
            if not (part := os.read(out, 1 << 16)):
                return lines, killed
            lines += part
        if current[:8] != case:
            case, since = current[:8], time.monotonic()
        elif time.monotonic() - since > WALL_S and not killed:
            killed = True
            os.kill(worker, signal.SIGKILL)


def _ending(status: int) -> str:
    if os.WIFSIGNALED(status):
        return signal.Signals(os.WTERMSIG(status)).name
    return f"exit code {os.WEXITSTATUS(status)}"


def plain(text: str) -> None:
    """Raises Harm where a text would do more than print on a terminal."""
    for character in text:
        if unicodedata.category(character) in ("Cc", "Cs") and character not in "\n\t":
            raise Harm(f"prints {character!r}")


__all__ = ["Finding", "Harm", "InputError", "fuzz", "judge", "plain"]
