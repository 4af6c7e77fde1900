"""Figures of a trained model on books, keys and words that it never saw.

Eviction is emulated: nothing is dropped, but every query head gets a mask of the rows that a
winnowed cache would still hold. With G query heads to a KV head and a budget of B rows:

    full        all
    sage        the first B/4, the best B/2G of those between by the last token's q.k, and as many
                of the last ones as are left
    random      the same, but drawn by chance
    streaming   the first 4 and the last B - 4

A generated token's row goes over the oldest of the last ones.
"""

import collections
import dataclasses
import math
import random
import time

import numpy as np
import torch
import torch.nn.functional as F

from corpus import BOS, EOS, Corpus
from model import Decoder, attend, rope_tables
from tasks import TaskMaker

TEXT_TOKENS = 1 << 18  # of held-out text for each length
NEEDLE_WORDS = 3
SECRETS = (1, 8)  # in a text; one of them is asked for
POLICIES = [("full", 0), ("sage", 128), ("random", 128), ("streaming", 128), ("streaming", 1024)]
BATCH_TOKENS = 1 << 17  # of prompts at once

STORY_PROMPT, STORY_TOKENS, STORIES = 64, 256, 16
STORY_GRAM = 4


@dataclasses.dataclass
class LayerCache:
    """Rows of a batch: k and v [B, K, room, E], and which of the prompt's rows each query head sees
    for good, [B, H, T], beside the last `recent`."""

    k: torch.Tensor
    v: torch.Tensor
    kept: torch.Tensor
    recent: int


def shares(policy: str, budget: int, group: int) -> tuple[int, int, int]:
    """Rows: sink, chosen by each query head, recent."""
    if policy == "streaming":
        return 4, 0, budget - 4
    sink, k = budget // 4, budget // (2 * group)
    return sink, k, budget - sink - group * k


def winnow(q, k, n_new: int, policy: str, budget: int, rng) -> tuple[torch.Tensor, int]:
    """q [B, H, E] of the last token, k [B, K, T, E]: kept [B, H, T], and the recent rows."""
    (batch, heads, _), (_, kv_heads, length, _) = q.shape, k.shape
    if policy == "full" or length <= budget:
        return torch.ones(batch, heads, length, dtype=torch.bool, device=q.device), length + n_new
    sink, chosen, recent = shares(policy, budget, heads // kv_heads)
    kept = torch.zeros(batch, heads, length, dtype=torch.bool, device=q.device)
    kept[..., :sink] = True
    if chosen > 0:
        if policy == "sage":
            grouped = q.float().unflatten(1, (kv_heads, -1))
            scores = torch.einsum("bkge,bkte->bkgt", grouped, k.float()).flatten(1, 2)
        else:
            scores = torch.rand(kept.shape, generator=rng, device=q.device)
        best = scores[..., sink : length - recent].topk(chosen, dim=-1).indices + sink
        kept.scatter_(2, best, True)
    return kept, recent


def decode_attention(q, cache: LayerCache, position: int) -> torch.Tensor:
    """q [B, H, E] over the rows 0...position that are seen; [B, H E]."""
    length = cache.kept.shape[2]
    seen = torch.arange(position + 1, device=q.device) > position - cache.recent
    seen = seen.expand(*q.shape[:2], -1).clone()
    seen[..., :length] |= cache.kept
    kv_heads = cache.k.shape[1]
    grouped = q.float().unflatten(1, (kv_heads, -1))
    scores = torch.einsum("bkge,bkte->bkgt", grouped, cache.k[:, :, : position + 1].float())
    scores = (scores * q.shape[-1] ** -0.5).masked_fill(
        ~seen.unflatten(1, (kv_heads, -1)), float("-inf")
    )
    values = cache.v[:, :, : position + 1].float()
    out = torch.einsum("bkgt,bkte->bkge", scores.softmax(-1), values)
    return out.flatten(1).to(q.dtype)


@dataclasses.dataclass
class Prefill:
    hidden: torch.Tensor  # [B, D] after the last token
    layers: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]  # last q [B, H, E], k, v
    length: int


