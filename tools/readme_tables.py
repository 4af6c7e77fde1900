#!/usr/bin/env python3
"""Writes the pages' tables anew: of measurements, from tools/results; of lines, from the sources.

    readme_tables.py            rewrites README.md, cuda/README.md and tools/results/roofline.svg
    readme_tables.py --check    fails where they are not what it would write

A table stands between the lines `<!-- NAME: made by tools/readme_tables.py -->` and
`<!-- end of NAME -->`. The check lets numbers of lines be off by a tenth.
"""

import argparse
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

from line_table import alike, line_rows
from roofline import Point, picture

ROOT = Path(__file__).resolve().parent.parent


def load(name: str) -> dict:
    return json.loads((ROOT / "tools/results" / name).read_text(encoding="utf-8"))


def markdown(header: list[str], lines: list[list[str]]) -> str:
    rule = ["---"] + ["--:"] * (len(header) - 1)
    return "\n".join("| " + " | ".join(cells) + " |" for cells in [header, rule, *lines])


def mebibytes(count: float) -> str:
    return f"{count / 2**20:.1f} MiB"


def needle_table() -> str:
    """Accuracy of each method by length, and what it held at the longest."""
    rows = [row for row in load("needle.json")["rows"] if row["depth"] is None]
    lengths = sorted({row["length"] for row in rows})
    methods = list(dict.fromkeys((row["policy"], row["budget"]) for row in rows))
    by_key = {(row["policy"], row["budget"], row["length"]): row for row in rows}
    header = ["policy", "rows a head", *(f"{n // 1024}K tokens" for n in lengths)]
    lines = []
    for policy, budget in methods:
        found = [by_key[policy, budget, n] for n in lengths]
        accuracy = [
            f"{100 * r['accuracy']:.0f} ({100 * r['ci95'][0]:.0f}..{100 * r['ci95'][1]:.0f})"
            for r in found
        ]
        held = [mebibytes(found[-1]["bytes_kept"]), mebibytes(found[-1]["bytes_peak"])]
        lines.append([policy, "all" if budget is None else str(budget), *accuracy, *held])
    return markdown([*header, "held", "at its highest"], lines)


def perplexity_table() -> str:
    lines = []
    for row in load("ppl.json")["rows"]:
        budget = "all" if row["budget"] is None else str(row["budget"])
        lines.append(
            [
                row["policy"],
                budget,
                f"{row['perplexity']:.2f}",
                f"{row['bits_per_byte']:.3f}",
                f"{row['kl']:.4f}",
                f"{100 * row['top1']:.1f} %",
            ]
        )
    return markdown(["policy", "rows a head", "perplexity", "bits/byte", "KL", "same top-1"], lines)


def bench_records() -> list[dict]:
    """Every record that `winnow bench` left in tools/results."""
    files = sorted((ROOT / "tools/results").glob("bench-*.json"))
    records = [r for file in files for r in json.loads(file.read_text(encoding="utf-8"))]
    return sorted(records, key=lambda r: (r["bench"], r["shape"], r["gpu"]), reverse=True)


def thousands(count: int) -> str:
    whole = count >= 1024 and count % 1024 == 0
    return f"{count // 1024}K" if whole else str(count)


def cache_text(record: dict) -> str:
    return "full" if record["budget"] is None else f"{record['policy']} {record['budget']}"


def gpu_text(record: dict) -> str:
    """ "H200" from "NVIDIA H200 (cuda)"."""
    return record["gpu"].replace("NVIDIA", "").split()[0]


def share_text(record: dict) -> str:
    return f"{100 * record['share']:.{2 if record['share'] < 0.05 else 0}f} %"


def spread_text(record: dict) -> str:
    """How far apart the repeats are, in percent of the median."""
    runs = record["runs"]
    if len(runs) < 2:
        return "one run"
    return f"{100 * (runs[-1] - runs[0]) / record['value']:.1f} %"


