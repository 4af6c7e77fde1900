#!/usr/bin/env python3
"""Checks with NumPy which rows of the KV cache the method sage kept.

    tools/check_selection.py DUMP_DIR KEPT.json --sink S --recent R --k K

KEPT.json is what --kv-dump wrote. DUMP_DIR holds, for each layer LL that is to be checked,

    layer_LL.q_last.npy   float32 [n_heads, head_dim]            query of the prompt's last token
    layer_LL.k.npy        float32 [n_kv_heads, rows, head_dim]   keys, rotated, in order of position

A query head must see exactly the first S rows, the last R, and of those between the K with the
highest q.k, of equal ones the lower position. That is computed here anew, in double precision. A
text that is no longer than the budget keeps every row.

Scores that rounding may put on either side of the cut are near-ties: those that differ from the
score of the last row chosen by no more than NEAR times the sum of the absolute products in both
dot products. Which of them were chosen is not checked, only how many, and they are reported.
"""

import argparse
import dataclasses
import json
import sys
from pathlib import Path

import numpy as np

SHOWN = 5  # positions named in a message


@dataclasses.dataclass(frozen=True)
class Zones:
    sink: int
    recent: int
    k: int
    near: float


@dataclasses.dataclass
class Finding:
    """What a query head's rows were found to be."""

    errors: list[str]
    near_ties: int = 0  # rows whose choice rounding may have changed
    moved: int = 0  # of them, rows that were chosen otherwise than here

    def add(self, what: str, positions: np.ndarray) -> None:
        if len(positions):
            self.errors.append(f"{what}: {name_some(positions)}")


def fail(message: str) -> None:
    sys.exit(f"check_selection: {message}")


def name_some(positions: np.ndarray) -> str:
    more = ", ..." if len(positions) > SHOWN else ""
    return ", ".join(str(p) for p in positions[:SHOWN]) + more


def choose(scores: np.ndarray, k: int) -> np.ndarray:
    """The k highest of `scores` [rows], of equal ones those that come first, best first."""
    return np.argsort(-scores, kind="stable")[:k]


def find_near(products: np.ndarray, last: int, expected: np.ndarray, near: float) -> np.ndarray:
    """Rows near the cut, bool [rows], where rounding may change the choice; else none.

    `last` is the last row chosen. Rows with its very products have its score however it is rounded.
    """
    scores, sizes = products.sum(axis=1), np.abs(products).sum(axis=1)
    close = np.abs(scores - scores[last]) <= near * (sizes + sizes[last])
    same = (products == products[last]).all(axis=1)
    can_change = (close & ~expected).any() and (close & ~same).any()
    return close if can_change else np.zeros_like(close)


def check_head(q: np.ndarray, keys: np.ndarray, seen: np.ndarray, zones: Zones) -> Finding:
    """`q` [head_dim], `keys` [rows, head_dim], `seen` bool [rows]: what the head still sees."""
    finding = Finding([])
    begin, end = zones.sink, len(keys) - zones.recent
    always = np.ones(len(keys), dtype=bool)
    always[begin:end] = False
    finding.add("sinks or recents are missing", np.flatnonzero(always & ~seen))

    products = keys[begin:end] * q
    best = choose(products.sum(axis=1), zones.k)
    expected = np.zeros(end - begin, dtype=bool)
    expected[best] = True
    found = seen[begin:end]
    if found.sum() != expected.sum():
        finding.errors.append(f"{found.sum()} rows were chosen, not {expected.sum()}")
    near = np.zeros_like(expected)
    if len(best):
        near = find_near(products, best[-1], expected, zones.near)
        equal = np.flatnonzero((products == products[best[-1]]).all(axis=1))
        late = equal[1:][found[equal[1:]] & ~found[equal[:-1]]]
        finding.add("chosen before a lower position of the same score", begin + late)
    finding.near_ties = int(near.sum())
    finding.moved = int((near & (found != expected)).sum())
    finding.add("wrongly missing", begin + np.flatnonzero(expected & ~found & ~near))
    finding.add("wrongly chosen", begin + np.flatnonzero(found & ~expected & ~near))
    return finding


def seen_rows(head: dict, rows: int, group: int, where: str) -> tuple[np.ndarray, list[str]]:
    """Which rows each query head sees, bool [group, rows], and what is wrong with the list."""
    errors = []
    positions = np.array(head["positions"], dtype=np.int64)
    masks = np.array(head["masks"], dtype=np.int64)
    if positions.shape != masks.shape:
        fail(f"{where}: {len(positions)} positions and {len(masks)} masks")
    inside = len(positions) == 0 or (positions[0] >= 0 and positions[-1] < rows)
    if not inside or (np.diff(positions) <= 0).any():
        fail(f"{where}: positions do not ascend from 0 to {rows - 1}")
    if (masks >> group != 0).any() or (masks < 0).any():
        errors.append(f"masks have bits over the {group} query heads")
    unseen = positions[masks == 0]
    if len(unseen):
        errors.append(f"rows are kept that no query head sees: {name_some(unseen)}")
    seen = np.zeros((group, rows), dtype=bool)
    for g in range(group):
        seen[g, positions] = masks >> g & 1
    return seen, errors


