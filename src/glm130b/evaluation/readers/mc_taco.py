"""MC-TACO: candidate answers to questions about time, each right or wrong."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from glm130b.evaluation.items import Item
from glm130b.evaluation.readers.folding import cluster_of
from glm130b.evaluation.readers.reader import malformed, reader
from glm130b.lines import read_lines

_EXPECTED = "five columns divided by tabs: sentence, question, candidate, yes or no, category"


@reader("mc_taco")
def read_mc_taco(files: Sequence[Path]) -> Iterator[Item]:
    """A candidate; label 1 is yes. Candidates of one sentence and question have one ``question_id``."""
    for file in files:
        for number, line in read_lines(file):
            cells = [cell.strip() for cell in line.split("\t")]
            if len(cells) != 5:
                raise malformed(file, number, f"{len(cells)} columns", _EXPECTED)
            sentence, question, candidate, answer, category = cells
            if answer not in ("yes", "no"):
                raise malformed(file, number, f"the fourth column is {answer!r}", _EXPECTED)
            label = int(answer == "yes")
            fields = {
                "sentence": sentence,
                "question": question,
                "candidate": candidate,
                "question_id": f"{file.name}#{cluster_of(sentence, question)}",
                "label": label,
            }
            yield Item(f"{file.name}#{number}", fields, labels=(label,), group=category, cluster=cluster_of(sentence))