def machine_lines(records: list[dict]) -> str:
    """What it was measured on, and the ceilings that all the runs found."""
    machines = list(dict.fromkeys((r["gpu"], r["driver"]) for r in records))
    lines = []
    for gpu, driver in machines:
        found = [r["ceiling"] for r in records if (r["gpu"], r["driver"]) == (gpu, driver)]
        limits = []
        for name, unit in (("read", "GBps"), ("copy", "GBps"), ("gemm", "TFLOPs")):
            values = sorted(c[f"{name}_{unit}"] for c in found)
            span = f"{values[0]:.0f}..{values[-1]:.0f}"
            limits.append(f"{name} {span} {unit.replace('Bps', 'B/s').replace('Ps', 'P/s')}")
        commits = ", ".join(dict.fromkeys(r["commit"] for r in records if r["gpu"] == gpu))
        lines.append(f"{gpu}, driver {driver}, commit {commits}. Ceilings: {', '.join(limits)}.")
    return "\n".join(lines)


NOT_MEASURED = "Not measured yet: `make bench-gpu`."


def speed_table() -> str:
    """Whole passes: prompts that are read, tokens that are drawn."""
    records = [r for r in bench_records() if r["bench"] != "kernel"]
    if not records:
        return NOT_MEASURED
    lines = []
    for r in records:
        length = r["depth"] if r["bench"] == "decode" else r["prompt"]
        value = f"{r['value']:.1f}" if r["value"] < 1000 else f"{r['value']:,.0f}"
        lines.append(
            [
                r["bench"],
                gpu_text(r),
                r["shape"],
                thousands(length),
                cache_text(r),
                f"{value} {r['unit']}",
                share_text(r),
                spread_text(r),
            ]
        )
    header = ["", "GPU", "shape", "prompt or depth", "cache", "median", "share", "spread"]
    return markdown(header, lines) + "\n\n" + machine_lines(records)


def kernel_table() -> str:
    """Single steps, each at the rate of the ceiling that is nearer."""
    records = [r for r in bench_records() if r["bench"] == "kernel"]
    if not records:
        return NOT_MEASURED
    lines = []
    for r in records:
        ceiling = r["ceiling"]
        compute = r["TFLOPs"] / ceiling["gemm_TFLOPs"] > r["GBps"] / ceiling["read_GBps"]
        rate = f"{r['TFLOPs']:.0f} TFLOP/s" if compute else f"{r['GBps']:.0f} GB/s"
        lines.append(
            [
                f"`{r['name']}`",
                gpu_text(r),
                r["shape"],
                thousands(r["prompt"]),
                thousands(r["depth"]),
                cache_text(r),
                f"{r['value']:,.1f} us",
                rate,
                share_text(r),
            ]
        )
    header = ["kernel", "GPU", "shape", "rows", "depth", "cache", "time", "rate", "share"]
    return markdown(header, lines)


QUESTIONS = ["seen", "unseen"]
ORDERS = ["layer", "chunk", "chunk-patched"]


def method_rows(question: str, order: str) -> list[dict]:
    rows = load(f"methods-{question}-{order}.json")["rows"]
    return [row for row in rows if row["depth"] is None]


def methods_table() -> str:
    """Accuracy in percent of each method by budget, question seen / unseen, in layer order."""
    found = {q: method_rows(q, "layer") for q in QUESTIONS}
    cells = {(q, r["policy"], r["budget"]): r["accuracy"] for q in QUESTIONS for r in found[q]}
    policies = list(dict.fromkeys(row["policy"] for row in found["seen"]))
    budgets = sorted({row["budget"] for row in found["seen"] if row["budget"] is not None})
    lines = []
    for policy in policies:
        line = [policy]
        for budget in budgets:
            key = None if (QUESTIONS[0], policy, None) in cells else budget
            line.append(" / ".join(f"{100 * cells[q, policy, key]:.0f}" for q in QUESTIONS))
        lines.append(line)
    return markdown(["method", *map(str, budgets)], lines)


