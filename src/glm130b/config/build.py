"""What a corpus is built of, and what is left out of it: the recipe of ``glm data build``."""

from __future__ import annotations

import re
import unicodedata
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from glm130b.config.section import NonNegative, Positive, Probability, Section
from glm130b.config.units import Number, Share


def _as_list(raw: object) -> object:
    return (raw,) if isinstance(raw, str) else raw


Paths = Annotated[tuple[str, ...], BeforeValidator(_as_list)]
"""One path or a list of them, relative to where the command is run."""


class CorpusSource(Section):
    """Files of one origin. A document's own ``lang`` and ``license`` win over those given here."""

    path: Annotated[Paths, Field(min_length=1)]
    """Files and folders (``.jsonl``, ``.jsonl.gz``, ``.jsonl.zst``, ``.txt``, ``.parquet``)."""
    language: Literal["en", "zh"] | None = None
    """Of documents that do not say; ``null`` finds it out from the text."""
    license: str | None = None
    heldout: Probability | None = None
    """Instead of the recipe's share; 1 keeps the whole source out of training."""


class QualityFilter(Section):
    """Thresholds of every language. Where a rule is Gopher's (arXiv:2112.11446, table A1), its value is given."""

    enabled: bool = True
    """``false`` lets every text of the language through."""
    max_lost_characters: Probability = 0.001
    """Share of the characters that are U+FFFD: text read in the wrong encoding once."""
    max_digit_share: Probability = 0.3
    """Of the characters that are not blank: tables of numbers, logs."""
    max_symbol_share: Probability = 0.2
    """Of the characters that are not blank: neither letters, digits nor punctuation."""
    max_bullet_lines: Probability = 0.9
    """Share of the lines, if there are four or more, that begin with a bullet (Gopher: 0.9)."""
    max_ellipsis_lines: Probability = 0.3
    """Share of the lines, if there are four or more, that end in an ellipsis, as teasers do (Gopher: 0.3)."""
    max_repeated_lines: Probability = 0.4
    """Share of the characters in lines that stand earlier in the text too (Gopher: 0.2); songs have refrains."""
    min_stop_words: NonNegative = 2
    """How many different stop words there are at least (Gopher: 2)."""
    min_sentence_share: Probability = 0.2
    """Share of the characters in lines that end in punctuation or are long. Menus and lists of links have few."""


class EnglishFilter(QualityFilter):
    """English. Words are what blanks separate."""

    min_words: NonNegative = 10
    """Gopher: 50; dialogues and poems are shorter."""
    min_mean_word_length: Annotated[Number, Field(ge=0)] = 2.5
    """Gopher: 3; simple sentences for children are below."""
    max_mean_word_length: Annotated[Number, Field(gt=0)] = 10.0
    """Gopher: 10."""
    min_alphabetic_words: Probability = 0.6
    """Share of the words that hold a letter (Gopher: 0.8)."""
    min_stop_share: Probability = 0.05
    """Stop words among all words. Prose has 0.3, reference pages above 0.07, lists of keywords none."""
    max_top_phrase: Probability = 0.3
    """Share of the text that the most frequent three words in a row make up, from three times on (Gopher: 0.18)."""
    max_repeated_phrases: Probability = 0.4
    """Share of the runs of eight words that stand earlier in the text too (Gopher: 0.1 to 0.15)."""


class ChineseFilter(QualityFilter):
    """Chinese: the same in characters."""

    min_characters: NonNegative = 20
    """Han characters."""
    min_stop_words: NonNegative = 1
    """How many different function characters (的, 是, 之, …) there are at least; a quatrain may have one."""
    min_stop_share: Probability = 0.015
    """Function characters among Han characters. Prose has 0.2, verse 0.14, one poem in a hundred 0.025; characters
    drawn at random and lists of keywords have less."""
    max_top_phrase: Probability = 0.4
    """Share of the text that the most frequent four characters in a row make up, from three times on."""
    max_repeated_phrases: Probability = 0.6
    """Share of the runs of ten characters that stand earlier in the text too. Laws and reference pages reach 0.4."""


class FiltersConfig(Section):
    """Language and quality. Texts in other languages than these two are dropped."""

    en: EnglishFilter = EnglishFilter()
    zh: ChineseFilter = ChineseFilter()


class DuplicatesConfig(Section):
    """MinHash with banding: two documents of Jaccard similarity s share a band with probability 1-(1-s^rows)^bands."""

    exact: bool = True
    """Remove texts that are equal after folding case, forms, script variants and punctuation."""
    near: bool = True
    """Remove texts that share a band with an earlier one."""
    bands: Annotated[Positive, Field(le=1024)] = 14
    rows: Annotated[Positive, Field(le=1024)] = 8
    """Hashes in a band; ``bands * rows`` hashes are computed a document."""
    words: Positive = 5
    """Length of a shingle in mostly alphabetic text."""
    characters: Positive = 8
    """Length of a shingle in mostly Han text."""
    keys_per_task: Positive = 1 << 22
    """Most keys one task compares at a time; 16 bytes each, a few times over."""


class ContaminationConfig(Section):
    """Overlap with test sets."""

    against: Paths = ()
    """Files and folders of test sets; none turns the search off."""
    exclude: Paths = ()
    """Names below them that are left out, training material for example."""
    n: Positive = 13
    """Units in a row (words, or characters of Chinese) that make a hit (Brown et al. 2020, appendix C)."""
    min_overlap: Probability = 0.1
    """Share of a test item that a document has to hold; less is recorded and nothing done."""
    action: Literal["drop-document", "drop-span", "log"] = "drop-document"
    """Drop the document, cut the overlap out of it, or only record it."""
    max_cut: Probability = 0.5
    """With ``drop-span``: a document that loses a larger share of its characters is dropped."""


class BuildConfig(Section):
    """A corpus, from documents to token shards."""

    sources: dict[str, CorpusSource | None]
    """Sources by name, which becomes a folder's name; ``null`` takes an inherited one away."""
    tokenizer: str = "bundled"
    """A folder or ``.model`` file, or ``bundled``."""
    heldout: Annotated[Share, Field(ge=0, le=0.5)] = 0.005
    """Share of the documents kept out of training, chosen by a hash of the document's id."""
    filters: FiltersConfig = FiltersConfig()
    duplicates: DuplicatesConfig = DuplicatesConfig()
    contamination: ContaminationConfig = ContaminationConfig()
    max_document_bytes: Annotated[Positive, Field(le=10**9)] = 16_000_000
    """Longest document (a line, row or text file) that is read. A worker needs up to 45 times as much memory."""
    part_bytes: Positive = 256_000_000
    """Raw bytes that one task reads at a time, roughly; changing it changes the numbering of the shards."""

    @property
    def active_sources(self) -> dict[str, CorpusSource]:
        """The sources that were not taken away with ``null``."""
        return {name: source for name, source in self.sources.items() if source is not None}

    @model_validator(mode="after")
    def _has_sources(self) -> Self:
        folders: dict[str, str] = {}
        for name in self.sources:
            if not re.fullmatch(r"\w[\w-]*", name):
                raise ValueError(f"the source name {name!r} has to consist of letters, digits, - and _")
            other = folders.setdefault(unicodedata.normalize("NFC", name).casefold(), name)
            if other != name:
                raise ValueError(f"the source names {other!r} and {name!r} are one folder where case does not count")
        if not self.active_sources:
            raise ValueError("no source is left")
        return self
