"""Converts tasks of HELMET (arXiv 2410.02694, princeton-nlp/HELMET): recall and RAG.

FILE is one of the published data folder's:

    json_kv/*.jsonl                 context, question, answer, demos: pairs of a key and its value
    ruler/TASK/*.jsonl              context, query or question, outputs, and fields of the prompt
    kilt/{nq,triviaqa,hotpotqa}-dev-*.jsonl, kilt/popqa_test_*.jsonl
                                    question, answers, ctxs: documents with title and text

--prompts names data.py of a checkout of HELMET: prompts are taken from its text. The task, by
HELMET's name for it, follows from FILE's folder and name; --task says otherwise. Lengths and stop
texts are those of HELMET's configs. The prompt is split after the context.

Substring exact match becomes contains_any: articles and punctuation count here, and there they do
not. RULER's recall is contains. As in HELMET, of PopQA only what has a popularity under 1,000 is
taken. json_kv has --shots examples; RAG has none, because HELMET draws them with NumPy.
"""

import argparse
import dataclasses
import os
from collections.abc import Callable
from pathlib import Path

from helmet_prompts import read_texts
from task_file import USAGE, ConvertError, Prompt, Record, Task, shown
from template import Template, parse_template


@dataclasses.dataclass(frozen=True)
class Dataset:
    loader: str  # function of data.py
    max_tokens: int
    metric: str = "contains_any"
    stop: tuple[str, ...] = ()


JSON_KV = Dataset("load_json_kv", 100)
KILT = Dataset("load_qa", 20, stop=("\n",))
RULER = Dataset("load_ruler", 50, "contains")
RULER_LONG = Dataset("load_ruler", 100, "contains")
RULER_QA = Dataset("load_ruler", 50)
POPQA, POPULAR = "kilt_popqa_3", 1000  # 10^3

DATASETS = {
    "json_kv": JSON_KV,
    "kilt_nq": KILT,
    "kilt_triviaqa": KILT,
    "kilt_hotpotqa": KILT,
    POPQA: KILT,
    "ruler_niah_s_1": RULER,
    "ruler_niah_s_2": RULER,
    "ruler_niah_s_3": RULER,
    "ruler_niah_mk_1": RULER,
    "ruler_niah_mk_2": RULER,
    "ruler_niah_mk_3": RULER_LONG,
    "ruler_niah_mq": RULER_LONG,
    "ruler_niah_mv": RULER,
    "ruler_cwe": RULER_LONG,
    "ruler_fwe": RULER,
    "ruler_vt": RULER,
    "ruler_qa_1": RULER_QA,
    "ruler_qa_2": RULER_QA,
}
KILT_FILES = {
    "nq-dev-": "kilt_nq",
    "triviaqa-dev-": "kilt_triviaqa",
    "hotpotqa-dev-": "kilt_hotpotqa",
    "popqa_test_": POPQA,
}
RULER_NAMES = {"single": "s", "multikey": "mk", "multiquery": "mq", "multivalue": "mv"}
REFUSED = {
    "alce": "a model judges its answers and citations",
    "msmarco": "its rankings are scored by NDCG, which is not among the metrics",
    "infbench": "HELMET cuts its texts with another model's tokenizer",
    "narrativeqa": "HELMET cuts its texts with another model's tokenizer",
    "multi_lexsum": "HELMET cuts its texts with another model's tokenizer",
    "icl": "HELMET draws its examples with NumPy",
}


def add_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--prompts", type=Path, required=True, metavar="DATA.PY", help="data.py of HELMET")
    add("--task", metavar="NAME", help="what the files hold, e.g. ruler_niah_mk_2")
    add("--shots", type=int, default=2, metavar="N", help="examples of json_kv (default: 2)")
    add("--whole", action="store_true", help="keep each prompt in one piece")


def guess_task(path: Path) -> str:
    """HELMET's name for what `path` holds, by its folder and name; else the folder's name."""
    absolute = Path(os.path.abspath(path))
    folder = absolute.parent.name
    if folder == "kilt":
        found = [name for start, name in KILT_FILES.items() if absolute.name.startswith(start)]
        return found[0] if found else folder
    words = [RULER_NAMES.get(word, word) for word in folder.split("_")]
    ruler = "_".join(["ruler", *words])
    return ruler if ruler in DATASETS else folder


