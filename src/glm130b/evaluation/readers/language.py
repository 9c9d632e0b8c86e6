"""Text to be predicted: LAMBADA's last words, the WikiText and Penn Treebank test sets, the Pile."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

from glm130b.errors import DataError
from glm130b.evaluation.items import Item
from glm130b.evaluation.readers.reader import field_of, malformed, reader
from glm130b.lines import fault, read_json_line, read_lines

_LAMBADA = "JSON lines with text, or in a .txt file one passage a line; the last word is the target"
_PILE = "JSON lines, plain or in .zst or .gz, with text and meta.pile_set_name"


@reader("lambada")
def read_lambada(files: Sequence[Path]) -> Iterator[Item]:
    """Passages without their last word: fields ``context`` and ``target``.

    ``.txt`` is the original release, tokenised and in lower case; anything else the later one that OpenAI published.
    The last word is what follows the last white space, which in seven passages of the latter is a line end.
    """
    for file in files:
        for number, line in read_lines(file):
            if not line.strip():
                continue
            text = line
            if file.suffix != ".txt":
                text = field_of(read_json_line(file, number, line), "text", str, file, number, _LAMBADA)
            words = text.split()
            if len(words) < 2:
                raise malformed(file, number, f"there are {len(words)} words", _LAMBADA)
            context = text.rstrip().removesuffix(words[-1]).rstrip()
            fields = {"context": context, "target": words[-1]}
            yield Item(f"{file.name}#{number}", fields, references=(words[-1],))


@reader("whole_text")
def read_whole_text(files: Sequence[Path]) -> Iterator[Item]:
    """Each file as one document, to the letter."""
    for file in files:
        try:
            text = file.read_bytes().decode()
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is not UTF-8"
            raise DataError(f"{file} cannot be read: {reason}.", "Check the file, or copy it again.") from None
        if not text.strip():
            raise malformed(file, 1, "the file is empty", "a plain text of many lines")
        yield Item(file.name, {"text": text})


@reader("pile")
def read_pile(files: Sequence[Path], *, sets: Collection[str] = ()) -> Iterator[Item]:
    """Documents of the Pile, each in the group of its set; those without text are left out, as the authors do.

    The authors read a file whose ``text`` holds ids and whose ``text_pretokenized`` holds the text; the text is what
    counts, since ids are one tokenizer's.

    Args:
        sets: names of sets, such as ``Wikipedia (en)``; empty for all.
    """
    for file in files:
        for number, line in _packed_lines(file):
            if not line.strip():
                continue
            record = read_json_line(file, number, line)
            key = "text_pretokenized" if "text_pretokenized" in record else "text"
            text = field_of(record, key, str, file, number, _PILE)
            meta = field_of(record, "meta", dict, file, number, _PILE)
            name = field_of(meta, "pile_set_name", str, file, number, _PILE)
            if text and (not sets or name in sets):
                yield Item(f"{file.name}#{number}", {"text": text}, group=name)


def _packed_lines(file: Path) -> Iterator[tuple[int, str]]:
    if file.suffix != ".zst":
        yield from read_lines(file)
        return
    import zstandard

    number = 0
    try:
        for number, raw in enumerate(_unpacked(file, zstandard.ZstdDecompressor().decompressobj), start=1):
            yield number, raw.decode().rstrip("\r")
    except UnicodeDecodeError:
        raise fault(file, number, "this is not UTF-8", "Fetch the file again.") from None
    except (OSError, EOFError, zstandard.ZstdError) as error:
        raise fault(file, number + 1, f"it cannot be unpacked ({error})", "Fetch the file again.") from None


def _unpacked(file: Path, start: Callable[[], Any]) -> Iterator[bytes]:
    """Lines of a file of one or more frames; EOFError if the last frame is not whole."""
    frame, rest = start(), b""
    with file.open("rb") as data:
        while block := data.read(1 << 20):
            while block:
                frame = start() if frame.eof else frame
                rest += frame.decompress(block)
                block = frame.unused_data if frame.eof else b""
            *lines, rest = rest.split(b"\n")
            yield from lines
    if not frame.eof:
        raise EOFError("it ends too early")
    if rest:
        yield rest