@torch.no_grad()
def prefill(decoder: Decoder, tokens: torch.Tensor) -> Prefill:
    batch, length = tokens.shape
    cos, sin = (x.repeat(batch, 1) for x in rope_tables(decoder.shape, length, tokens.device))
    x, layers = decoder.embed_tokens(tokens.flatten()), []
    for layer in decoder.layers:
        q, k, v = layer.before(x, cos, sin)
        x = layer.after(x, attend(q, k, v, batch))
        q, k, v = (x.unflatten(0, (batch, length)).transpose(1, 2) for x in (q, k, v))
        layers.append((q[:, :, -1], k, v))
    return Prefill(decoder.norm(x.unflatten(0, (batch, length))[:, -1]), layers, length)


@torch.no_grad()
def generate(decoder: Decoder, start: Prefill, n_new: int, policy: str, budget: int, rng):
    """Greedy tokens [B, n_new] after one eviction."""
    seen = [winnow(q, k, n_new, policy, budget, rng) for q, k, _ in start.layers]
    return decode(decoder, start, n_new, seen)


@torch.no_grad()
def decode(decoder: Decoder, start: Prefill, n_new: int, seen: list[tuple[torch.Tensor, int]]):
    """Greedy tokens [B, n_new]; each layer's heads see the rows kept [B, H, T] and the recent ones."""
    caches = []
    for (_, k, v), (kept, recent) in zip(start.layers, seen):
        pad = (0, 0, 0, n_new)
        caches.append(LayerCache(F.pad(k, pad), F.pad(v, pad), kept, recent))
    device = start.hidden.device
    cos, sin = rope_tables(decoder.shape, start.length + n_new, device)
    hidden, out = start.hidden, []
    for position in range(start.length, start.length + n_new):
        out.append(decoder.logits(hidden).argmax(-1))
        x = decoder.embed_tokens(out[-1])
        here = slice(position, position + 1)
        for layer, cache in zip(decoder.layers, caches):
            q, k, v = layer.before(x, cos[here], sin[here])
            cache.k[:, :, position], cache.v[:, :, position] = k, v
            x = layer.after(x, decode_attention(q, cache, position))
        hidden = decoder.norm(x)
    return torch.stack(out, dim=1)


def piece_bytes(tokenizer) -> np.ndarray:
    """Bytes of text that each token stands for."""
    sizes = np.zeros(tokenizer.get_piece_size(), dtype=np.int64)
    for i in range(len(sizes)):
        if tokenizer.is_byte(i):
            sizes[i] = 1
        elif not tokenizer.is_control(i) and not tokenizer.is_unknown(i):
            sizes[i] = len(tokenizer.id_to_piece(i).replace("\u2581", " ").encode("utf-8"))
    return sizes


