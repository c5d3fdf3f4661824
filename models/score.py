"""How many stories a model gets right.

    python -m models.score fables260k --count 100 --temperature 0.8 --seed 0 --integer

``score`` takes any stories, whoever tells them: the float sampler, or with ``--integer`` the machine's own arithmetic.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from models.check import check


@dataclass(frozen=True)
class Rejection:
    """A story that was not accepted, and why."""

    text: str
    problems: tuple[str, ...]


@dataclass(frozen=True)
class Report:
    """The checker's verdict on a number of stories."""

    total: int
    rejections: tuple[Rejection, ...]
    distinct: int

    @property
    def accepted(self) -> int:
        """How many stories have no problem."""
        return self.total - len(self.rejections)

    @property
    def rate(self) -> float:
        """The accepted share, 0 for no stories."""
        return self.accepted / self.total if self.total else 0.0

    def __str__(self) -> str:
        return f"{self.accepted} of {self.total} stories accepted ({self.rate:.1%}), {self.distinct} distinct"


def score(stories: Iterable[str]) -> Report:
    """Check every story."""
    texts = list(stories)
    found = [(text, check(text)) for text in texts]
    rejections = tuple(Rejection(text, tuple(problems)) for text, problems in found if problems)
    return Report(len(texts), rejections, len(set(texts)))


def main() -> None:
    """Sample a checkpoint and print the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", help="name of a checkpoint here, or a folder with model.bin and tokenizer.bin")
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--temperature", type=float, default=0.8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--integer", action="store_true", help="the integer model, as the chip computes it")
    parser.add_argument("--show", type=int, default=0, help="print this many stories")
    args = parser.parse_args()
    folder = Path(__file__).parent / args.checkpoint
    if not folder.is_dir():
        folder = Path(args.checkpoint)
    if args.integer:  # imported only here: either sampler needs its own half of the project
        from models import integer_sampler
        stories = integer_sampler.sample(str(folder), count=args.count, temperature=args.temperature, seed=args.seed)
    else:
        from models import sampler
        stories = sampler.sample(folder, count=args.count, temperature=args.temperature, seed=args.seed)
    for story in stories[:args.show]:
        print(story + "\n")
    report = score(stories)
    print(report)
    for rejection in report.rejections:
        print(f"- {'; '.join(rejection.problems)}")


if __name__ == "__main__":
    main()
