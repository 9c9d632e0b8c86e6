"""SuperGLUE, as its site distributes it: one folder a set, JSON lines."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from glm130b.evaluation.items import Item
from glm130b.evaluation.readers.folding import cluster_of
from glm130b.evaluation.readers.reader import field_of, json_lines, malformed, reader

_BOOLQ = "JSON lines with question, passage and label (true or false)"
_COPA = "JSON lines with premise, choice1, choice2, question (cause or effect) and label (0 or 1)"
_MULTIRC = "JSON lines with passage: text and questions, each with answers, each with text and label (0 or 1)"
_RECORD = (
    "JSON lines with passage: text and entities (start, end), and qas: query with @placeholder, and answers with text"
)
_WIC = "JSON lines with word, sentence1, sentence2 and label (true or false)"
_WSC = "JSON lines with text, target: span1_text, span2_text, span2_index (counted in words), and label (true or false)"


@reader("superglue_boolq")
def read_boolq(files: Sequence[Path]) -> Iterator[Item]:
    """A question and a passage that answers it; label 1 is yes."""
    for record in _records(files, _BOOLQ):
        label = record.get("label", bool)
        passage, question = record.text("passage"), record.text("question")
        yield record.item({"passage": passage, "question": question}, int(label), same=passage)


@reader("superglue_nli")
def read_nli(
    files: Sequence[Path],
    labels: Sequence[str],
    first: str = "premise",
    second: str = "hypothesis",
    in_pairs: bool = False,
) -> Iterator[Item]:
    """CB, RTE and both diagnostics: a premise and a hypothesis.

    Args:
        labels: in the order of the options.
        first, second: where premise and hypothesis lie.
        in_pairs: two and two lines differ in the gender of a pronoun and have one hypothesis (AX-g).
    """
    expected = f"JSON lines with {first}, {second} and label ({' or '.join(labels)})"
    before = ""
    for n, record in enumerate(_records(files, expected)):
        premise, hypothesis, label = record.text(first), record.text(second), record.text("label")
        if label not in labels:
            raise record.fault(f"label is {label!r}")
        if in_pairs and n % 2 and hypothesis != before:
            raise record.fault("the hypothesis is not that of the line before, with which it makes a pair")
        before = hypothesis
        fields = {"premise": premise, "hypothesis": hypothesis, "pair": str(n // 2) if in_pairs else ""}
        same = hypothesis if in_pairs else premise
        yield record.item(fields, labels.index(label), same=same, group=str(record.fields.get("logic", "")))


@reader("superglue_copa")
def read_copa(files: Sequence[Path]) -> Iterator[Item]:
    """A premise and two causes or effects of it; ``clauses`` are these with a small first letter."""
    for record in _records(files, _COPA):
        kind, label = record.text("question"), record.get("label", int)
        if kind not in ("cause", "effect"):
            raise record.fault(f"question is {kind!r}")
        if label not in (0, 1):
            raise record.fault(f"label is {label}")
        choices = [record.text("choice1"), record.text("choice2")]
        premise = record.text("premise")
        clauses = [text if re.match(r"I\b", text) else text[:1].lower() + text[1:] for text in choices]
        fields = {"premise": premise, "question": kind, "choices": choices, "clauses": clauses}
        yield record.item(fields, label, same=premise)


@reader("superglue_multirc")
def read_multirc(files: Sequence[Path]) -> Iterator[Item]:
    """An item for each answer to each question about a passage; label 1 is right."""
    for record in _records(files, _MULTIRC):
        passage = record.get("passage", dict)
        text = record.inside(passage, "text", str)
        for q, question in enumerate(record.inside(passage, "questions", list)):
            asked = record.inside(question, "question", str)
            for a, answer in enumerate(record.inside(question, "answers", list)):
                label = record.inside(answer, "label", int)
                if label not in (0, 1):
                    raise record.fault(f"label is {label}")
                fields = {
                    "passage": text,
                    "question": asked,
                    "answer": record.inside(answer, "text", str),
                    "question_id": f"{record.id}.{q}",
                }
                yield record.item(fields, label, same=text, part=f".{q}.{a}")


@reader("superglue_record")
def read_record(files: Sequence[Path]) -> Iterator[Item]:
    """A passage, a sentence with a gap, and the passage's entities; every mention of the right one is right."""
    for record in _records(files, _RECORD):
        passage = record.get("passage", dict)
        text = record.inside(passage, "text", str)
        spans = [
            (record.inside(one, "start", int), record.inside(one, "end", int))
            for one in record.inside(passage, "entities", list)
        ]
        if any(not 0 <= start <= end < len(text) for start, end in spans):
            raise record.fault("an entity is not within the passage")
        choices = list(dict.fromkeys(text[start : end + 1] for start, end in spans))
        for q, query in enumerate(record.get("qas", list)):
            before, gap, after = record.inside(query, "query", str).partition("@placeholder")
            answers = [record.inside(one, "text", str) for one in record.inside(query, "answers", list)]
            labels = tuple(n for n, choice in enumerate(choices) if choice in answers)
            if not gap or not labels:
                raise record.fault("there is no @placeholder" if not gap else "no entity is an answer")
            yield Item(
                f"{record.id}.{q}",
                {
                    "passage": text.replace("\n@highlight\n", "\n- "),
                    "before": before,
                    "after": after,
                    "choices": choices,
                    "label": labels[0],
                },
                labels=labels,
                references=tuple(answers),
                cluster=cluster_of(text),
            )


