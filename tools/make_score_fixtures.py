#!/usr/bin/env python3
"""Makes tests/fixtures/scores: rows, and what every eviction method must make of them.

    tools/make_score_fixtures.py [FOLDER]

Computed with NumPy in double precision, from the papers' formulas, and with nothing of winnow's. The
rules and their sources are in the methods' headers, src/kv/*.h. Inputs are float32, as the program
reads them; q and k are rotated to their places. Draws are seeded: two runs write the same files.

No choice may hang on rounding: where a row that is kept and one that is not have scores within
MARGIN of each other, relative to the greater, this fails, and another seed is needed.
"""

import dataclasses
import json
import sys
from pathlib import Path

import numpy as np

MARGIN = 1e-5
WINDOW = 32
POOL = 7
THETA = 10000.0
SKIPPED = 4  # queries at the beginning of a text that Expected Attention leaves out
FUTURE = 512  # places to come that it averages over


@dataclasses.dataclass(frozen=True)
class Case:
    name: str
    n_heads: int
    n_kv_heads: int
    head_dim: int
    hidden: int
    rows: int
    budget: int
    chunk: int
    seed: int
    n_layers: int = 2

    @property
    def group(self) -> int:
        return self.n_heads // self.n_kv_heads


CASES = [
    Case("gqa", 6, 2, 16, 48, 200, 64, 10, 1),
    Case("odd", 5, 1, 10, 33, 131, 49, 7, 2),
]


@dataclasses.dataclass(frozen=True)
class Layer:
    q: np.ndarray  # [rows, n_heads, head_dim] rotated
    k: np.ndarray  # [n_kv_heads, rows, head_dim] rotated
    v: np.ndarray  # [n_kv_heads, rows, head_dim]
    wo: np.ndarray  # [hidden, n_heads * head_dim], as checkpoints have o_proj


# ---- inputs ----


def angles(places: np.ndarray, head_dim: int) -> np.ndarray:
    """[places, head_dim / 2], rounded to float32 as the models' own code rounds them."""
    exponent = np.arange(0, head_dim, 2, dtype=np.float32) / np.float32(head_dim)
    frequency = np.float32(1) / np.power(np.float32(THETA), exponent)
    return (places.astype(np.float32)[:, None] * frequency).astype(np.float64)


def rotate(x: np.ndarray, turn: np.ndarray) -> np.ndarray:
    """x [..., head_dim], turn [..., head_dim / 2]: pairs are half a head apart."""
    low, high = np.split(x, 2, axis=-1)
    cos, sin = np.cos(turn), np.sin(turn)
    return np.concatenate([low * cos - high * sin, high * cos + low * sin], axis=-1)


def draw_layer(case: Case, rng: np.random.Generator) -> Layer:
    """Keys crowd around a direction, values are of many lengths, and queries share a mean."""
    kv_shape = (case.n_kv_heads, case.rows, case.head_dim)
    turn = angles(np.arange(case.rows), case.head_dim)
    crowd = rng.normal(size=(case.n_kv_heads, 1, case.head_dim))
    k = rotate(1.2 * rng.normal(size=kv_shape) + 0.7 * crowd, turn)
    v = rng.normal(size=kv_shape) * np.exp(0.5 * rng.normal(size=kv_shape[:2] + (1,)))
    mean = rng.normal(size=(1, case.n_heads, case.head_dim))
    q = rng.normal(size=(case.rows, case.n_heads, case.head_dim)) + 0.8 * mean
    q = rotate(q, turn[:, None, :])
    wo = rng.normal(size=(case.hidden, case.n_heads * case.head_dim)) / np.sqrt(case.hidden)
    return Layer(*(x.astype(np.float32) for x in (q, k, v, wo)))


def in_double(layer: Layer) -> Layer:
    return Layer(*(getattr(layer, f.name).astype(np.float64) for f in dataclasses.fields(Layer)))


# ---- scores ----


def softmax(z: np.ndarray) -> np.ndarray:
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def per_query_head(x: np.ndarray, case: Case) -> np.ndarray:
    """[n_kv_heads, ...] -> [n_heads, ...]"""
    return np.repeat(x, case.group, axis=0)


def group_mean(x: np.ndarray, case: Case) -> np.ndarray:
    """[n_heads, ...] -> [n_kv_heads, ...]"""
    return x.reshape(case.n_kv_heads, case.group, *x.shape[1:]).mean(axis=1)


def attention(layer: Layer, case: Case) -> np.ndarray:
    """Causal weights of all queries.  [n_heads, rows, rows]"""
    keys = per_query_head(layer.k, case)
    z = np.einsum("qhd,hkd->hqk", layer.q, keys) / np.sqrt(case.head_dim)
    z[:, np.triu(np.ones((case.rows, case.rows), bool), 1)] = -np.inf
    return softmax(z)


def head_outputs(layer: Layer, case: Case) -> np.ndarray:
    """v W_O of every query head and row.  [n_heads, rows, hidden]"""
    wo = layer.wo.reshape(case.hidden, case.n_heads, case.head_dim)
    return np.einsum("hrd,ohd->hro", per_query_head(layer.v, case), wo)


