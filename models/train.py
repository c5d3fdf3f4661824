"""Train a checkpoint on stories that are told as it goes (needs PyTorch, the optional extra ``train``).

    python -m models.train fables260k --minutes 40 --out /tmp/fables260k

No story is seen twice: chunk n of the training data comes from seed ``TRAIN_SEED + n``. Every sequence is BOS, story,
EOS from position 0, because that is how the model is used. The learning rate follows the clock or the step count,
whichever is further, so that a run ends annealed when it must end.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from models import bpe, checkpoint
from models.grammar import Story, tell_many
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
    inputs = torch.full((len(rows), length), bpe.END)
    targets = torch.full((len(rows), length), IGNORED)
    for n, row in enumerate(rows):
        inputs[n, :len(row) - 1] = torch.tensor(row[:-1])
        targets[n, :len(row) - 1] = torch.tensor(row[1:])
    return inputs, targets


def rows_of(stories: list[Story], tokenizer: bpe.Tokenizer, preset: Preset) -> list[list[int]]:
    """Token rows, BOS and EOS included."""
    rows = [[bpe.BEGIN, *tokenizer.encode(story.text), bpe.END] for story in stories]
    if max(map(len, rows)) > preset.shape.context:
        raise ValueError("a story does not fit in the context")
    return rows


def batches(
        preset: Preset, tokenizer: bpe.Tokenizer, size: int, first_chunk: int) -> Iterator[tuple[int, Tensor, Tensor]]:
    """Endless (chunk, inputs, targets); stories of like length share a batch, batches come in random order."""
    chunk = first_chunk
    while True:
        rows = rows_of(tell_many(CHUNK_STORIES, TRAIN_SEED + chunk, preset.profile), tokenizer, preset)
        rows.sort(key=len)
        generator = torch.Generator().manual_seed(chunk)
        for n in torch.randperm(CHUNK_STORIES // size, generator=generator).tolist():
            yield chunk, *batch_of(rows[n * size:(n + 1) * size])
        chunk += 1


@torch.no_grad()
def held_out(net: Network, preset: Preset, tokenizer: bpe.Tokenizer, count: int) -> dict[str, float]:
    """Cross-entropy on stories never trained on, beside the entropy of those same stories under the grammar."""
    stories = tell_many(count, HELD_OUT_SEED, preset.profile)
    nats, tokens = 0.0, 0
    for start in range(0, count, 50):
        inputs, targets = batch_of(rows_of(stories[start:start + 50], tokenizer, preset))
        nats += float(functional.cross_entropy(net(inputs).flatten(0, 1), targets.flatten(), reduction="sum"))
        tokens += int((targets != IGNORED).sum())
    floor = -sum(story.log_probability for story in stories)
    return {"nats_per_story": nats / count, "grammar_nats_per_story": floor / count,
            "nats_per_token": nats / tokens, "grammar_nats_per_token": floor / tokens,
            "tokens_per_story": tokens / count}


def train(preset: Preset, args: argparse.Namespace) -> None:
    """Run the training loop and leave model.bin, tokenizer.bin, state.pt and log.jsonl in ``args.out``."""
    out: Path = args.out
    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(args.seed)
    tokenizer = tokenizer_of(preset, out)
    net = Network(preset.shape)
    # The running average of the weights is what is kept: good at any time, equal to the weights once the rate is small.
    average = Network(preset.shape)
    average.requires_grad_(False)
    decayed = [p for p in net.parameters() if p.ndim > 1]
    kept = [p for p in net.parameters() if p.ndim == 1]
    optimiser = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": WEIGHT_DECAY}, {"params": kept, "weight_decay": 0.0}],
        lr=0.0, betas=(0.9, 0.98), fused=True)
    done, chunk = 0, 0
    if args.resume:
        state = torch.load(args.resume)
        net.load_state_dict(state["net"])
        average.load_state_dict(state.get("average", state["net"]))
        optimiser.load_state_dict(state["optimiser"])
        done, chunk = state["steps"], state["chunk"] + 1
    peak = args.learning_rate or preset.learning_rate
    source = batches(preset, tokenizer, args.batch, chunk)
    begun, total, tokens, step = time.monotonic(), 0.0, 0, 0
    while True:
        minutes = (time.monotonic() - begun) / 60
        progress = max(minutes / args.minutes, step / args.steps)
        last = progress >= 1
        if step % args.report == 0 or last:
            record: dict[str, float] = {"step": done + step, "minutes": round(minutes, 2), "tokens": tokens}
            if step:
                record["loss"] = total / (args.report if step % args.report == 0 else max(step % args.report, 1))
            if step % (5 * args.report) == 0 or last:
                record |= held_out(average, preset, tokenizer, 1000 if last else 200)
                checkpoint.save(out / "model.bin", preset.shape, export(preset.shape, average.state_dict()))
                torch.save({"net": net.state_dict(), "average": average.state_dict(), "steps": done + step,
                            "optimiser": optimiser.state_dict(), "chunk": chunk}, out / "state.pt")
            total = 0.0
            with (out / "log.jsonl").open("a") as log:
                log.write(json.dumps(record) + "\n")
            print(json.dumps(record), flush=True)
        if last:
            return
        rate = peak * min(1.0, (step + 1) / WARMUP_STEPS)
        rate *= FINAL_FRACTION + (1 - FINAL_FRACTION) * 0.5 * (1 + math.cos(math.pi * progress))
        for group in optimiser.param_groups:
            group["lr"] = rate
        chunk, inputs, targets = next(source)
        loss = functional.cross_entropy(net(inputs).flatten(0, 1), targets.flatten(), ignore_index=IGNORED)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad()
        keep = min(AVERAGE_DECAY, (done + step) / (done + step + 10))  # forgets the initial weights at once
        with torch.no_grad():
            torch._foreach_lerp_(list(average.parameters()), list(net.parameters()), 1 - keep)
        total += loss.item()
        tokens += int((targets != IGNORED).sum())
        step += 1


def main() -> None:
    """Parse the command line and train."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("preset", choices=sorted(PRESETS))
    parser.add_argument("--out", type=Path, required=True, help="folder for the checkpoint, the state and the log")
    parser.add_argument("--minutes", type=float, default=math.inf, help="end, annealed, after this time")
    parser.add_argument("--steps", type=int, default=20_000, help="end, annealed, after this many steps")
    parser.add_argument("--batch", type=int, default=16, help="stories a step")
    parser.add_argument("--learning-rate", type=float, help="peak; default is the preset's")
    parser.add_argument("--resume", type=Path, help="state.pt of an earlier run to go on from")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--report", type=int, default=100, help="steps between log records")
    parser.add_argument("--seed", type=int, default=0, help="of the initial weights")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    train(PRESETS[args.preset], args)


if __name__ == "__main__":
    main()