def load(path: Path, shape: tuple) -> np.ndarray:
    """A float32 array in double precision; None in `shape` is any size."""
    try:
        array = np.load(path)
    except (OSError, ValueError) as error:
        fail(f"{path}: {error}")
    fits = array.ndim == len(shape) and all(n in (None, m) for n, m in zip(shape, array.shape))
    if array.dtype != np.float32 or not fits:
        wanted = ", ".join("any" if n is None else str(n) for n in shape)
        fail(f"{path}: {array.dtype} {list(array.shape)}, not float32 [{wanted}]")
    if not np.isfinite(array).all():
        fail(f"{path}: not all values are finite")
    return array.astype(np.float64)


def check_layer(kept: dict, layer: int, folder: Path, zones: Zones) -> bool:
    n_kv_heads, group, rows = kept["n_kv_heads"], kept["group"], kept["n_tokens"]
    q = load(folder / f"layer_{layer:02}.q_last.npy", (n_kv_heads * group, None))
    keys = load(folder / f"layer_{layer:02}.k.npy", (n_kv_heads, rows, q.shape[1]))
    heads = kept["layers"][layer]["heads"]
    keeps_all = kept["budget"] is None or rows <= kept["budget"]
    errors, near_ties, moved = [], 0, 0
    for h in range(n_kv_heads):
        seen, wrong = seen_rows(heads[h], rows, group, f"layer {layer}, KV head {h}")
        errors += [f"KV head {h}: {message}" for message in wrong]
        for g in range(group):
            if keeps_all:
                gone = np.flatnonzero(~seen[g])
                finding = Finding([])
                finding.add("rows are gone", gone)
            else:
                finding = check_head(q[h * group + g], keys[h], seen[g], zones)
            errors += [f"query head {h * group + g}: {message}" for message in finding.errors]
            near_ties += finding.near_ties
            moved += finding.moved
    stored = sum(len(head["positions"]) for head in heads)
    ties = f", {near_ties} near-ties, {moved} of them chosen otherwise" if near_ties else ""
    verdict = "WRONG" if errors else "equal"
    print(f"layer {layer}: {stored} rows of {n_kv_heads * rows}: {verdict}{ties}")
    for message in errors:
        print(f"  {message}")
    return not errors


def parse_arguments() -> argparse.Namespace:
    about, _, details = __doc__.partition("\n\n")
    parser = argparse.ArgumentParser(
        description=about, epilog=details, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("folder", type=Path, metavar="DUMP_DIR", help="folder of the layers' .npy files")
    add("kept", type=Path, metavar="KEPT.json", help="what --kv-dump wrote")
    add("--sink", type=int, required=True, metavar="S", help="first rows, always kept")
    add("--recent", type=int, required=True, metavar="R", help="last rows, always kept")
    add("--k", type=int, required=True, metavar="K", help="rows that each query head chooses")
    add("--near", type=float, default=1e-6, help="how near near-ties are (default: %(default)s)")
    arguments = parser.parse_args()
    if min(arguments.sink, arguments.recent, arguments.k, arguments.near) < 0:
        parser.error("no number may be negative")
    return arguments


def main() -> None:
    arguments = parse_arguments()
    zones = Zones(arguments.sink, arguments.recent, arguments.k, arguments.near)
    try:
        kept = json.loads(arguments.kept.read_text())
    except (OSError, ValueError) as error:
        fail(f"{arguments.kept}: {error}")
    layers = [
        layer
        for layer in range(kept["n_layers"])
        if (arguments.folder / f"layer_{layer:02}.k.npy").exists()
    ]
    if not layers:
        fail(f"{arguments.folder}: no file layer_LL.k.npy of {kept['n_layers']} layers")
    if kept["budget"] is not None and zones.sink + zones.recent > kept["n_tokens"] > kept["budget"]:
        fail(f"--sink and --recent are more than the {kept['n_tokens']} rows")
    good = [check_layer(kept, layer, arguments.folder, zones) for layer in layers]
    print(f"{sum(good)} of {len(good)} layers equal, {kept['n_layers'] - len(good)} not dumped")
    sys.exit(0 if all(good) else 1)


if __name__ == "__main__":
    main()
