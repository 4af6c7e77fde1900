"""The prompts of HELMET, which are texts in its data.py."""

import ast
from pathlib import Path

from task_file import fail, read_bytes


class Reader:
    """Follows the statements that give names their texts for one dataset. Nothing is run.

    Understood are texts, names that have one, and `+`; of an `if`, tests whether texts are part of
    `dataset`, with `and` and `or`. A branch whose test asks for more is not followed.
    """

    def __init__(self, dataset: str):
        self.dataset = dataset
        self.texts: dict[str, str | None] = {}

    def follow(self, statements: list[ast.stmt]) -> None:
        for statement in statements:
            match statement:
                case ast.Assign(targets=[ast.Name(id=name)], value=value):
                    self.texts[name] = self.text_of(value)
                case ast.If(test=test, body=body, orelse=other):
                    holds = self.holds(test)
                    if holds is not None:
                        self.follow(body if holds else other)

    def text_of(self, node: ast.expr) -> str | None:
        match node:
            case ast.Constant(value=str(text)):
                return text
            case ast.Name(id=name):
                return self.texts.get(name)
            case ast.BinOp(left=left, op=ast.Add(), right=right):
                texts = self.text_of(left), self.text_of(right)
                return None if None in texts else "".join(texts)
        return None

    def holds(self, node: ast.expr) -> bool | None:
        """Whether a test holds; None where that cannot be said."""
        match node:
            case ast.Compare(
                left=ast.Constant(value=str(text)),
                ops=[ast.In()],
                comparators=[ast.Name(id="dataset")],
            ):
                return text in self.dataset
            case ast.BoolOp(op=op, values=values):
                found = [self.holds(value) for value in values]
                decides = isinstance(op, ast.Or)  # one that holds; for `and`, one that fails
                if decides in found:
                    return decides
                return None if None in found else not decides
        return None


def read_texts(path: Path, function: str, dataset: str, names: list[str]) -> list[str]:
    """The texts that `names` have for `dataset` in `function` of the data.py at `path`."""
    try:
        module = ast.parse(read_bytes(path))
    except SyntaxError as error:
        fail(f"{path}:{error.lineno or 1}", f"not Python: {error.msg}")
    except (ValueError, RecursionError, MemoryError):
        fail(path, "not Python, or nested too deeply")
    reader = Reader(dataset)
    for node in module.body:
        if isinstance(node, ast.FunctionDef) and node.name == function:
            reader.follow(node.body)
    for name in names:
        if reader.texts.get(name) is None:
            fail(path, f"no text for {name} of {dataset} in {function}")
    return [reader.texts[name] for name in names]
