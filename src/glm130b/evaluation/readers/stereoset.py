"""StereoSet: a context and three candidates, in the official JSON or flattened to CSV."""

from __future__ import annotations

import string
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from glm130b.errors import ConfigError
from glm130b.evaluation.items import Item
from glm130b.evaluation.readers.delimited import read_table
from glm130b.evaluation.readers.reader import field_of, malformed, reader
from glm130b.lines import read_json_file

KINDS = ("stereotype", "anti-stereotype", "unrelated")
"""The candidates, in the order of a question's options."""

_PARTS = ("intrasentence", "intersentence")
_BLANK = "BLANK"
_JSON = "the official JSON: data, with intrasentence and intersentence, each cluster with context and three sentences"
_COLUMNS = ("Domain", "Target", "Context", "Stereotype Sentence", "Anti-stereotype Sentence", "Unrelated Sentence")
_CSV = f"CSV with the columns {', '.join(_COLUMNS)}"


@reader("stereoset")
def read_stereoset(
    files: Sequence[Path], *, part: Literal["intrasentence", "intersentence", "all"] = "all"
) -> Iterator[Item]:
    """Fields ``context``, ``stereotype``, ``anti_stereotype``, ``unrelated``, ``target`` and ``part``.

    The group is the domain, the cluster the target term. Where the gap is inside a sentence the context holds
    ``[MASK]`` and the candidates are what fills it. A cluster that an earlier file holds too is left out. There is
    no right option: an item has no labels.

    Args:
        part: which half of the set.

    Raises:
        ConfigError: there is no such part.
    """
    if part not in (*_PARTS, "all"):
        raise ConfigError(f"StereoSet has no part {part!r}.", "Use intrasentence, intersentence or all.")
    earlier: set[tuple[str, ...]] = set()
    for file in files:
        here = set()
        for item in _official(file) if file.suffix == ".json" else _flattened(file):
            key = tuple(str(item.fields[name]) for name in ("context", "stereotype", "anti_stereotype", "unrelated"))
            here.add(key)
            if key not in earlier and part in ("all", item.fields["part"]):
                yield item
        earlier |= here


def _official(file: Path) -> Iterator[Item]:
    data = field_of(read_json_file(file), "data", dict, file, "the whole", _JSON)
    for part in _PARTS:
        for number, cluster in enumerate(field_of(data, part, list, file, "data", _JSON)):
            place = f"data.{part}[{number}]"
            identity, domain, target, context = (
                field_of(cluster, key, str, file, place, _JSON) for key in ("id", "bias_type", "target", "context")
            )
            sentences = field_of(cluster, "sentences", list, file, place, _JSON)
            found = {_gold(one, file, place): field_of(one, "sentence", str, file, place, _JSON) for one in sentences}
            if set(found) != set(KINDS) or len(sentences) != len(KINDS):
                raise malformed(file, place, f"gold labels are {', '.join(map(str, found)) or 'missing'}", _JSON)
            yield _item(identity, domain, target, context, found, part, file, place, _JSON)


def _gold(sentence: Any, file: Path, place: str) -> str:
    return str(field_of(sentence, "gold_label", str, file, place, _JSON))


def _flattened(file: Path) -> Iterator[Item]:
    for number, (line, row) in enumerate(read_table(file, _COLUMNS, _CSV)):
        domain, target, context, *sentences = (row[column].strip() for column in _COLUMNS)
        part = "intrasentence" if _BLANK in context else "intersentence"
        found = dict(zip(KINDS, sentences, strict=True))
        yield _item(f"{file.name}#{number}", domain, target, context, found, part, file, line, _CSV)


def _item(
    identity: str,
    domain: str,
    target: str,
    context: str,
    sentences: dict[str, str],
    part: str,
    file: Path,
    place: int | str,
    expected: str,
) -> Item:
    candidates = [sentences[kind].strip() for kind in KINDS]
    if part == "intrasentence":
        if _BLANK not in context:
            raise malformed(file, place, f"the context has no {_BLANK}", expected)
        candidates = [_filler(context, sentence) for sentence in candidates]
        before, _, after = context.rpartition(_BLANK)
        context = f"{before.replace(_BLANK, '…')}[MASK]{after}"
    if not (context.strip() and target and all(candidates)):
        raise malformed(file, place, "the context, the target or a candidate is empty", expected)
    fields = dict(zip(("stereotype", "anti_stereotype", "unrelated"), candidates, strict=True))
    return Item(identity, {"context": context, "target": target, "part": part, **fields}, group=domain, cluster=target)


def _filler(context: str, sentence: str) -> str:
    """What a sentence has in place of the last ``BLANK``, counted in words as the official loader counts them.

    The official loader takes one word, without punctuation. Here it may be several, where the sentence is longer than
    the context by as many; and what the context itself has around ``BLANK``, as in ``BLANKed``, stays there.
    """
    around, words = context.split(" "), sentence.split(" ")
    place = max(n for n, word in enumerate(around) if _BLANK in word)
    end = max(len(words) - (len(around) - place - 1), place + 1)
    before, _, after = around[place].rpartition(_BLANK)
    filler = " ".join(words[place:end])
    if len(filler) > len(before + after):
        filler = filler[len(before) :] if filler.casefold().startswith(before.casefold()) else filler
        filler = filler.removesuffix(after)
    return filler.strip(string.punctuation + string.whitespace)