@torch.no_grad()
def text_figures(decoder: Decoder, corpus: Corpus, length: int, limit: int, device) -> dict:
    """Perplexity of held-out text in windows of `length` tokens, each after BOS."""
    sizes = piece_bytes(corpus.tokenizer)
    rows = min(limit, len(corpus.held_out)) // length
    cos, sin = rope_tables(decoder.shape, length, device)
    nll, n_bytes = 0.0, 0
    batch = max(1, BATCH_TOKENS // 4 // length)
    for first in range(0, rows, batch):
        tokens = corpus.held_out[first * length : min(first + batch, rows) * length]
        targets = torch.from_numpy(tokens.astype(np.int64).reshape(-1, length)).to(device)
        inputs = F.pad(targets[:, :-1], (1, 0), value=BOS)
        logits = decoder.logits(decoder(inputs, cos, sin)).float()
        nll += F.cross_entropy(logits, targets.flatten(), reduction="sum").item()
        n_bytes += int(sizes[tokens].sum())
    per_token = nll / (rows * length)
    return {
        "window": length,
        "tokens": rows * length,
        "nats_per_token": round(per_token, 4),
        "perplexity": round(math.exp(per_token), 3),
        "bits_per_byte": round(nll / math.log(2) / n_bytes, 4),
    }


def needle_figures(decoder, corpus: Corpus, length, count, n_secrets, device, seed) -> dict:
    """Of `count` needles, evenly spread over the text, how many come back word for word."""
    maker = TaskMaker(corpus.tokenizer, corpus.held_out, corpus.held_out_words, None)
    rng = torch.Generator(device=device)
    rng.manual_seed(seed)
    found: collections.Counter = collections.Counter()
    batch = max(1, BATCH_TOKENS // length)
    for first in range(0, count, batch):
        cases = []
        for i in range(first, min(first + batch, count)):
            r = random.Random(f"{seed}/needle/{length}/{n_secrets}/{i}")
            depth = (i + 0.5) / count
            cases.append(maker.needle_case(length, depth, n_secrets, NEEDLE_WORDS, r))
        start = prefill(decoder, torch.from_numpy(np.stack([c[0] for c in cases])).to(device))
        wanted = [corpus.tokenizer.encode(f" {answer}.") for _, answer in cases]
        for policy, budget in POLICIES:
            n_new = max(map(len, wanted))
            out = generate(decoder, start, n_new, policy, budget, rng).tolist()
            name = f"{policy}@{budget}" if budget else policy
            found[name] += sum(row[: len(want)] == want for row, want in zip(out, wanted))
    names = [f"{policy}@{budget}" if budget else policy for policy, budget in POLICIES]
    accuracy = {name: round(found[name] / count, 4) for name in names}
    return {"tokens": length, "secrets": n_secrets, "samples": count, "accuracy": accuracy}


def story_figures(decoder, corpus: Corpus, device, seed) -> dict:
    """How much greedy text goes in circles: the share of 4-grams that stood in it before."""
    maker = TaskMaker(corpus.tokenizer, corpus.held_out, corpus.held_out_words, None)
    prompts = []
    for i in range(STORIES):
        window = maker.window(STORY_PROMPT - 1, random.Random(f"{seed}/story/{i}"))
        prompts.append(np.concatenate([[BOS], window]).astype(np.int64))
    start = prefill(decoder, torch.from_numpy(np.stack(prompts)).to(device))
    out = generate(decoder, start, STORY_TOKENS, "full", 0, None).tolist()
    repeated, total = 0, 0
    for row in out:
        row = row[: row.index(EOS)] if EOS in row else row
        grams = [tuple(row[i : i + STORY_GRAM]) for i in range(len(row) - STORY_GRAM + 1)]
        repeated += len(grams) - len(set(grams))
        total += len(grams)
    sample = [int(t) for t in prompts[0][1:]], out[0]
    return {
        "tokens": STORY_TOKENS,
        "samples": STORIES,
        "repeated_4_grams": round(repeated / max(1, total), 4),
        "prompt": corpus.tokenizer.decode(sample[0]),
        "text": corpus.tokenizer.decode(sample[1]),
    }


def evaluate(decoder, corpus: Corpus, lengths, samples, device, seed, seconds: float, say) -> dict:
    """All figures that can be had in so many seconds; what is left out is not in the result."""
    begun = time.monotonic()
    figures: dict = {"text": [], "needles": []}

    def add(section: str, figure: dict) -> None:
        figures[section].append(figure)
        say({"figure": section, **figure})

    def in_time() -> bool:
        return time.monotonic() - begun < seconds

    with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
        for length in lengths:
            add(
                "text",
                text_figures(decoder, corpus, length, min(TEXT_TOKENS, samples << 15), device),
            )
        figures["greedy"] = story_figures(decoder, corpus, device, seed)
        say({"figure": "greedy", **figures["greedy"]})
        for n_secrets in SECRETS:
            for length in lengths:
                if in_time():
                    add(
                        "needles",
                        needle_figures(decoder, corpus, length, samples, n_secrets, device, seed),
                    )
    figures["seconds"] = round(time.monotonic() - begun, 1)
    return figures