def critical_footprint(rows: list[dict], policy: str, full: float) -> str:
    """The least footprint that keeps 90 % of the full cache's accuracy, interpolated between the
    two measured points around it (arXiv 2506.17121, section 2.1)."""
    points = sorted((r["footprint"], r["accuracy"]) for r in rows if r["policy"] == policy)
    wanted = 0.9 * full
    reached = [i for i in range(len(points)) if points[i][1] >= wanted]
    if not reached:
        return f"> {100 * points[-1][0]:.1f}"
    i = reached[0]
    if i == 0:
        return f"< {100 * points[0][0]:.1f}"
    (x0, y0), (x1, y1) = points[i - 1], points[i]
    return f"{100 * (x0 + (wanted - y0) / (y1 - y0) * (x1 - x0)):.1f}"


def critical_table() -> str:
    """Critical KV footprint in percent, by question and order of prefill."""
    columns = [(question, order) for question in QUESTIONS for order in ORDERS]
    found = {column: method_rows(*column) for column in columns}
    first = found[columns[0]]
    policies = [p for p in dict.fromkeys(row["policy"] for row in first) if p != "full"]
    lines = []
    for policy in policies:
        line = [policy]
        for column in columns:
            full = next(r["accuracy"] for r in found[column] if r["policy"] == "full")
            line.append(critical_footprint(found[column], policy, full))
        lines.append(line)
    return markdown(["method", *(f"{question}, {order}" for question, order in columns)], lines)


def line_table() -> str:
    header = ["folder", "files", "lines", "of comment", "what it holds"]
    table = markdown(header, line_rows(ROOT))
    return table.replace("--: |\n", "--- |\n", 1)  # words in the last column


COURSE_GPU = "NVIDIA H200 (cuda)"
COURSE_SHAPE = "llama-3.1-8b"

# A step, what does it on a Hopper GPU, and whether that is once a layer.
TOKEN_STEPS = [
    ("embed", "`embed_kernel`", False),
    ("qkv", "`gemv_qkv_kernel`", True),
    ("attention_decode", "`attention_decode_mma_kernel`", True),
    ("attention_output", "`gemv_output_kernel`", True),
    ("gate_up", "`gemv_gate_up_kernel`", True),
    ("down", "`gemv_output_kernel`", True),
    ("logits", "`gemv_logits_kernel`", False),
    ("sample", "`sample_least_keys_kernel`, `sample_take_least_kernel`", False),
]
PROMPT_STEPS = [
    ("qkv", "`rmsnorm_kernel`, cuBLASLt, `rope_kernel`", True),
    ("attention_prefill", "`attention_prefill_sm90_kernel`", True),
    ("attention_output", "cuBLASLt", True),
    ("gate_up", "`rmsnorm_kernel`, cuBLASLt, `swiglu_kernel`", True),
    ("down", "cuBLASLt", True),
]


def step_record(name: str, few_rows: bool) -> dict:
    """The step as it was measured for one row, over 8K where it looks at rows, or for about 8K."""
    for r in bench_records():
        here = (r["gpu"], r["shape"], r["name"] if r["bench"] == "kernel" else None)
        depth = r["depth"] if name == "attention_decode" else 0
        fits = r["prompt"] == 1 if few_rows else 8192 <= r["prompt"] < 9000
        if here == (COURSE_GPU, COURSE_SHAPE, name) and fits and depth in (0, 8192):
            if name != "attention_decode" or r["depth"] == 8192:
                return r
    sys.exit(f"readme_tables: {name} was not measured for {COURSE_SHAPE} on {COURSE_GPU}")


def time_table(steps: list[tuple[str, str, bool]], few_rows: bool) -> str:
    """Where the time of a token or of a prompt's rows goes, the greatest first."""
    config = json.loads((ROOT / f"tools/shapes/{COURSE_SHAPE}.json").read_text(encoding="utf-8"))
    rows = []
    for name, kernel, in_layers in steps:
        record = step_record(name, few_rows)
        times = config["num_hidden_layers"] if in_layers else 1
        rows.append((times * record["value"], times, name, kernel, record))
    whole = sum(row[0] for row in rows)
    lines = [
        [f"`{name}`", kernel, str(times), f"{r['value']:,.1f} us", f"{total / 1000:.3f} ms",
         f"{100 * total / whole:.0f} %", f"{r['GBps']:.0f}", f"{r['TFLOPs']:.1f}"]
        for total, times, name, kernel, r in sorted(rows, reverse=True, key=lambda row: row[0])
    ]  # fmt: skip
    lines.append(["all", "", "", "", f"{whole / 1000:.3f} ms", "100 %", "", ""])
    header = ["step", "by", "times", "each", "together", "of all", "GB/s", "TFLOP/s"]
    return markdown(header, lines).replace("| --- | --: |", "| --- | --- |", 1)


