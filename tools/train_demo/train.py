#!/usr/bin/env python3
"""Trains the bundled model: a small Llama that recalls what it read, and knows what to drop.

    train.py --corpus books.txt.xz --work DIR --output DIR --train-s 660 --stop-after 565
    train.py --corpus books.txt.xz --work DIR --output DIR --train-s 660

The first command stops 565 seconds after it was started, the second goes on from there, measures
the model and ends. Both must have the same arguments but for --stop-after. One GPU; a small network
trains on a CPU too (--device cpu, --hidden, --layers ...).

The schedule follows the share of the training time that is spent, so that a run ends on time on any
machine. With --steps it follows the share of the steps instead: the same steps on the same data,
stopped or not.

    learning rate   rises for WARMUP_STEPS, is held, and falls in a line from HOLD of the way on
    context         PHASES: share of the way, tokens of a sequence, sequences of a step

Data: corpus.py (books, tokenizer), tasks.py (what is asked). Network: model.py; what it learns by:
loss.py; how: optimizer.py. A step's sequences depend on the seed and the step's number alone; so all
that a checkpoint must hold is weights, optimizers, step and time.

--work keeps the tokenized corpus, checkpoint.pt and train_log.jsonl; --output is the model
directory: safetensors, config.json, tokenizer, held_out.json, train_log.jsonl and, at the end,
figures.json.
"""

import time

STARTED = time.monotonic()

import argparse
import contextlib
import dataclasses
import json
import math
import random
import sys
from pathlib import Path

import numpy as np
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

import corpus as corpora
from evaluate import evaluate
from export import read_model, write_model
from loss import Trainee
from model import Shape, rope_tables
from optimizer import make_optimizers
from tasks import TaskMaker

# Short sequences teach the language and to look things up, long ones to look far. 65,536 tokens a
# step throughout.
PHASES = "0.45:2048:32,0.25:4096:16,0.18:16384:4,0.12:32768:2"
WARMUP_STEPS, HOLD, LAST_LR = 300, 0.4, 0.02
CLIP = 1.0
CHECKPOINT = "checkpoint.pt"
SHAPE = "hidden layers heads kv_heads head_dim ff vocab".split()  # arguments that are a Shape's


@dataclasses.dataclass(frozen=True)
class Phase:
    end: float  # share of the way
    tokens: int
    batch: int


def parse_phases(text: str) -> list[Phase]:
    phases, end = [], 0.0
    for part in text.split(","):
        share, tokens, batch = part.split(":")
        end += float(share)
        phases.append(Phase(end, int(tokens), int(batch)))
    if abs(end - 1) > 1e-6:
        sys.exit(f"train: the shares of --phases add up to {end}, not 1")
    return phases


class Progress:
    """How far the run is: the step to be made, and the seconds spent on earlier ones."""

    def __init__(self, args, phases: list[Phase]) -> None:
        self.args, self.phases = args, phases
        self.step, self.tokens = 0, 0
        self.earlier_s = 0.0  # before this process
        self.begun = time.monotonic()

    def seconds(self) -> float:
        return self.earlier_s + time.monotonic() - self.begun

    def share(self) -> float:
        return (
            self.step / self.args.steps if self.args.steps else self.seconds() / self.args.train_s
        )

    def phase(self) -> Phase | None:
        """None: the run is over."""
        share = self.share()
        return next((p for p in self.phases if share < p.end - 1e-9), None)

    def learning_rate(self) -> float:
        fall = max(0.0, min(1.0, (self.share() - HOLD) / (1 - HOLD)))
        return self.args.lr * min(1.0, (self.step + 1) / WARMUP_STEPS) * (1 - (1 - LAST_LR) * fall)

    def must_stop(self) -> bool:
        by_time = time.monotonic() - STARTED > self.args.stop_after
        return by_time or self.step == self.args.stop_step

    def state(self) -> dict:
        return {"step": self.step, "tokens": self.tokens, "seconds": self.seconds()}

    def load(self, state: dict) -> None:
        self.step, self.tokens, self.earlier_s = state["step"], state["tokens"], state["seconds"]
        self.begun = time.monotonic()


