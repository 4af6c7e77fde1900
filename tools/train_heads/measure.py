"""What a mask of full and streaming heads costs: on books, keys and words that the model never saw.

    loss, text, answers    of the next token: as trained (answers count more), of plain text, of
                           answers
    recall_1, recall_8     share of needles that come back word for word, one secret in the text
                           or eight; streaming heads see sinks and window alone from the start
    recall_cut_1, _8       the same, but streaming heads are cut to sinks and window only after
                           the prompt was read with full attention, as a cache is after prefill

Shapes: as in gated.py.
"""

import dataclasses
import random

import numpy as np
import torch

from corpus import BOS, Corpus
from evaluate import Prefill, decode
from gated import GatedDecoder
from loss import cross_entropy, mean
from tasks import ANSWER, NOTHING, TEXT, TaskMaker, Tokens

# Not lists: there are too few held-out keys to fill one.
KINDS = ("text", "needles", "chain", "copy")
# An answer of so many words is longer than what the question's last row can foretell.
NEEDLE_WORDS = 6
SECRETS = (1, 8)  # in a text; one of them is asked for
BATCH_TOKENS = 1 << 16


def unseen_maker(corpus: Corpus) -> TaskMaker:
    return TaskMaker(corpus.tokenizer, corpus.held_out, corpus.held_out_words, None)


def next_token_losses(gated: GatedDecoder, tokens, weights, z) -> list[torch.Tensor]:
    """tokens and weights [B, T + 1], z [B, L, K]: as trained, of plain text, of answers."""
    inputs, targets = tokens[:, :-1], tokens[:, 1:].flatten()
    weights = weights[:, 1:].flatten()
    hidden = gated(inputs, z)
    nll = cross_entropy(hidden, gated.decoder.embed_tokens.weight, targets)[0]
    kinds = (weights, (weights == TEXT).float(), (weights == ANSWER).float())
    return [mean(nll, w) for w in kinds]


@dataclasses.dataclass
class Needles:
    prompts: torch.Tensor  # [B, T]
    answers: list[list[int]]  # tokens


class Measure:
    """Every mask is measured on the same texts."""

    def __init__(self, gated: GatedDecoder, corpus: Corpus, args) -> None:
        self.gated, self.tokenizer = gated, corpus.tokenizer
        self.device = torch.device(args.device)
        maker, self.batch = unseen_maker(corpus), max(1, BATCH_TOKENS // args.tokens)
        self.texts = [
            self.text(maker, args.tokens + 1, KINDS[i % len(KINDS)], f"{args.seed}/heads/text/{i}")
            for i in range(args.eval_texts)
        ]
        self.needles = {n: self.make_needles(maker, n, args) for n in SECRETS}

    @staticmethod
    def text(maker: TaskMaker, n: int, kind: str, seed: str) -> tuple[np.ndarray, np.ndarray]:
        tokens = Tokens()
        tokens.add([BOS], NOTHING)
        tokens.join(getattr(maker, kind)(n - 1, random.Random(seed)))
        return tokens.arrays()

    def make_needles(self, maker: TaskMaker, n_secrets: int, args) -> list[Needles]:
        cases = []
        for i in range(args.eval_needles):
            r = random.Random(f"{args.seed}/heads/needle/{n_secrets}/{i}")
            depth = (i + 0.5) / args.eval_needles
            prompt, answer = maker.needle_case(args.tokens, depth, n_secrets, NEEDLE_WORDS, r)
            cases.append((prompt, self.tokenizer.encode(f" {answer}.")))
        parts = [cases[i : i + self.batch] for i in range(0, len(cases), self.batch)]
        return [
            Needles(torch.from_numpy(np.stack([p for p, _ in part])), [a for _, a in part])
            for part in parts
        ]

    @torch.no_grad()
    def losses(self, mask: torch.Tensor) -> dict:
        """Means over texts. mask [L, K] of 0 and 1"""
        sums, weight = np.zeros(3), np.zeros(3)
        for first in range(0, len(self.texts), self.batch):
            part = self.texts[first : first + self.batch]
            tokens, weights = (torch.from_numpy(np.stack(x)).to(self.device) for x in zip(*part))
            z = mask.to(self.device).expand(len(part), -1, -1)
            w = weights[:, 1:]
            weight_here = [float(x.sum()) for x in (w, w == TEXT, w == ANSWER)]
            here = [float(x) for x in next_token_losses(self.gated, tokens.long(), weights, z)]
            sums += np.multiply(here, weight_here)
            weight += weight_here
        names = ("loss", "text", "answers")
        return {n: round(float(x), 4) for n, x in zip(names, sums / weight.clip(min=1e-6))}

    @torch.no_grad()
    def prefill(self, prompts: torch.Tensor, mask: torch.Tensor) -> Prefill:
        batch, length = prompts.shape
        layers = []

        def see(q, k, v):
            q, k, v = (x.unflatten(0, (batch, length)).transpose(1, 2) for x in (q, k, v))
            layers.append((q[:, :, -1], k, v))

        hidden = self.gated(prompts, mask.expand(batch, -1, -1), see)
        return Prefill(hidden.unflatten(0, (batch, length))[:, -1], layers, length)

    def seen(self, start: Prefill, mask: torch.Tensor) -> list[tuple[torch.Tensor, int]]:
        """What evaluate.decode asks for: the prompt's rows that each query head sees [B, H, T]
        beside the last `window`."""
        streaming = self.gated.streaming
        is_sink = torch.arange(start.length, device=self.device) < streaming.sink
        result = []
        for (q, k, _), is_full in zip(start.layers, mask.bool()):
            (batch, heads, _), kv_heads = q.shape, k.shape[1]
            kept = (is_full[:, None] | is_sink).repeat_interleave(heads // kv_heads, dim=0)
            result.append((kept.expand(batch, -1, -1), streaming.window))
        return result

    def recall(self, mask: torch.Tensor) -> dict:
        """mask [L, K] of 0 and 1"""
        mask = mask.to(self.device)
        result = {}
        for n_secrets, batches in self.needles.items():
            count = sum(len(part.answers) for part in batches)
            for name, prompt_mask in (("recall", mask), ("recall_cut", torch.ones_like(mask))):
                found = sum(self.found(part, prompt_mask, mask) for part in batches)
                result[f"{name}_{n_secrets}"] = round(found / count, 4)
        return result

    def found(self, part: Needles, prompt_mask: torch.Tensor, mask: torch.Tensor) -> int:
        """How many answers come, when prompts are read under one mask and answers written under
        another."""
        start = self.prefill(part.prompts.to(self.device), prompt_mask)
        n_new = max(map(len, part.answers))
        assert n_new <= self.gated.streaming.window, "full heads must see what was written"
        out = decode(self.gated.decoder, start, n_new, self.seen(start, mask)).tolist()
        return sum(row[: len(want)] == want for row, want in zip(out, part.answers))

    def figures(self, mask: torch.Tensor) -> dict:
        return {**self.losses(mask), **self.recall(mask)}