def roofline_points() -> tuple[list[Point], float, float]:
    """The steps that compute something, and the two ceilings: TB/s and TFLOP/s."""
    points = []
    for names, few_rows in ((TOKEN_STEPS, True), (PROMPT_STEPS, False)):
        for name, _, _ in names:
            r = step_record(name, few_rows)
            if r["TFLOPs"] > 0.01:
                intensity = 1e3 * r["TFLOPs"] / r["GBps"]
                points.append(Point(name, few_rows, intensity, r["TFLOPs"], r["ceiling"]))
    ceiling = step_record("gate_up", True)["ceiling"]
    return points, ceiling["read_GBps"] / 1e3, ceiling["gemm_TFLOPs"]


def roofline_table() -> str:
    points, memory, compute = roofline_points()
    lines = []
    for p in sorted(points, key=lambda point: point.intensity):
        bound = "FLOPs" if p.intensity > compute / memory else "bytes"
        rows = "a token" if p.token else "8K rows"
        lines.append(
            [f"`{p.name}`", rows, f"{p.intensity:.1f}", bound, f"{p.roof():.1f}",
             f"{p.tflops:.1f}", f"{100 * p.tflops / p.roof():.0f} %"]
        )  # fmt: skip
    header = ["step", "of", "FLOP/byte", "bound by", "roof, TFLOP/s", "reached", "share"]
    ridge = (
        f"{COURSE_GPU}, shape of {COURSE_SHAPE}. The picture's roofs are of the run of a token's "
        f"products:\nreads {memory:.2f} TB/s, multiplies {compute:.0f} TFLOP/s; they meet at "
        f"{compute / memory:.0f} FLOP/byte. A row's roof and share are of the run\nthat timed it: "
        "ceilings differ by about 1 %."
    )
    return markdown(header, lines) + "\n\n" + ridge


TABLES: dict[str, dict[str, Callable[[], str]]] = {
    "README.md": {
        "needle": needle_table,
        "ppl": perplexity_table,
        "methods": methods_table,
        "critical": critical_table,
        "speed": speed_table,
        "kernels": kernel_table,
        "lines": line_table,
    },
    "cuda/README.md": {
        "token": lambda: time_table(TOKEN_STEPS, few_rows=True),
        "prompt": lambda: time_table(PROMPT_STEPS, few_rows=False),
        "roofline": roofline_table,
    },
}


def place_of(name: str) -> re.Pattern[str]:
    begin, end = f"<!-- {name}: made by tools/readme_tables.py -->", f"<!-- end of {name} -->"
    return re.compile(f"({re.escape(begin)}\n)(.*?)({re.escape(end)})", re.DOTALL)


def rewritten(page: str, text: str, check: bool) -> str:
    for name, make in TABLES[page].items():
        place = place_of(name).search(text)
        if not place:
            sys.exit(f"readme_tables: {page} has no place for the table {name}")
        table = f"\n{make()}\n\n"
        if check and name == "lines" and alike(place[2], table):
            continue
        text = text[: place.start(2)] + table + text[place.end(2) :]
    return text


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    old = {page: (ROOT / page).read_text(encoding="utf-8") for page in TABLES}
    new = {page: rewritten(page, text, check) for page, text in old.items()}
    drawn = ROOT / "tools/results/roofline.svg"
    old["tools/results/roofline.svg"] = drawn.read_text(encoding="utf-8") if drawn.exists() else ""
    new["tools/results/roofline.svg"] = picture(*roofline_points(), COURSE_GPU)
    stale = [page for page in old if new[page] != old[page]]
    if check and stale:
        sys.exit(f"readme_tables: not up to date, run tools/readme_tables.py: {', '.join(stale)}")
    for page in stale:
        (ROOT / page).write_text(new[page], encoding="utf-8")


if __name__ == "__main__":
    main()
