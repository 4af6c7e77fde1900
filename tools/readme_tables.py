#!/usr/bin/env python3
"""Writes the README's tables of measurements anew from tools/results.

    readme_tables.py            rewrites README.md
    readme_tables.py --check    fails where README.md is not what it would write

A table stands between the lines `<!-- NAME: made by tools/readme_tables.py -->` and
`<!-- end of NAME -->`.
"""

import argparse
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

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


TABLES: dict[str, Callable[[], str]] = {"needle": needle_table, "ppl": perplexity_table}


def rewritten(text: str) -> str:
    for name, make in TABLES.items():
        begin, end = f"<!-- {name}: made by tools/readme_tables.py -->", f"<!-- end of {name} -->"
        block = re.compile(f"{re.escape(begin)}\n.*?{re.escape(end)}", re.DOTALL)
        if not block.search(text):
            sys.exit(f"readme_tables: README.md has no place for the table {name}")
        table = make()
        text = block.sub(lambda _: f"{begin}\n\n{table}\n\n{end}", text)
    return text


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    path = ROOT / "README.md"
    text = path.read_text(encoding="utf-8")
    new = rewritten(text)
    if check and new != text:
        sys.exit("readme_tables: README.md is not up to date: run tools/readme_tables.py")
    if not check:
        path.write_text(new, encoding="utf-8")


if __name__ == "__main__":
    main()
