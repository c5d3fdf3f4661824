"""Train a checkpoint on stories that are told as it goes (needs PyTorch, the optional extra ``train``).

    python -m models.train fables260k --minutes 40 --out build/fables260k

No story is seen twice: chunk n of the training data comes from seed ``TRAIN_SEED + n``. Every sequence is BOS, story,
EOS from position 0, because that is how the model is used. The learning rate follows the clock or the step count,
whichever is further, so that a run ends annealed when it must end. A preset whose weights have four bits learns with
whole weights first, and rounds them from ``ROUND_FROM`` of its time on.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from functools import partial
from itertools import count
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from models import bpe, checkpoint, hub_tokenizer, mixtral
from models.grammar import Story, tell_many
from models.muon import Muon
from models.network import Network, export
from models.presets import PRESETS, Preset

TRAIN_SEED = 1_000_000
HELD_OUT_SEED = 7
TOKENIZER_SEED = 1
TOKENIZER_STORIES = 20_000
CHUNK_STORIES = 1024
WARMUP_STEPS = 200
FINAL_FRACTION = 0.01
WEIGHT_DECAY = 0.1
AVERAGE_DECAY = 0.995
GRADIENT_CLIP = 1.0
IMBALANCE_COST = 0.01  # of experts, a layer
ROUND_FROM = 0.3
TELLERS = 2  # processes that tell stories
CHUNKS_AHEAD = 8
IGNORED = -100


def tokenizer_of(preset: Preset, folder: Path) -> bpe.Tokenizer:
    """The preset's tokenizer, trained on its stories if ``folder`` has none."""
    path = folder / "tokenizer.bin"
    if not path.exists():
        texts = [story.text for story in tell_many(TOKENIZER_STORIES, TOKENIZER_SEED, preset.profile)]
        bpe.train(texts, preset.shape.vocabulary).save(path)
    return bpe.Tokenizer.load(path)


def batch_of(rows: list[list[int]]) -> tuple[Tensor, Tensor]:
    """Inputs and targets (stories, tokens) of token rows, padded at the end."""
    length = max(map(len, rows)) - 1
    inputs = np.full((len(rows), length), bpe.END)
    targets = np.full((len(rows), length), IGNORED)
    for n, row in enumerate(rows):
        inputs[n, :len(row) - 1] = row[:-1]
        targets[n, :len(row) - 1] = row[1:]
    return torch.from_numpy(inputs), torch.from_numpy(targets)


def rows_of(stories: list[Story], tokenizer: bpe.Tokenizer, preset: Preset) -> list[list[int]]:
    """Token rows, BOS and EOS included."""
    rows = [[bpe.BEGIN, *tokenizer.encode(story.text), bpe.END] for story in stories]
    if max(map(len, rows)) > preset.shape.context:
        raise ValueError("a story does not fit in the context")
    return rows


def _chunk(preset: Preset, tokenizer: bpe.Tokenizer, chunk: int) -> list[list[int]]:
    return sorted(rows_of(tell_many(CHUNK_STORIES, TRAIN_SEED + chunk, preset.profile), tokenizer, preset), key=len)


