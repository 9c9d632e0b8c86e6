"""CLUE and FewCLUE: JSON lines with texts and a label, sentences with a pronoun, texts with an idiom left out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from glm130b.errors import ConfigError
from glm130b.evaluation.items import Item
from glm130b.evaluation.readers.folding import cluster_of
from glm130b.evaluation.readers.reader import field_of, json_lines, malformed, reader

GAP = "#idiom#"

_PRONOUN = (
    'JSON lines with text, label ("false" or "true") and target (span1_text, span1_index, span2_text, span2_index; '
    "the index of a span counts the characters of text before it)"
)
_IDIOM = f"JSON lines with content (one {GAP} in it), candidates (two or more texts) and answer (an index)"


@reader("clue")
def read_clue(
    files: Sequence[Path],
    *,
    text: Sequence[str],
    labels: Sequence[str],
    undecided: str = "",
    skip_undecided: bool = False,
    group: str = "",
    by: Sequence[str] = (),
) -> Iterator[Item]:
    """Texts with one of a fixed list of labels: AFQMC, BUSTM, CMNLI, CSL, EPRSTMT, OCNLI.

    Templates see the texts by their names, and ``label``, the index of the right one, None if there is none.

    Args:
        text: fields that hold the texts, each a text or a list of texts.
        labels: what ``label`` may be, in the order of the options.
        undecided: the label of items whose annotators did not agree. No option is right for them.
        skip_undecided: leave such items out, rather than keep them in the denominator.
        group: the field that names the item's group.
        by: items are one cluster if these fields are the same; all texts if empty.
    """
    _check(by, text)
    expected = f"JSON lines with {', '.join(text)} and label ({', '.join(labels)})"
    for file, number, record in json_lines(files):
        fields = {name: field_of(record, name, (str, list), file, number, expected) for name in text}
        for name, value in fields.items():
            if isinstance(value, list) and not (value and all(isinstance(one, str) for one in value)):
                raise malformed(file, number, f"{name!r} is no list of texts", expected)
        known = [*labels, undecided] if undecided else labels
        label = _label(record, known, file, number, expected)
        right: tuple[int, ...] = (label,) if label < len(labels) else ()
        if skip_undecided and not right:
            continue
        yield Item(
            f"{file.name}#{number}",
            {**fields, "label": right[0] if right else None},
            labels=right,
            group=field_of(record, group, str, file, number, f"{expected}, and {group}") if group else "",
            cluster=cluster_of(*(str(fields[name]) for name in by or text)),
        )


@reader("cluewsc")
def read_cluewsc(files: Sequence[Path], *, by: Sequence[str] = ()) -> Iterator[Item]:
    """Whether a pronoun stands for a candidate: CLUEWSC2020 and FewCLUE's cut of it.

    Templates see ``text``, ``pronoun``, ``candidate``, ``marked`` (the text with the pronoun in brackets),
    ``replaced`` (with the candidate in its place) and ``label``.

    Args:
        by: items are one cluster if these fields are the same; if empty, text and both spans.

    Raises:
        DataError: a span is not at its offset.
    """
    _check(by, ("text", "candidate", "pronoun", "marked", "replaced"))
    for file, number, record in json_lines(files):
        text = field_of(record, "text", str, file, number, _PRONOUN)
        target = field_of(record, "target", dict, file, number, _PRONOUN)
        (candidate, first), (pronoun, second) = (_span(target, n, text, file, number) for n in (1, 2))
        label = _label(record, ("false", "true"), file, number, _PRONOUN)
        before, after = text[:second], text[second + len(pronoun) :]
        fields = {
            "text": text,
            "candidate": candidate,
            "pronoun": pronoun,
            "marked": f"{before}[{pronoun}]{after}",
            "replaced": before + candidate + after,
        }
        same = [fields[name] for name in by] or [text, candidate, str(first), pronoun, str(second)]
        yield Item(f"{file.name}#{number}", {**fields, "label": label}, labels=(label,), cluster=cluster_of(*same))


@reader("chid")
def read_chid(files: Sequence[Path]) -> Iterator[Item]:
    """The idiom that was left out of a text: FewCLUE's CHID.

    Templates see ``before`` and ``after`` (the gap), ``choices``, ``label`` and ``answer``.
    """
    for file, number, record in json_lines(files):
        content = field_of(record, "content", str, file, number, _IDIOM)
        choices = field_of(record, "candidates", list, file, number, _IDIOM)
        label = field_of(record, "answer", int, file, number, _IDIOM)
        if content.count(GAP) != 1:
            raise malformed(file, number, f"content holds {content.count(GAP)} {GAP}", _IDIOM)
        if len(choices) < 2 or not all(isinstance(one, str) and one for one in choices):
            raise malformed(file, number, f"there are {len(choices)} candidates, or one is no text", _IDIOM)
        if not 0 <= label < len(choices):
            raise malformed(file, number, f"answer {label} is none of {len(choices)} candidates", _IDIOM)
        before, after = content.split(GAP)
        yield Item(
            f"{file.name}#{number}",
            {"before": before, "after": after, "choices": choices, "label": label, "answer": choices[label]},
            labels=tuple(n for n, one in enumerate(choices) if one == choices[label]),
            cluster=cluster_of(content),
        )


def _check(by: Sequence[str], fields: Sequence[str]) -> None:
    for name in by:
        if name not in fields:
            raise ConfigError(
                f"Clusters are by {name!r}, and items have {', '.join(fields)}.", "Mend data.options.by of the task."
            )


def _label(record: Any, labels: Sequence[str], file: Path, number: int, expected: str) -> int:
    label = field_of(record, "label", str, file, number, expected)
    if label not in labels:
        raise malformed(file, number, f"the label is {label!r}", expected)
    return labels.index(label)


def _span(target: Any, which: int, text: str, file: Path, number: int) -> tuple[str, int]:
    span = field_of(target, f"span{which}_text", str, file, number, _PRONOUN)
    start = field_of(target, f"span{which}_index", int, file, number, _PRONOUN)
    if not span or start < 0 or not text.startswith(span, start):
        raise malformed(file, number, f"span{which}_text {span!r} is not at character {start} of text", _PRONOUN)
    return span, start
