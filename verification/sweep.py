"""Models of random shapes on every preset and every device: `python -m verification.sweep --rounds 300`.

Each is quantised, compiled and run to the end of its context. The golden model says which tokens and tensors are right,
the compiler which cycles; what is not loaded is noise in the cycle simulator, which also raises on every hazard, port
conflict and cell that nobody wrote. A model that a preset has no room or mask for must be refused in one line, and is
counted.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import track
from rich.table import Table

from compiler.compile import compile_model
from compiler.errors import InputError
from compiler.float_model import Traits
from compiler.image import Image
from compiler.quantise import quantise
from compiler.quantised import QuantisedModel
from compiler.random_model import random_float_model, random_shape
from compiler.sampling import with_sampling
from rtl.config import PRESETS, preset
from sim.commands.check import Comparison, compare
from sim.device import CycleDevice, Device, VerilatedDevice, open_device

DEVICES = ("golden", "cycle", "rtl")
REFUSED = ("does not fit", "this model attends to")
"""What a preset may say of a model."""


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One model on one preset, determined by these alone.

    Members:
        seed: of the sweep. number: of the model in it. preset: which machine.
    """

    seed: int
    number: int
    preset: str

    @property
    def command(self) -> str:
        """What repeats it."""
        return (f"python -m verification.sweep --seed {self.seed} --first {self.number} --rounds 1 "
                f"--preset {self.preset}")


UNITS_OF_A_LOGIT = 2000
"""In a nat of noise: a temperature that suits the logits of any model."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of a trial.

    Members:
        model: its sizes, in words. refused: why it does not fit, else None; then nothing ran.
        sequences: texts that ran at once. steps: how many tokens each.
        wrong: what was not as it should be, in words. tensors: how many were compared with golden's, a step.
    """

    trial: Trial
    model: str
    refused: str | None = None
    sequences: int = 0
    steps: int = 0
    tensors: int = 0
    wrong: list[str] = field(default_factory=list[str])


def model_of(seed: int, number: int) -> tuple[QuantisedModel, str]:
    """A model of the sweep, the same for all presets, and its description."""
    rng = random.Random(f"{seed}-{number}")
    shape, tied, biases, norms = random_shape(rng), *(rng.random() < 0.3 for _ in range(3))
    words = (" ".join(f"{name} {value}" for name, value in asdict(shape).items())
             + ", tied" * tied + ", with biases" * biases + ", with head norms" * norms)
    seed, traits = rng.randrange(1 << 32), Traits()
    if rng.random() < 0.25:  # drawn last, so that the other models stay what they are
        traits = Traits(experts=rng.randint(2, 8), experts_used=rng.randint(1, 2))
        words += f", {traits.experts_used} of {traits.experts} experts"
    bits = 4 if rng.random() < 0.25 else 8
    if rng.random() < 0.25:
        traits = replace(traits, window=rng.randint(1, shape.context))
        words += f", a window of {traits.window}"
    return quantise(random_float_model(
        shape, seed=seed, tied=tied, biases=biases, head_norms=norms, traits=traits), weight_bits=bits), (
            words + ", weights of 4 bits" * (bits == 4))


def attempt(trial: Trial, devices: Sequence[str] = DEVICES) -> Outcome:
    """Compile and run one model on one preset, with as many sequences at once as the number asks for."""
    model, words = model_of(trial.seed, trial.number)
    cfg = preset(trial.preset)
    sequences = 1 + trial.number % cfg.sequences
    try:
        image = replace(compile_model(model, cfg, sequences=sequences), model=model)
    except InputError as error:
        unexpected = [] if any(words in str(error) for words in REFUSED) else [f"refused: {error}"]
        return Outcome(trial=trial, model=words, refused=str(error), wrong=unexpected)
    except Exception as error:  # another process must be able to tell it
        return Outcome(trial=trial, model=words, wrong=[f"{type(error).__name__}: {error}"])
    if cfg.noise_rate and trial.number % 2:  # every other model draws its tokens
        image = with_sampling(image, UNITS_OF_A_LOGIT * model.logit_scale, trial.number)
        words += ", sampled"
    try:
        found = run(image, devices, noise=trial.number)
    except Exception as error:
        return Outcome(trial=trial, model=words, sequences=sequences, wrong=[f"{type(error).__name__}: {error}"])
    wrong = [f"{one.device}: {what}" for one in found for what in differences(one)]
    return Outcome(trial=trial, model=words, sequences=sequences, steps=image.context, wrong=wrong,
                   tensors=min(len(one.compared) for one in found[1:]))


