"""The README's table of lines: how much there is to read in each folder.

Numbers are rounded to hundreds: they say what to expect, and need not be made anew with each change.
"""

import re
from pathlib import Path

SOURCES = {".cpp", ".h", ".cu", ".cuh", ".py", ".sh"}

# Folder, and what it holds. The folders under these are counted with them, but for those named here.
FOLDERS = {
    "tokenizer": "text to ids and back",
    "weights": "a directory of files to checked matrices",
    "src": "the forward pass, the loop around it, the arena, the sampler",
    "src/base": "errors, files, JSON, checked sizes",
    "src/cpu": "every step on the CPU: the reference",
    "src/kv": "the cache, and the methods that winnow it",
    "src/eval": "whether answers survive that",
    "src/bench": "how fast a run is, and how fast it could be",
    "src/watch": "a run seen from outside: traces, dumps, profiles",
    "src/chat": "turns of a conversation",
    "src/cli": "options and messages",
    "src/commands": "one file for each command of the program",
    "cuda": "every step on the GPU",
    "tests": "tests that run without a GPU",
    "tests/gpu": "tests of the kernels",
    "tests/support": "what tests share: formulas, doubles, poisoned buffers",
    "tests/fuzz": "libFuzzer at the parsers",
    "tools": "what makes fixtures, figures and the bundled model",
}


def folder_of(path: Path) -> str | None:
    """The nearest folder above a file that the table names."""
    for parent in path.parents:
        if str(parent) in FOLDERS:
            return str(parent)
    return None


def counted(root: Path) -> dict[str, list[int]]:
    """Files, lines, and lines of comment alone, of each folder."""
    counts = {folder: [0, 0, 0] for folder in FOLDERS}
    tops = {folder.partition("/")[0] for folder in FOLDERS}
    for path in sorted(p for top in tops for p in (root / top).rglob("*") if p.suffix in SOURCES):
        folder = folder_of(path.relative_to(root))
        lines = path.read_text(encoding="utf-8").splitlines()
        comments = sum(
            bool(re.match(r"\s*(//|#(?!include|pragma|if|el|en|de|un|!))", x)) for x in lines
        )
        for i, n in enumerate((1, len(lines), comments)):
            counts[folder][i] += n
    return counts


def hundreds(n: int) -> str:
    return f"{max(1, round(n / 100)) * 100:,}"


def line_rows(root: Path) -> list[list[str]]:
    """The table's rows, and their sum."""
    counts = counted(root)
    rows = [
        [f"`{folder}`", str(files), hundreds(lines), hundreds(comments), FOLDERS[folder]]
        for folder, (files, lines, comments) in counts.items()
    ]
    files, lines, comments = (sum(column) for column in zip(*counts.values()))
    return [*rows, ["all", str(files), hundreds(lines), hundreds(comments), ""]]


def alike(old: str, new: str) -> bool:
    """Whether two texts of the table name the same folders, with numbers within a tenth or 300."""
    number = re.compile(r"\d[\d,]*")
    if number.sub("", old) != number.sub("", new):
        return False
    pairs = zip(number.findall(old), number.findall(new))
    numbers = [(int(a.replace(",", "")), int(b.replace(",", ""))) for a, b in pairs]
    return all(abs(a - b) <= max(0.1 * b, 300 if b >= 100 else 9) for a, b in numbers)