def pool(x: np.ndarray, how: str) -> np.ndarray:
    """Over POOL neighbours along the last axis. What lies beyond the ends is 0 and counts in the
    average."""
    side = POOL // 2
    fill = 0.0 if how == "average" else -np.inf
    padded = np.pad(x, [(0, 0)] * (x.ndim - 1) + [(side, side)], constant_values=fill)
    neighbours = np.stack([padded[..., i : i + x.shape[-1]] for i in range(POOL)])
    return neighbours.mean(axis=0) if how == "average" else neighbours.max(axis=0)


def run_means(x: np.ndarray, length: int) -> np.ndarray:
    """x [n]: every element becomes the mean of its run."""
    return np.concatenate(
        [
            np.full(len(x[i : i + length]), x[i : i + length].mean())
            for i in range(0, len(x), length)
        ]
    )


def expected_logits(layer: Layer, case: Case) -> np.ndarray:
    """[n_heads, rows]"""
    d = case.head_dim
    plain = rotate(layer.q, -angles(np.arange(case.rows), d)[:, None, :])[SKIPPED:]
    turn = angles(np.arange(case.rows, case.rows + FUTURE), d)
    cos, sin = np.diag(np.cos(turn).mean(axis=0)), np.diag(np.sin(turn).mean(axis=0))
    r = np.block([[cos, -sin], [sin, cos]])
    z = []
    for head in range(case.n_heads):
        mean = r @ plain[:, head].mean(axis=0)
        covariance = r @ np.cov(plain[:, head], rowvar=False, bias=True) @ r.T
        k = layer.k[head // case.group]
        z.append(k @ mean / np.sqrt(d) + np.einsum("ri,ij,rj->r", k, covariance, k) / (2 * d))
    return np.array(z)


def scores_of(layer: Layer, case: Case) -> dict[str, np.ndarray]:
    """Over all rows, but for those of methods that keep a window: over the rows before it."""
    old = case.rows - WINDOW
    weights = attention(layer, case)
    window = weights[:, -WINDOW:]
    outputs = head_outputs(layer, case)
    z = expected_logits(layer, case)
    directions = layer.k / np.linalg.norm(layer.k, axis=-1, keepdims=True)
    mean = directions.mean(axis=1, keepdims=True)
    mean_norm = np.linalg.norm(mean, axis=-1)
    scores = {
        "window_sum": window.sum(axis=1),
        "window_mean": window.mean(axis=1),
        "window_norm": np.linalg.norm(window, axis=1),
        "value_norm": per_query_head(np.linalg.norm(layer.v, axis=-1), case),
        "output_norm": np.linalg.norm(outputs, axis=-1),
        "output_norm_l1": np.abs(outputs).sum(axis=-1),
        "accumulated": weights.sum(axis=1),
        "knorm": -np.linalg.norm(layer.k, axis=-1),
        "keydiff": -(directions * mean).sum(axis=-1) / mean_norm,
        "tova": weights[:, -1].mean(axis=0),
        "expected_logits": z,
        "expected": group_mean(softmax(z), case) * np.linalg.norm(layer.v, axis=-1),
    }
    sums, means = scores["window_sum"][:, :old], scores["window_mean"][:, :old]
    scores["snapkv"] = group_mean(pool(sums, "max"), case)
    scores["adakv"] = pool(group_mean(means, case), "max")
    scores["critical_attention"] = group_mean(pool(means, "max"), case)
    values = group_mean(scores["output_norm_l1"], case)[:, :old]
    scores["critical"] = (scores["critical_attention"] + 1e-4) * values
    p = (scores["window_norm"] * scores["output_norm"])[:, :old]
    pooled = pool(group_mean(p, case), "average")
    scores["laprox_p"] = p
    scores["laprox"] = pooled / pooled.sum()
    scores["chunkkv_base"] = sums.mean(axis=0)
    scores["chunkkv"] = run_means(scores["chunkkv_base"], case.chunk)
    return scores


# ---- choices ----


def best(scores: np.ndarray, k: int, what: str) -> list[int]:
    """The k greatest of `scores` [n], of equal ones the first; ascending."""
    order = np.argsort(-scores, kind="stable")
    if 0 < k < len(scores):
        last, next_one = scores[order[k - 1]], scores[order[k]]
        close = last - next_one <= MARGIN * max(abs(last), abs(next_one))
        if close and last != next_one:
            sys.exit(f"make_score_fixtures: {what}: a choice hangs on rounding; take another seed")
    return sorted(int(i) for i in order[:k])


def with_rows(rows: list[int], first: int, last: int) -> list[int]:
    return rows + list(range(first, last))


def by_list(scores: np.ndarray, k: int, case: Case, what: str) -> list[list[int]]:
    """Each list's best k of the rows before the window, and the window."""
    return [with_rows(best(s, k, what), case.rows - WINDOW, case.rows) for s in scores]


def adakv(scores: np.ndarray, k: int, case: Case) -> dict:
    """alpha = 0.2; capacities are rounded down, and what is left goes to the greatest remainders."""
    heads, old = scores.shape
    taken = np.bincount(np.array(best(scores.ravel(), heads * k, "adakv")) // old, minlength=heads)
    capacity = 0.8 * taken + 0.2 * k
    rounded = np.floor(capacity + 1e-9).astype(int)
    for h in np.argsort(rounded - capacity, kind="stable")[: heads * k - rounded.sum()]:
        rounded[h] += 1
    kept = [by_list(scores[h : h + 1], int(rounded[h]), case, "adakv")[0] for h in range(heads)]
    return {"taken": taken.tolist(), "capacity": rounded.tolist(), "kept": kept}


def critical(scores: dict[str, np.ndarray], k: int, case: Case) -> list[list[int]]:
    kept = []
    for attention_score, score in zip(scores["critical_attention"], scores["critical"]):
        first = best(attention_score, k // 2, "criticalkv, first stage")
        rest = score.copy()
        rest[first] = np.inf
        kept.append(with_rows(best(rest, k, "criticalkv"), case.rows - WINDOW, case.rows))
    return kept


def heavy_hitters(scores: np.ndarray, case: Case) -> list[list[int]]:
    """Half of the budget by accumulated attention, half the last rows."""
    recent = case.budget // 2
    old = case.rows - recent
    heavy = case.budget - recent
    return [with_rows(best(s[:old], heavy, "h2o"), old, case.rows) for s in scores]


def choices_of(scores: dict[str, np.ndarray], case: Case) -> dict:
    k = case.budget - WINDOW
    last = case.rows - 1

    def but_last(s: np.ndarray, what: str) -> list[int]:
        return with_rows(best(s[:last], case.budget - 1, what), last, case.rows)

    sinks = list(range(SKIPPED))
    expected = [
        sinks
        + [SKIPPED + r for r in best(s[SKIPPED:last], case.budget - SKIPPED - 1, "expected")]
        + [last]
        for s in scores["expected"]
    ]
    return {
        "snapkv": by_list(scores["snapkv"], k, case, "snapkv"),
        "adakv": adakv(scores["adakv"], k, case),
        "criticalkv": critical(scores, k, case),
        "chunkkv": by_list(scores["chunkkv"][None], k, case, "chunkkv")[0],
        "tova": but_last(scores["tova"], "tova"),
        "keydiff": [but_last(s, "keydiff") for s in scores["keydiff"]],
        "knorm": [but_last(s, "knorm") for s in scores["knorm"]],
        "expected": expected,
        "h2o": heavy_hitters(scores["accumulated"], case),
    }


def laprox(scores: np.ndarray, case: Case) -> list[list[list[int]]]:
    """One cut through all layers and KV heads.  scores [n_layers, n_kv_heads, old]"""
    layers, heads, old = scores.shape
    taken = np.array(best(scores.ravel(), layers * heads * (case.budget - WINDOW), "laprox"))
    lists = [taken[taken // old == i] % old for i in range(layers * heads)]
    kept = [with_rows(rows.tolist(), old, case.rows) for rows in lists]
    return [kept[layer * heads : (layer + 1) * heads] for layer in range(layers)]


def pyramid(k: int, n_layers: int, candidates: int) -> list[float]:
    """PyramidKV's rows of each layer beside the window, before rounding; beta = 20."""
    least = k / 20
    most = 2 * k - least
    if most > candidates:
        most = candidates
        least = 2 * k - most
    return np.linspace(most, least, n_layers).tolist()


# ---- files ----


def write_case(folder: Path, case: Case) -> None:
    rng = np.random.default_rng(case.seed)
    folder.mkdir(parents=True, exist_ok=True)
    drawn = [draw_layer(case, rng) for _ in range(case.n_layers)]
    scores = [scores_of(in_double(layer), case) for layer in drawn]
    for field in dataclasses.fields(Layer):
        np.save(folder / f"{field.name}.npy", np.stack([getattr(x, field.name) for x in drawn]))
    for name in scores[0]:
        stacked = np.stack([s[name] for s in scores])
        np.save(folder / f"{name}.npy", stacked.astype(np.float32))
    pyramids = [(32, 32, 4000), (32, 28, 50), (480, 32, 7000), (96, 2, 168)]
    expected = {
        **dataclasses.asdict(case),
        "window": WINDOW,
        "pool": POOL,
        "rope_theta": THETA,
        "layers": [choices_of(s, case) for s in scores],
        "laprox": laprox(np.stack([s["laprox"] for s in scores]), case),
        "pyramidkv": [
            {"k": k, "n_layers": n, "candidates": c, "layer_k": pyramid(k, n, c)}
            for k, n, c in pyramids
        ],
    }
    text = json.dumps(expected, separators=(",", ":"))
    (folder / "case.json").write_text(text.replace('],"', '],\n"') + "\n")


def main() -> None:
    repository = Path(__file__).resolve().parent.parent
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else repository / "tests/fixtures/scores"
    for case in CASES:
        write_case(folder / case.name, case)


if __name__ == "__main__":
    main()
