"""Prompts from templates with fields in braces, as str.format has them."""

import dataclasses
import string

from task_file import Prompt, Record, fail, is_number, shown


@dataclasses.dataclass(frozen=True)
class Template:
    """Texts, each with the name of the field that follows it; none follows the last."""

    pieces: list[tuple[str, str | None]]
    where: str  # it is from, for messages

    def fill(self, values: dict[str, object], record: Record) -> str:
        """With `values`, texts and numbers that are from `record`, in place of the fields."""
        filled = []
        for text, name in self.pieces:
            filled.append(text)
            if name is not None:
                value = values.get(name)
                if not isinstance(value, str) and not is_number(value):
                    record.fail(f"no text for the field {{{name}}} of {self.where}")
                filled.append(str(value))
        return "".join(filled)

    def prompt(
        self, values: dict[str, object], question: tuple[str, ...], record: Record
    ) -> Prompt:
        """Split right after {context}; in one piece where a field of `question` comes before it."""
        names = [name for _, name in self.pieces]
        if names.count("context") != 1:
            fail(self.where, "has not exactly one field {context}")
        cut = names.index("context") + 1
        head = Template(self.pieces[:cut], self.where).fill(values, record)
        tail = Template(self.pieces[cut:], self.where).fill(values, record)
        prompt = Prompt(head, tail)
        return prompt.joined() if any(name in question for name in names[:cut]) else prompt


def parse_template(text: str, where: str) -> Template:
    """Of what str.format knows, names in braces and doubled braces are understood."""
    pieces = []
    try:
        for literal, name, form, conversion in string.Formatter().parse(text):
            if name is not None and (not name.isidentifier() or form or conversion):
                fail(where, f"the field {shown('{' + name + '}')} is not a plain name")
            pieces.append((literal, name))
    except ValueError as error:
        fail(where, f"{error}")
    return Template(pieces, where)
