"""Converts RULER (arXiv 2404.06654, NVIDIA/RULER), as its prepare.py writes it.

FILE is a task's validation.jsonl: JSON lines with input and outputs, in newer files with
answer_prefix too, which is the end of the prompt. The task is the name of the folder that FILE is
in, or of FILE; --task says otherwise. An answer may have as many tokens as in RULER's constants.

With --split the question is what begins

    niah_*         with the last line that starts with "What "
    vt, cwe, fwe   with the last line that starts with "Question: "
    qa_*           one paragraph before the last one that starts with "Question: ", because there
                   the instruction is said again

and all before it is the context. A record without such a line is refused.
"""

import argparse
import os
from pathlib import Path

from task_file import USAGE, ConvertError, Prompt, Record, Task, shown

LENGTHS = {"niah": 128, "vt": 30, "cwe": 120, "fwe": 50, "qa": 32}  # by family


def add_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--task", metavar="NAME", help="what the files hold, e.g. niah_single_1")
    add("--split", action="store_true", help="split each prompt into context and question")


def family_of(name: str) -> str:
    return name.split("_")[0]


def task_of(path: Path, named: str | None) -> str:
    """The task of a file: `named`, or the name of its folder, or its own."""
    if named is not None:
        names = [named]
    else:
        absolute = Path(os.path.abspath(path))
        names = [absolute.parent.name, absolute.name.split(".")[0]]
    for name in names:
        if family_of(name) in LENGTHS:
            return name
    if named is not None:
        raise ConvertError(USAGE, f"--task: {shown(named)} is no task of RULER")
    raise ConvertError(USAGE, f"{path}: no task of RULER has that name; --task says which it is")


class Converter:
    def __init__(self, arguments: argparse.Namespace):
        self.arguments = arguments

    def convert(self, record: Record) -> Task:
        name = task_of(record.path, self.arguments.task)
        family = family_of(name)
        text = record.text("input")
        cut = question_begin(record, family, text) if self.arguments.split else 0
        prefix = record.text("answer_prefix") if "answer_prefix" in record.fields else ""
        return Task(
            name=name,
            prompt=Prompt(text[:cut], text[cut:] + prefix),
            answers=record.texts("outputs"),
            metric="contains_any" if family == "qa" else "contains",
            max_tokens=LENGTHS[family],
        )


def question_begin(record: Record, family: str, text: str) -> int:
    """Where in `text` the question begins, by the rule of the task's family."""
    start = "What " if family == "niah" else "Question: "
    line_end = text.rfind("\n" + start)
    if line_end < 0:
        record.fail(f"no line of 'input' starts with {start!r}: nothing to --split")
    if family != "qa":
        return line_end + 1
    paragraph_end = text.rfind("\n\n", 0, line_end - 1)
    if paragraph_end < 0:
        record.fail("no paragraph comes before the question's and its instruction's")
    return paragraph_end + 2