@reader("superglue_wic")
def read_wic(files: Sequence[Path]) -> Iterator[Item]:
    """Whether a word means the same in two sentences; label 1 is yes."""
    for record in _records(files, _WIC):
        label = record.get("label", bool)
        fields = {name: record.text(name) for name in ("word", "sentence1", "sentence2")}
        yield record.item(fields, int(label), same=fields["word"])


@reader("superglue_wsc")
def read_wsc(files: Sequence[Path]) -> Iterator[Item]:
    """Whether a pronoun means a noun; the field ``marked`` has asterisks around the pronoun; label 1 is yes.

    Offsets count words between single blanks; one of the official validation set is off by one.
    """
    for record in _records(files, _WSC):
        text, target, label = record.text("text"), record.get("target", dict), record.get("label", bool)
        noun, pronoun = record.inside(target, "span1_text", str), record.inside(target, "span2_text", str)
        place = record.inside(target, "span2_index", int)
        words = text.split(" ")
        near = [n for n, word in enumerate(words) if abs(n - place) < 2 and _begins_with(word, pronoun)]
        if not near:
            raise record.fault(f"word {place} is not {pronoun!r}")
        found = min(near, key=lambda n: abs(n - place))
        words[found] = f"*{pronoun}*{words[found].removeprefix(pronoun)}"
        fields = {"text": text.strip(), "marked": " ".join(words).strip(), "noun": noun, "pronoun": pronoun}
        yield record.item(fields, int(label), same=text)


def _begins_with(word: str, start: str) -> bool:
    return word.startswith(start) and not word.removeprefix(start)[:1].isalnum()


class _Record:
    """One line: fields of the kind that is expected, or an error that says where they are not."""

    def __init__(self, file: Path, number: int, fields: dict[str, Any], expected: str) -> None:
        self.id, self.fields = f"{file.name}#{number}", fields
        self._file, self._number, self._expected = file, number, expected

    def get(self, key: str, kind: type) -> Any:
        return self.inside(self.fields, key, kind)

    def text(self, key: str) -> str:
        found: str = self.get(key, str)
        return found

    def inside(self, part: Any, key: str, kind: type) -> Any:
        return field_of(part, key, kind, self._file, self._number, self._expected)

    def fault(self, reason: str) -> Exception:
        return malformed(self._file, self._number, reason, self._expected)

    def item(self, fields: dict[str, Any], label: int, *, same: str, part: str = "", group: str = "") -> Item:
        """An item of fixed options; items with one text ``same`` are a cluster."""
        fields["label"] = label
        return Item(self.id + part, fields, labels=(label,), group=group, cluster=cluster_of(same))


def _records(files: Sequence[Path], expected: str) -> Iterator[_Record]:
    for file, number, record in json_lines(files):
        yield _Record(file, number, record, expected)