def task_of(path: Path, named: str | None) -> str:
    name = guess_task(path) if named is None else named
    if name in DATASETS:
        return name
    where = path if named is None else "--task"
    for start, reason in REFUSED.items():
        if name.startswith(start):
            raise ConvertError(USAGE, f"{where}: {start} cannot be converted: {reason}")
    if named is None:
        raise ConvertError(USAGE, f"{where}: no task of HELMET has that name; --task says which")
    raise ConvertError(USAGE, f"{where}: {shown(name)} is no task of HELMET that is known here")


class Converter:
    def __init__(self, arguments: argparse.Namespace):
        if arguments.shots < 0:
            raise ConvertError(USAGE, "--shots: may not be negative")
        self.arguments = arguments
        self.templates: dict[str, list[Template]] = {}

    def convert(self, record: Record) -> Task | None:
        name = task_of(record.path, self.arguments.task)
        if name == POPQA and record.number("s_pop") >= POPULAR:
            return None
        dataset = DATASETS[name]
        of_loader: dict[str, Callable[[Record, str], tuple[Prompt, list[str]]]] = {
            "load_json_kv": self.convert_json_kv,
            "load_qa": self.convert_kilt,
            "load_ruler": self.convert_ruler,
        }
        prompt, answers = of_loader[dataset.loader](record, name)
        if self.arguments.whole:
            prompt = prompt.joined()
        return Task(name, prompt, answers, dataset.metric, dataset.max_tokens, dataset.stop)

    def templates_of(self, name: str, names: list[str]) -> list[Template]:
        if name not in self.templates:
            path, loader = self.arguments.prompts, DATASETS[name].loader
            texts = read_texts(path, loader, name, names)
            self.templates[name] = [
                parse_template(text, f"{path}: {what} of {name}")
                for what, text in zip(names, texts)
            ]
        return self.templates[name]

    def convert_json_kv(self, record: Record, name: str) -> tuple[Prompt, list[str]]:
        template, demo = self.templates_of(name, ["prompt_template", "demo_template"])
        shots = self.arguments.shots
        pairs = record.get("demos") if shots else []
        if not isinstance(pairs, list) or len(pairs) < shots or not all(map(is_pair, pairs)):
            record.fail(f"'demos' is not a list of {shots} or more keys with their values")
        demos = [
            demo.fill({"key": key, "value": " " + value}, record) for key, value in pairs[:shots]
        ]
        values = {
            "context": record.text("context"),
            "question": record.text("question"),
            "demos": "".join(text + "\n\n" for text in demos),
        }
        return template.prompt(values, ("question",), record), answers_of(record, "answer")

    def convert_kilt(self, record: Record, name: str) -> tuple[Prompt, list[str]]:
        template, passage = self.templates_of(name, ["prompt_template", "passage_template"])
        documents = record.get("ctxs")
        if not isinstance(documents, list) or not all(map(is_document, documents)):
            record.fail("'ctxs' is not a list of documents with 'title' and 'text'")
        values = {
            "context": "\n\n".join(passage.fill(document, record) for document in documents),
            "question": record.text("question"),
            "demos": "",
        }
        return template.prompt(values, ("question",), record), record.texts("answers")

    def convert_ruler(self, record: Record, name: str) -> tuple[Prompt, list[str]]:
        [template] = self.templates_of(name, ["prompt_template"])
        fields = record.fields
        example = record.text("example") if "example" in fields else ""
        values = {
            **fields,
            "question": fields.get("query", fields.get("question", "")),
            "example": example + "\n\n" if example else "",
        }
        key = "answer" if "answer" in fields else "outputs"
        return template.prompt(values, ("question", "query"), record), answers_of(record, key)


def answers_of(record: Record, key: str) -> list[str]:
    """One answer or several."""
    return [record.text(key)] if isinstance(record.get(key), str) else record.texts(key)


def is_pair(value: object) -> bool:
    is_list = isinstance(value, list) and len(value) == 2
    return is_list and all(isinstance(text, str) for text in value)


def is_document(value: object) -> bool:
    is_dict = isinstance(value, dict)
    return is_dict and all(isinstance(value.get(key), str) for key in ("title", "text"))
