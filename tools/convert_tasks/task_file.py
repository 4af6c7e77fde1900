"""Records in, tasks out: what all converters share.

A task file holds one JSON object a line, without empty texts:

    id, task             texts; the Nth task of a name has the ID NAME-N
    prompt               what the model reads; or, in its place,
    context, question    the same in two parts: the question may be read after rows were dropped
    answers              list of texts, at least one
    metric               one of METRICS
    max_tokens           that an answer may have, 1 to MAX_TOKENS
    stop                 list of texts that end an answer, often none

src/eval/task_file.h says the same for who reads it, src/eval/metrics.h what the metrics are.
"""

import contextlib
import dataclasses
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NoReturn

USAGE, UNREADABLE = 2, 6  # exit codes, those of the winnow binary
METRICS = ("exact", "contains", "contains_any", "f1", "rouge_l", "edit_sim", "count")
MAX_TOKENS = 1_000_000
SHOWN = 60  # characters of a text in a message


class ConvertError(Exception):
    """Ends the command with `code` and the line "convert: MESSAGE"."""

    def __init__(self, code: int, message: str):
        super().__init__(message)
        self.code = code


def fail(where: object, what: str) -> NoReturn:
    raise ConvertError(UNREADABLE, f"{where}: {what}")


def shown(text: str) -> str:
    """`text` in quotes, fit for a message."""
    return repr(text if len(text) <= SHOWN else text[:SHOWN] + "...")


def read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        fail(path, error.strerror)


def refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")


def parse_object(data: bytes, path: Path, line: int) -> dict:
    """The JSON object that `data`, UTF-8 and from line `line` of `path` on, consists of."""
    try:
        value = json.loads(data.decode("utf-8"), parse_constant=refuse_constant)
    except json.JSONDecodeError as error:
        fail(f"{path}:{line + error.lineno - 1}", f"not JSON: {error.msg}, column {error.colno}")
    except RecursionError:
        fail(f"{path}:{line}", "not JSON: nested too deeply")
    except ValueError as error:
        fail(f"{path}:{line}", f"not JSON: {error}")
    if not isinstance(value, dict):
        fail(f"{path}:{line}", "not a JSON object")
    return value


def is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


@dataclasses.dataclass(frozen=True)
class Record:
    """One line of a benchmark's file. A key that is missing or of another type ends the command."""

    path: Path
    line: int
    fields: dict

    def fail(self, what: str) -> NoReturn:
        fail(f"{self.path}:{self.line}", what)

    def refuse(self, what: str) -> NoReturn:
        """For what is well-formed but not converted."""
        raise ConvertError(USAGE, f"{self.path}:{self.line}: {what}")

    def get(self, key: str) -> object:
        if key not in self.fields:
            self.fail(f"has no {key!r}")
        return self.fields[key]

    def text(self, key: str) -> str:
        value = self.get(key)
        if not isinstance(value, str):
            self.fail(f"{key!r} is not a text")
        return value

    def texts(self, key: str) -> list[str]:
        value = self.get(key)
        if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
            self.fail(f"{key!r} is not a list of texts")
        return value

    def number(self, key: str) -> int | float:
        value = self.get(key)
        if not is_number(value):
            self.fail(f"{key!r} is not a number")
        return value


def read_records(path: Path) -> Iterator[Record]:
    """The records of a JSON lines file, at least one; lines without any text do not count."""
    found = False
    try:
        with path.open("rb") as file:
            for line, data in enumerate(file, 1):
                if data.strip():
                    found = True
                    yield Record(path, line, parse_object(data, path, line))
    except OSError as error:
        fail(path, error.strerror)
    if not found:
        fail(path, "has no records")


@dataclasses.dataclass(frozen=True)
class Prompt:
    """What the model reads: `context`, then `question`. Where either is empty it is one piece."""

    context: str
    question: str

    def joined(self) -> "Prompt":
        return Prompt("", self.context + self.question)

    def fields(self) -> dict[str, str]:
        if self.context and self.question:
            return {"context": self.context, "question": self.question}
        return {"prompt": self.context + self.question}


@dataclasses.dataclass(frozen=True)
class Task:
    name: str
    prompt: Prompt
    answers: list[str]
    metric: str
    max_tokens: int
    stop: tuple[str, ...] = ()


def check(task: Task, record: Record) -> None:
    """Ends the command where `task` is not one of a task file, or no answer could be right."""
    assert task.metric in METRICS and 1 <= task.max_tokens <= MAX_TOKENS
    if not task.prompt.context + task.prompt.question:
        record.fail("the prompt is empty")
    if not task.answers:
        record.fail("has no answer")
    if "" in task.answers:
        record.fail("an answer is empty")
    if task.metric == "count":
        for answer in task.answers:
            if not re.fullmatch("[0-9]+", answer):
                record.fail(f"the answer {shown(answer)} is not a number")


class TaskWriter:
    """Writes tasks to `file`, and counts them by name."""

    def __init__(self, file: BinaryIO):
        self.file = file
        self.counts: dict[str, int] = {}

    def add(self, task: Task, record: Record) -> None:
        check(task, record)
        number = self.counts.get(task.name, 0) + 1
        self.counts[task.name] = number
        fields = {
            "id": f"{task.name}-{number}",
            "task": task.name,
            **task.prompt.fields(),
            "answers": task.answers,
            "metric": task.metric,
            "max_tokens": task.max_tokens,
            "stop": list(task.stop),
        }
        try:
            self.file.write((json.dumps(fields, ensure_ascii=False) + "\n").encode("utf-8"))
        except UnicodeEncodeError:
            record.fail("half of a surrogate pair is no text")


@contextlib.contextmanager
def replaced(path: Path) -> Iterator[BinaryIO]:
    """A file that becomes `path` when the block ends. Where the block fails nothing is left of it,
    and what was at `path` stays."""
    target = Path(os.path.realpath(path))
    if os.path.exists(target) and not os.path.isfile(target):
        fail(path, "not a regular file")
    part = target.with_name(f"{target.name}.{os.getpid()}.part")
    try:
        with part.open("xb") as file:
            try:
                yield file
                file.close()
                part.replace(target)
            except BaseException:
                part.unlink()
                raise
    except OSError as error:
        fail(path, error.strerror)