def batches(
        preset: Preset, tokenizer: bpe.Tokenizer, size: int, first_chunk: int) -> Iterator[tuple[int, Tensor, Tensor]]:
    """Endless (chunk, inputs, targets); stories of like length share a batch, batches come in random order."""
    # Forked processes would share what a GPU's library keeps to itself.
    with ProcessPoolExecutor(TELLERS, mp_context=get_context("spawn")) as tellers:
        ahead: list[tuple[int, Future[list[list[int]]]]] = []
        for chunk in count(first_chunk):
            ahead.append((chunk, tellers.submit(partial(_chunk, preset, tokenizer), chunk)))
            if len(ahead) < CHUNKS_AHEAD:
                continue
            told, future = ahead.pop(0)
            rows = future.result()
            generator = torch.Generator().manual_seed(told)
            for n in torch.randperm(CHUNK_STORIES // size, generator=generator).tolist():
                yield told, *batch_of(rows[n * size:(n + 1) * size])


@torch.no_grad()
def held_out(net: Network, preset: Preset, tokenizer: bpe.Tokenizer, count: int) -> dict[str, float]:
    """Cross-entropy on stories never trained on, beside the entropy of those same stories under the grammar."""
    stories = tell_many(count, HELD_OUT_SEED, preset.profile)
    nats, tokens = 0.0, 0
    for start in range(0, count, 50):
        rows = rows_of(stories[start:start + 50], tokenizer, preset)
        inputs, targets = (tensor.to(net.embedding.device) for tensor in batch_of(rows))
        nats += float(functional.cross_entropy(net(inputs).flatten(0, 1), targets.flatten(), reduction="sum"))
        tokens += int((targets != IGNORED).sum())
    floor = -sum(story.log_probability for story in stories)
    return {"nats_per_story": nats / count, "grammar_nats_per_story": floor / count,
            "nats_per_token": nats / tokens, "grammar_nats_per_token": floor / tokens,
            "tokens_per_story": tokens / count}


class Run:
    """One training run: the network, its running average, the optimisers, and where they are in the data.

    Parameters
    ----------
    preset: the checkpoint to train.
    out: folder for the checkpoint, its tokenizer, state.pt and log.jsonl.
    resume: the state of an earlier run to go on from.
    device: what computes.
    """

    def __init__(self, preset: Preset, out: Path, resume: Path | None, device: str) -> None:
        out.mkdir(parents=True, exist_ok=True)
        self.preset, self.out, self.device = preset, out, device
        self.tokenizer = tokenizer_of(preset, out)
        self.net = Network(preset.shape, preset.experts, preset.experts_used).to(device)
        # The running average of the weights is what is kept: good at any time, and the weights themselves in the end.
        self.average = Network(preset.shape, preset.experts, preset.experts_used).to(device)
        self.average.requires_grad_(False)
        routers = [p for name, p in self.net.named_parameters() if name.endswith("router")]
        matrices = [p for name, p in self.net.blocks.named_parameters() if p.ndim > 1 and not name.endswith("router")]
        norms = [p for p in self.net.parameters() if p.ndim == 1]
        self.optimisers: tuple[torch.optim.Optimizer, ...] = (
            Muon(matrices, lr=0.0, momentum=0.95, weight_decay=WEIGHT_DECAY),
            torch.optim.AdamW([{"params": [self.net.embedding, *routers], "weight_decay": WEIGHT_DECAY},
                               {"params": norms, "weight_decay": 0.0}], lr=0.0, betas=(0.9, 0.98), fused=True))
        self.steps, self.chunk = 0, 0
        if resume:
            state = torch.load(resume, map_location=device)
            self.net.load_state_dict(state["net"])
            self.average.load_state_dict(state["average"])
            for optimiser, kept in zip(self.optimisers, state["optimisers"], strict=True):
                optimiser.load_state_dict(kept)
            self.steps, self.chunk = state["steps"], state["chunk"] + 1

    def save(self) -> None:
        """Write the checkpoint and the state."""
        if self.preset.experts:
            mixtral.save(self.out, self.average)
            hub_tokenizer.save(self.out, self.tokenizer)
        else:
            checkpoint.save(self.out / "model.bin", self.preset.shape, export(self.average))
        state = {"net": self.net.state_dict(), "average": self.average.state_dict(), "steps": self.steps,
                 "chunk": self.chunk, "optimisers": [optimiser.state_dict() for optimiser in self.optimisers]}
        torch.save(state, self.out / "state.pt")

    def report(self, record: dict[str, float]) -> None:
        """Add a record to the log."""
        line = json.dumps({"step": self.steps} | record)
        with (self.out / "log.jsonl").open("a") as log:
            log.write(line + "\n")
        print(line, flush=True)

    def round_weights(self) -> None:
        """Learn with weights of four bits from now on."""
        self.net.round_weights()
        self.average.round_weights()

    def step(self, inputs: Tensor, targets: Tensor, matrix_rate: float, rate: float) -> Tensor:
        """One update; gives the loss of the batch before it."""
        inputs, targets = inputs.to(self.device, non_blocking=True), targets.to(self.device, non_blocking=True)
        for optimiser, own in zip(self.optimisers, (matrix_rate, rate), strict=True):
            for group in optimiser.param_groups:
                group["lr"] = own
        loss = functional.cross_entropy(self.net(inputs).flatten(0, 1), targets.flatten(), ignore_index=IGNORED)
        (loss + IMBALANCE_COST * self.net.imbalance()).backward()
        torch.nn.utils.clip_grad_norm_(self.net.parameters(), GRADIENT_CLIP)
        for optimiser in self.optimisers:
            optimiser.step()
            optimiser.zero_grad()
        self.steps += 1
        keep = min(AVERAGE_DECAY, self.steps / (self.steps + 10))  # forgets the initial weights quickly
        with torch.no_grad():
            torch._foreach_lerp_(list(self.average.parameters()), list(self.net.parameters()), 1 - keep)
        return loss.detach()


def train(run: Run, args: argparse.Namespace) -> None:
    """Train until the steps are made or the minutes are over."""
    peak = args.learning_rate or run.preset.learning_rate
    source = batches(run.preset, run.tokenizer, args.batch, run.chunk)
    begun, first = time.monotonic(), run.steps
    losses: list[Tensor] = []
    whole = run.preset.weight_bits == 8 or args.whole
    while True:
        step, minutes = run.steps - first, (time.monotonic() - begun) / 60
        progress = max(minutes / args.minutes, step / args.steps)
        last = progress >= 1
        if not whole and progress >= ROUND_FROM:
            run.round_weights()
            whole = True
        if step % args.report == 0 or last:
            record = {"minutes": round(minutes, 2)} | (
                {"loss": float(torch.stack(losses).mean())} if losses else {})
            losses.clear()
            if step % (5 * args.report) == 0 or last:
                record |= held_out(run.average, run.preset, run.tokenizer, 1000 if last else 100)
                run.save()
            run.report(record)
        if last:
            return
        cosine = FINAL_FRACTION + (1 - FINAL_FRACTION) * 0.5 * (1 + math.cos(math.pi * progress))
        rate = peak * cosine * min(1.0, (run.steps + 1) / WARMUP_STEPS)
        run.chunk, inputs, targets = next(source)
        losses.append(run.step(inputs, targets, args.matrix_rate * rate, rate))


def main() -> None:
    """Parse the command line and train."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("preset", choices=sorted(PRESETS))
    parser.add_argument("--out", type=Path, required=True, help="folder for the checkpoint, the state and the log")
    parser.add_argument("--minutes", type=float, default=math.inf, help="end, annealed, after this time")
    parser.add_argument("--steps", type=int, default=20_000, help="end, annealed, after this many steps")
    parser.add_argument("--batch", type=int, default=16, help="stories a step")
    parser.add_argument("--learning-rate", type=float, help="peak; default is the preset's")
    parser.add_argument("--matrix-rate", type=float, default=0.5, help="learning rate of matrices, times the rest's")
    parser.add_argument("--resume", type=Path, help="state.pt of an earlier run to go on from")
    parser.add_argument("--whole", action="store_true", help="do not round the weights of a preset that has four bits")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--report", type=int, default=100, help="steps between log records")
    parser.add_argument("--seed", type=int, default=0, help="of the initial weights")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    train(Run(PRESETS[args.preset], args.out, args.resume, args.device), args)


if __name__ == "__main__":
    main()