class Batches(torch.utils.data.IterableDataset):
    """The batches of step `first` and all later ones, each (tokens, weights) [batch, n + 1]. Worker
    w of W makes every W-th; the loader takes one from each in turn, and so in order."""

    def __init__(self, maker: TaskMaker, phase: Phase, seed: int, first: int) -> None:
        super().__init__()
        self.maker, self.phase, self.seed, self.first = maker, phase, seed, first

    def __iter__(self):
        worker = torch.utils.data.get_worker_info()
        step = self.first + (worker.id if worker else 0)
        while True:
            r = random.Random(f"{self.seed}/train/{step}")
            made = [self.maker.sequence(self.phase.tokens + 1, r) for _ in range(self.phase.batch)]
            tokens, weights = zip(*made)
            yield torch.from_numpy(np.stack(tokens)), torch.from_numpy(np.stack(weights))
            step += worker.num_workers if worker else 1


def loader(batches: Batches, workers: int, device: str):
    return iter(
        torch.utils.data.DataLoader(
            batches,
            batch_size=None,
            num_workers=workers,
            prefetch_factor=4 if workers else None,
            pin_memory=device == "cuda",
        )
    )


class Log:
    """JSON lines, in a file and on stdout. A run that goes on appends to them."""

    def __init__(self, path: Path, keep: bool) -> None:
        self.file = path.open("a" if keep else "w", encoding="utf-8")

    def __call__(self, record: dict) -> None:
        print(f"[{time.monotonic() - STARTED:6.1f}] {json.dumps(record)}", flush=True)
        self.file.write(json.dumps(record) + "\n")
        self.file.flush()