def run(image: Image, devices: Sequence[str] = DEVICES, *, noise: int) -> list[Comparison]:
    """An image to the end of its context on all devices, the first one being golden's; it carries its model."""
    with ExitStack() as stack:
        opened: list[Device] = []
        for name in devices:
            device = CycleDevice(image, poison=noise) if name == "cycle" else open_device(name, image)
            if isinstance(device, VerilatedDevice):
                stack.enter_context(device.rtl)
            opened.append(device)
        assert image.model is not None
        prompt = [1, *(noise % (at + 3) for at in range(image.context // 4))]
        return compare(opened, image, [token % image.model.shape.vocab for token in prompt], image.context,
                       tensors=True)


def differences(found: Comparison) -> Iterator[str]:
    """In words, what a device did differently."""
    if found.tokens:
        yield f"other tokens at {found.tokens[:4]}"
    if found.cycles:
        yield f"other cycles than predicted at {found.cycles[:4]}"
    for name, positions in sorted(found.tensors.items()):
        yield f"{name} differs at {positions[:4]}"


def report(outcomes: Sequence[Outcome], console: Console) -> None:
    """A line a preset, and every trial that went wrong with the command that repeats it."""
    table = Table("preset", "ran", "refused", "steps", "tensors compared", "wrong", box=None, pad_edge=False)
    for name in dict.fromkeys(outcome.trial.preset for outcome in outcomes):
        of_preset = [outcome for outcome in outcomes if outcome.trial.preset == name]
        ran = [outcome for outcome in of_preset if outcome.refused is None]
        table.add_row(name, str(len(ran)), str(len(of_preset) - len(ran)),
                      str(sum(outcome.steps * outcome.sequences for outcome in ran)),
                      str(sum(outcome.steps * outcome.tensors for outcome in ran)),
                      str(sum(bool(outcome.wrong) for outcome in of_preset)))
    console.print(table)
    for outcome in outcomes:
        if outcome.wrong:
            console.print(f"{outcome.trial.command}\n  {outcome.model}\n  " + "\n  ".join(outcome.wrong[:8]),
                          style="red", highlight=False, soft_wrap=True)


def logged(path: Path, devices: Sequence[str]) -> Iterator[Outcome]:
    """The outcomes in a log that were right, on these devices; a line that was cut off is none."""
    for line in path.read_text().splitlines() if path.exists() else ():
        try:
            made: dict[str, Any] = json.loads(line)
        except ValueError:
            continue
        if made.pop("devices") == list(devices) and not made["wrong"]:
            yield Outcome(**{**made, "trial": Trial(**made["trial"])})


def sweep(trials: Sequence[Trial], devices: Sequence[str], jobs: int, log: Path | None = None) -> list[Outcome]:
    """All trials, in their order, over so many processes; progress on a terminal. log: file to go on from and into."""
    console = Console(stderr=True)
    known = {one.trial: one for one in logged(log, devices)} if log else {}
    left = [trial for trial in trials if trial not in known]
    with ExitStack() as stack:
        file = stack.enter_context(log.open("a")) if log else None
        if file and file.tell():
            file.write("\n")  # behind a line that was cut off
        pool = stack.enter_context(ProcessPoolExecutor(jobs))
        made = pool.map(attempt, left, [devices] * len(left))
        for one in track(made, "sweeping", total=len(left), console=console, disable=not console.is_terminal):
            known[one.trial] = one
            if file:
                print(json.dumps({"devices": list(devices), **asdict(one)}), file=file, flush=True)
    return [known[trial] for trial in trials]


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; exit code 1 where anything differed."""
    parser = argparse.ArgumentParser(prog="python -m verification.sweep",
                                     description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=10, help="models")
    parser.add_argument("--first", type=int, default=0, help="number of the first one")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--preset", choices=tuple(PRESETS), action="append", help="several are possible; without, all")
    parser.add_argument("--devices", default=",".join(DEVICES), help="golden and others, with commas between")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--log", type=Path, help="a JSON line for each trial as it ends; none is run twice")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args(arguments)
    devices = args.devices.split(",")
    if len(devices) < 2 or devices[0] != DEVICES[0] or not set(devices) <= set(DEVICES):
        parser.error(f"--devices {args.devices}: expected golden and then one of {', '.join(DEVICES[1:])} or both")
    if min(args.rounds, args.jobs) < 1:
        parser.error("--rounds and --jobs must be at least 1")
    if args.log and not args.log.absolute().parent.is_dir():
        parser.error(f"--log {args.log}: there is no such folder")
    start = time.monotonic()
    trials = [Trial(seed=args.seed, number=number, preset=name) for number, name in product(
        range(args.first, args.first + args.rounds), args.preset or PRESETS)]
    outcomes = sweep(trials, devices, args.jobs, args.log)
    wrong = sum(bool(outcome.wrong) for outcome in outcomes)
    if args.json:
        print(json.dumps({"seed": args.seed, "models": args.rounds, "devices": devices, "wrong": wrong,
                          "ran": Counter(one.trial.preset for one in outcomes if one.refused is None),
                          "outcomes": [asdict(outcome) for outcome in outcomes]}))
    else:
        report(outcomes, Console())
        print(f"{args.rounds} models, seed {args.seed}, {', '.join(devices)}: {wrong} trials wrong; "
              f"{time.monotonic() - start:.0f} s")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
