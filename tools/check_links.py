#!/usr/bin/env python3
"""Checks that what the README.md files point to is there.

    check_links.py              every README.md of the repository
    check_links.py FILE...      these

    [text](path#heading)        the path exists beside the page, the page there has the heading
    `path: name()`              the file has a function of that name (`path: Name`: the word)
    `folder/file.cpp`           the file exists, beside the page or from the top
    -tc="pattern,pattern"       each pattern is the name of a test (* stands for anything)

Files and tests that a page asks its reader to write are called exercise.
"""

import re
import subprocess
import sys
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

FENCE = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)
CODE = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
SOURCE = r"[\w./-]+\.(?:cpp|cuh|cu|h|py|sh)"
PLACE = re.compile(rf"({SOURCE}): (?:\w+::)*(~?\w+)(\(\))?")
FILE = re.compile(rf"(?:\w[\w.-]*/)+{SOURCE}")
TESTS = re.compile(r'-tc="([^"]+)"')
CASE = re.compile(r'TEST_CASE\(\s*"((?:[^"\\]|\\.)*)"')

MADE_BY_READER = ("exercise", "vnorm")  # in the names of files that the pages ask for


@cache
def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8")


@cache
def headings(path: Path) -> set[str]:
    """The anchors that GitHub gives the headings of a page."""
    titles = re.findall(r"^#+ (.+)$", FENCE.sub("", text_of(path)), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@cache
def test_names() -> list[str]:
    files = sorted((ROOT / "tests").rglob("*.cpp"))
    return [name.lower() for file in files for name in CASE.findall(text_of(file))]


def found(page: Path, name: str) -> Path | None:
    """The file of that name, beside the page or from the top."""
    for start in (page.parent, ROOT):
        if (start / name).is_file():
            return start / name
    return None


def link_fault(page: Path, target: str) -> str | None:
    if re.match(r"\w+:", target):
        return None  # another site
    name, _, anchor = target.partition("#")
    path = (page.parent / name).resolve() if name else page
    if not path.is_relative_to(ROOT) or not path.exists():
        return f"no such file: {target}"
    if anchor and (path.suffix != ".md" or anchor not in headings(path)):
        return f"no such heading: {target}"
    return None


def code_fault(page: Path, code: str) -> str | None:
    if place := PLACE.fullmatch(code):
        name, word, call = place.groups()
        file = found(page, name)
        if file is None:
            return f"no such file: {name}"
        pattern = rf"(?<!\w){re.escape(word)}" + (r"\s*(<[^;(]*>)?\s*\(" if call else r"\b")
        return None if re.search(pattern, text_of(file)) else f"{name} has no {word}{call or ''}"
    made_by_reader = any(word in code for word in MADE_BY_READER)
    if FILE.fullmatch(code) and found(page, code) is None and not made_by_reader:
        return f"no such file: {code}"
    return None


def test_fault(page: Path, pattern: str) -> str | None:
    wanted = pattern.strip().lower().replace("[", "[[]")
    own = [name.lower() for name in CASE.findall(text_of(page))]
    if any(fnmatchcase(name, wanted) for name in test_names() + own):
        return None
    return f"no test is called {pattern.strip()}"


def faults(page: Path) -> list[str]:
    text = text_of(page)
    prose = FENCE.sub("", text)
    said = [link_fault(page, target) for target in LINK.findall(CODE.sub("code", prose))]
    said += [code_fault(page, code) for code in CODE.findall(prose)]
    said += [test_fault(page, p) for group in TESTS.findall(text) for p in group.split(",")]
    return [fault for fault in said if fault]


def main() -> None:
    if any(word.startswith("-") for word in sys.argv[1:]):
        sys.exit(__doc__)
    names = sys.argv[1:]
    if not names:
        listed = subprocess.run(
            ["git", "ls-files", "-co", "--exclude-standard", "*README.md"],
            cwd=ROOT,
            check=True,
            capture_output=True,
            text=True,
        )
        names = [str(ROOT / name) for name in listed.stdout.split()]
    failed = False
    for name in names:
        page = Path(name).resolve()
        for fault in faults(page):
            print(f"{page.relative_to(ROOT)}: {fault}", file=sys.stderr)
            failed = True
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