class Trainer:
    def __init__(self, args, shape: Shape, corpus: corpora.Corpus, log: Log) -> None:
        self.args, self.shape, self.log = args, shape, log
        unseen = corpus.held_out_words.all()
        self.maker = TaskMaker(corpus.tokenizer, corpus.train, corpus.words, unseen)
        torch.manual_seed(args.seed)
        self.net = Trainee(shape).to(args.device)
        self.optimizers = make_optimizers(self.net, args.weight_decay, args.device)
        self.progress = Progress(args, parse_phases(args.phases))
        if args.compile:
            torch._dynamo.config.cache_size_limit = 64
            self.net.compile()

    def save(self) -> None:
        path = Path(self.args.work) / CHECKPOINT
        state = {
            "arguments": schedule_arguments(self.args),
            "net": self.net.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "progress": self.progress.state(),
        }
        torch.save(state, path.with_suffix(".tmp"))
        path.with_suffix(".tmp").replace(path)

    def load(self) -> None:
        path = Path(self.args.work) / CHECKPOINT
        state = torch.load(path, map_location=self.args.device, weights_only=True)
        if state["arguments"] != schedule_arguments(self.args):
            sys.exit(f"train: {path} is of another run: {state['arguments']}")
        self.net.load_state_dict(state["net"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"]):
            optimizer.load_state_dict(saved)
        self.progress.load(state["progress"])

    def run(self) -> bool:
        """Trains until the end, then true, or until it must stop."""
        self.progress.begun = time.monotonic()
        while phase := self.progress.phase():
            if not self.run_phase(phase):
                return False
        return True

    def run_phase(self, phase: Phase) -> bool:
        rope = rope_tables(self.shape, phase.tokens, self.args.device)
        made = Batches(self.maker, phase, self.args.seed, self.progress.step)
        batches = loader(made, self.args.workers, self.args.device)
        since, logged = time.monotonic(), self.progress.tokens
        while self.progress.phase() is phase:
            if self.progress.must_stop():
                return False
            lr = self.progress.learning_rate()
            figures = self.step(next(batches), rope, lr)
            self.progress.step += 1
            self.progress.tokens += phase.tokens * phase.batch
            if self.progress.step % self.args.log_every == 0:
                values = [round(x, 4) for x in torch.stack(figures).tolist()]
                now = time.monotonic()
                rate = (self.progress.tokens - logged) / (now - since)
                since, logged = now, self.progress.tokens
                self.record(phase, lr, values, rate)
        return True

    def step(self, batch, rope, lr: float) -> list[torch.Tensor]:
        """Loss, cross entropy of text, of answers, and the norm of the gradient."""
        device = torch.device(self.args.device)
        tokens, weights = (x.to(device, non_blocking=True) for x in batch)
        tokens = tokens.long()
        inputs, targets = tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous()
        weights = weights[:, 1:].contiguous()
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = lr
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            with fast_attention(device, self.args.attention):
                hidden = self.net.model(inputs, *rope)
                loss, text, answers = self.net.losses(hidden, inputs, targets, weights)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.net.parameters(), CLIP)
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        return [loss.detach(), text, answers, norm]

    def record(self, phase: Phase, lr: float, values: list[float], rate: float) -> None:
        names = ("loss", "text", "answers", "gradient")
        progress = self.progress
        self.log(
            {
                "step": progress.step,
                "context": phase.tokens,
                "Mtokens": round(progress.tokens / 1e6, 3),
                "seconds": round(progress.seconds(), 1),
                "lr": float(f"{lr:.3e}"),
                **dict(zip(names, values)),
                "tokens_per_s": round(rate),
            }
        )
        if not math.isfinite(values[0]):
            sys.exit("train: the loss is not a number")


def fast_attention(device: torch.device, kind: str):
    """Never the whole matrix of scores."""
    if device.type != "cuda":
        return contextlib.nullcontext()
    cudnn = [SDPBackend.CUDNN_ATTENTION] if kind == "cudnn" else []
    return sdpa_kernel([*cudnn, SDPBackend.FLASH_ATTENTION], set_priority=True)


def schedule_arguments(args) -> dict:
    """What a run may not change when it goes on."""
    names = "seed steps train_s phases lr weight_decay".split()
    return {name: getattr(args, name) for name in names + SHAPE}


def parse_args() -> argparse.Namespace:
    shape = Shape()
    p = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument("--corpus", type=Path, required=True, help="text, or text packed with xz")
    p.add_argument("--work", type=Path, required=True, help="tokenized corpus, checkpoint, log")
    p.add_argument("--output", type=Path, required=True, help="model directory to write")
    p.add_argument("--train-s", type=float, default=660, help="seconds of training, in all")
    p.add_argument("--steps", type=int, default=0, help="train so many steps, not --train-s")
    p.add_argument("--stop-after", type=float, default=math.inf, help="seconds since the start")
    p.add_argument("--stop-step", type=int, default=-1, help="stop before this step")
    p.add_argument("--eval-s", type=float, default=60, help="seconds for figures.json, about")
    p.add_argument("--eval-samples", type=int, default=40, help="needles of a length")
    p.add_argument("--eval-lengths", default="1024,4096,16384,32768")
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--lr", type=float, default=2.5e-3)
    p.add_argument(
        "--weight-decay",
        type=float,
        default=0.5,
        help="much, because the books are read many times over",
    )
    p.add_argument("--phases", default=PHASES, help="share:tokens:batch,...")
    p.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    p.add_argument(
        "--attention",
        choices=["cudnn", "flash"],
        default="cudnn",
        help="cudnn: where it can be had, else flash",
    )
    p.add_argument("--workers", type=int, default=13, help="processes that make batches")
    p.add_argument("--threads", type=int, default=16, help="for tokenizing the corpus")
    p.add_argument("--compile", action=argparse.BooleanOptionalAction, default=True)
    p.add_argument("--log-every", type=int, default=100, help="steps")
    p.add_argument("--sample-bytes", type=int, default=12_000_000, help="text for the tokenizer")
    for name in SHAPE:
        p.add_argument("--" + name.replace("_", "-"), type=int, default=getattr(shape, name))
    return p.parse_args()


def main() -> None:
    args = parse_args()
    torch.set_float32_matmul_precision("high")
    shape = Shape(**{name: getattr(args, name) for name in SHAPE})
    corpus = corpora.prepare(args.corpus, args.work, args.vocab, args.sample_bytes, args.threads)
    goes_on = (args.work / CHECKPOINT).exists()
    log = Log(args.work / "train_log.jsonl", keep=goes_on)
    trainer = Trainer(args, shape, corpus, log)
    if goes_on:
        trainer.load()
    log(
        {
            "start": schedule_arguments(args),
            "corpus_tokens": len(corpus.train),
            "parameters": sum(p.numel() for p in trainer.net.model.parameters()),
            "torch": torch.__version__,
            **trainer.progress.state(),
        }
    )

    finished = trainer.run()
    trainer.save()
    log({"end": "finished" if finished else "stopped", **trainer.progress.state()})
    write_model(trainer.net.model, args.work, args.output)
    if not finished:
        return
    decoder = read_model(shape, args.output, args.device)
    lengths = [int(n) for n in args.eval_lengths.split(",")]
    figures = evaluate(
        decoder,
        corpus,
        lengths,
        args.eval_samples,
        torch.device(args.device),
        args.seed,
        args.eval_s,
        log,
    )
    corpora.write_json(args.output / "figures.json", figures)
    write_model(trainer.net.model, args.work, args.output)  # the log is complete now


if __name__ == "__main__":
    main()
