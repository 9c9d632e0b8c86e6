"""Questions to be answered from memory: NQ-open, TriviaQA, WebQuestions, StrategyQA."""

from __future__ import annotations

import ast
import csv
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from glm130b.evaluation.items import Item
from glm130b.evaluation.readers.reader import field_of, json_lines, json_list, malformed, reader
from glm130b.lines import read_json_file, read_lines

_NQ = "JSON lines with question and answer, a list of texts"
_TRIVIA = "JSON with a list Data of objects with QuestionId, Question and Answer (Value, Aliases, NormalizedAliases)"
_TRIVIA_LINES = "lines of a question, a tab and a Python list of answers"
_WEB = "a JSON list of objects with utterance and targetValue, or with qText and answers"
_STRATEGY = "a JSON list of objects with qid, question and answer (true or false)"

_TARGET = re.compile(r'\(list((?: \(description (?:"(?:[^"\\]|\\.)*"|[^()"]+)\))+)\)')
_DESCRIPTION = re.compile(r'\(description (?:"((?:[^"\\]|\\.)*)"|([^()"]+))\)')


@reader("nq_open")
def read_nq_open(files: Sequence[Path]) -> Iterator[Item]:
    """Natural Questions with short answers."""
    for file, number, record in json_lines(files):
        question = field_of(record, "question", str, file, number, _NQ)
        answers = field_of(record, "answer", list, file, number, _NQ)
        yield _open_item(file, number, f"{file.name}#{number}", question, answers, _NQ)


@reader("triviaqa")
def read_triviaqa(files: Sequence[Path]) -> Iterator[Item]:
    """TriviaQA as its authors publish it (``.json``), every alias being right, or as DPR lists it (other names)."""
    for file in files:
        if file.suffix == ".json":
            tree = read_json_file(file)
            for number, record in enumerate(field_of(tree, "Data", list, file, "top", _TRIVIA)):
                place = f"Data[{number}]"
                answer = field_of(record, "Answer", dict, file, place, _TRIVIA)
                name = field_of(record, "QuestionId", str, file, place, _TRIVIA)
                answers = [field_of(answer, "Value", str, file, place, _TRIVIA)]
                for key in ("Aliases", "NormalizedAliases"):
                    answers += field_of(answer, key, list, file, place, _TRIVIA)
                question = field_of(record, "Question", str, file, place, _TRIVIA)
                yield _open_item(file, place, name, question, answers, _TRIVIA)
        else:
            yield from _listed_by_dpr(file)


@reader("webquestions")
def read_webquestions(files: Sequence[Path]) -> Iterator[Item]:
    """WebQuestions as its authors publish it, or with the answers written out."""
    for file in files:
        for number, (place, record) in enumerate(json_list(file, _WEB)):
            if isinstance(record, dict) and "targetValue" in record:
                question = field_of(record, "utterance", str, file, place, _WEB)
                answers = _described(field_of(record, "targetValue", str, file, place, _WEB))
            else:
                question = field_of(record, "qText", str, file, place, _WEB)
                answers = field_of(record, "answers", list, file, place, _WEB)
            yield _open_item(file, place, f"{file.name}#{number}", question, answers, _WEB)


@reader("strategyqa")
def read_strategyqa(files: Sequence[Path]) -> Iterator[Item]:
    """Questions with yes (label 0) or no (label 1) for an answer."""
    for file in files:
        for place, record in json_list(file, _STRATEGY):
            name = field_of(record, "qid", str, file, place, _STRATEGY)
            label = int(not field_of(record, "answer", bool, file, place, _STRATEGY))
            question = field_of(record, "question", str, file, place, _STRATEGY)
            yield Item(name, {"question": question, "label": label}, labels=(label,))


def _listed_by_dpr(file: Path) -> Iterator[Item]:
    """Questions and answers as cells of a table; questions that hold quotes are quoted twice over."""
    rows = csv.reader((f"{line}\n" for _, line in read_lines(file)), delimiter="\t", strict=True)
    try:
        for number, row in enumerate(rows, start=1):
            try:
                answers = ast.literal_eval(row[1]) if len(row) == 2 else None
            except (ValueError, SyntaxError, MemoryError, RecursionError):
                answers = None
            if not isinstance(answers, list):
                raise malformed(file, rows.line_num, "there is no list of answers", _TRIVIA_LINES)
            question = row[0]
            if len(question) > 1 and question[0] == question[-1] == '"':
                question = question[1:-1].replace('""', '"')
            yield _open_item(file, rows.line_num, f"{file.name}#{number}", question, answers, _TRIVIA_LINES)
    except csv.Error as error:
        raise malformed(file, rows.line_num, f"the table is damaged ({error})", _TRIVIA_LINES) from None


def _open_item(
    file: Path, place: int | str, name: str, question: str, answers: Sequence[object], expected: str
) -> Item:
    texts = [answer for answer in answers if isinstance(answer, str) and answer.strip()]
    if not question.strip() or not texts or len(texts) < len(answers):
        raise malformed(file, place, "the question is empty, or an answer is no text", expected)
    texts = list(dict.fromkeys(texts))
    return Item(name, {"question": question.strip(), "answers": texts}, references=tuple(texts))


def _described(target: str) -> list[str]:
    """Answers of ``(list (description "Lightning rod") (description Bifocals))``; none if it is something else."""
    if not _TARGET.fullmatch(target.strip()):
        return []
    found = _DESCRIPTION.findall(target)
    return [re.sub(r"\\(.)", r"\1", quoted) if quoted else plain.strip() for quoted, plain in found]
