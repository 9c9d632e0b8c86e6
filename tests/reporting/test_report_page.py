"""The page: whole, self-contained, escaped, and of the same numbers as the results."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from made_results import FACTS, HOSTILE, MODEL, published, task_of, write

from glm130b.reporting import Report, gather, write_report
from glm130b.reporting.page import SECTIONS, page
from glm130b.reporting.tables import latex, markdown

VOID = {"meta", "br", "line", "circle", "path", "polyline"}


class Page(HTMLParser):
    """Elements of a page, which have to be closed in the order they were opened."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []
        self.text = " ".join(" ".join(self.words).split())
        self.ids = [found for _, attributes in self.tags if (found := attributes.get("id"))]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.words.append(data)


@pytest.fixture
def facts(tmp_path: Path) -> Path:
    path = tmp_path / "facts.yaml"
    path.write_text(FACTS, encoding="utf-8")
    return path


@pytest.fixture
def report(tmp_path: Path, facts: Path) -> Report:
    bias = {"family": "ethics", "notes": "0.5 is the ideal.", "seen": "dataset", "seen_by": ("wino",)}
    tasks = [
        task_of("clue/first", (0.3, 0.5, 0.7, 0.7), published=(published(prompts="max"),), expects=4316),
        task_of("crows", (0.6,), seed=40, groups=("age", "gender", "religion"), **bias),
        task_of("alone", (0.5,), seed=80, published=(published(value=0.452),)),
    ]
    write(tmp_path / "eval", tasks)
    other = [task_of("clue/first", (0.9, 0.9, 0.9, 0.9), seed=7), task_of("alone", (0.5,), seed=80)]
    write(tmp_path / "int4", other, model=MODEL.model_copy(update={"bits": 4, "group_size": 128}))
    return gather(
        tmp_path / "eval", facts=facts, against=[tmp_path / "int4"], watts=300.0, carbon=0.5, title="A small model"
    )


def test_the_page_is_whole_and_needs_nothing_else(report: Report) -> None:
    text = page(report)
    found = Page(text)
    names = {tag for tag, _ in found.tags}
    assert text.startswith("<!doctype html>")
    assert not names & {"script", "link", "img", "iframe", "object", "form", "base"}
    assert "default-src 'none'" in text
    assert not re.search(r"url\(|@import", text)
    for tag, attributes in found.tags:
        assert not any(name.startswith("on") or name == "src" for name in attributes)
        if tag == "a":
            assert (attributes["href"] or "").removeprefix("#") in found.ids
        if tag == "th":
            assert attributes.get("scope") in ("row", "col")
        if tag == "svg":
            assert attributes.get("aria-label")
    assert len(found.ids) == len(set(found.ids))


def test_every_section_is_there(report: Report) -> None:
    found = Page(page(report))
    assert [one for one in found.ids if one in SECTIONS] == list(SECTIONS)
    for english, chinese in SECTIONS.values():
        assert f"{english} {chinese}" in found.text
    for part in ("prefers-color-scheme: dark", "@media print"):
        assert part in page(report)


def test_the_numbers_are_the_results(report: Report) -> None:
    found = Page(page(report))
    for task in report.results.tasks:
        for headline in task.headlines:
            score = headline.score
            assert score.value is not None
            assert score.low is not None
            assert score.high is not None
            row = f"{score.units} {100 * score.value:.1f} {100 * score.low:.1f} to {100 * score.high:.1f}"
            assert row in found.text
        for name, (value, _, _, units) in task.headlines[0].score.groups.items():
            assert f"{name} {units} {100 * (value or 0):.1f}" in found.text
    for part in ("median of 4", "(71.2)", "45.2", "25.0 40.0", "c" * 64, "0" * 64, "8.0 GB", "a card"):
        assert part in found.text, part


def test_comparisons_are_told_in_words(report: Report) -> None:
    found = Page(page(report))
    (compared,) = report.compared
    assert {row.name for row in compared.rows} == {"clue/first", "alone"}
    assert [row.verdict for row in compared.rows if row.name == "alone"] == ["A and B are alike on every item."]
    for row in compared.rows:
        assert row.verdict in found.text
    assert "INT4 weights in groups of 128" in found.text
    assert "the same as A’s" in found.text


def test_ethics_stand_out(report: Report) -> None:
    text = page(report)
    found = Page(text)
    assert "no proof that a model is harmless" in found.text
    assert '<p class="warn">0.5 is the ideal.</p>' in text
    assert "In training: yes (wino)" in found.text
    headings = re.findall(r'<h3 id="family-\d+">(.*?)</h3>', text)
    assert headings == ["clue", "single tasks", "ethics"]


def test_what_a_reader_must_not_miss(report: Report) -> None:
    found = Page(page(report))
    assert "Not the complete set: clue/first (60 of 4,316 items)." in found.text
    assert "Not known of the training: software, seed, consumed of english, sha256 of english." in found.text
    assert "Estimated: 300 W, as given, times 1,441 hours" in found.text
    assert "432.3 kWh" in found.text
    assert "442.4 MWh at 0.5810 kg a kWh, 257 t" in found.text


def test_what_is_not_there_is_told(tmp_path: Path, facts: Path) -> None:
    task, units = task_of("one", (0.5,))
    gaps = tuple(it.model_copy(update={"missing": 3}) for it in task.measurements)
    write(tmp_path / "eval", [(task.model_copy(update={"measurements": gaps}), units)], left_out=("pile", "mmlu"))
    report = gather(tmp_path / "eval", facts=facts, energy="unknown")
    found = Page(page(report))
    assert "Left out for want of data: pile, mmlu." in found.text
    assert "Questions without an answer, left out: one (3)." in found.text
    assert "left out for want of data pile, mmlu" in markdown("A", report.results, report.training, report.energy)


def test_sections_without_content_are_left_out(tmp_path: Path, facts: Path) -> None:
    write(tmp_path / "eval", [task_of("one", (0.5,))])
    found = Page(page(gather(tmp_path / "eval", facts=facts, energy="unknown")))
    assert not {"prompts", "compared"} & set(found.ids)
    assert "The energy is not known" in found.text


def test_nothing_written_by_others_becomes_markup(tmp_path: Path) -> None:
    one, _ = task_of(
        f"a/{HOSTILE}",
        (0.4, 0.6),
        groups=(HOSTILE, "b"),
        title=HOSTILE,
        notes=HOSTILE,
        licence=HOSTILE,
        source=f"javascript:{HOSTILE}",
        split=HOSTILE,
        seen_by=(HOSTILE,),
        published=(published(system=HOSTILE, protocol=HOSTILE, source=HOSTILE, prompts=HOSTILE),),
    )
    prompts = tuple(it.model_copy(update={"prompt": HOSTILE, "prompt_text": HOSTILE}) for it in one.measurements)
    task = one.model_copy(update={"measurements": prompts})
    model = MODEL.model_copy(update={"path": HOSTILE.replace("\x00", ""), "precision": HOSTILE})
    write(tmp_path / "eval", [(task, {})], model=model, software={HOSTILE: HOSTILE}, suites=(HOSTILE,))
    (tmp_path / "facts.yaml").write_text(FACTS % "<script>alert(2)</script>", encoding="utf-8")
    report = gather(tmp_path / "eval", facts=tmp_path / "facts.yaml", energy="unknown", title=HOSTILE)
    text = page(report)
    found = Page(text)
    assert "script" not in {tag for tag, _ in found.tags}
    assert "<script>alert(1)</script>&lt;" in found.text
    assert "{{ 7 * 7 }}" in found.text
    assert not re.search(r"[\x00-\x08\x0b-\x1f]", text)
    table = markdown(HOSTILE, report.results, report.training, report.energy)
    assert not re.search(r"(?<!\\)<", table)
    rows = [line for line in table.splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in rows} == {3, 4, 12}
    tex = latex(report.results, report.training, report.energy)
    assert tex.count("\\end{tabular}") == 4
    assert tex.count("\\begin{tabular}") == 4


def test_markdown_and_latex_have_the_same_rows(report: Report, tmp_path: Path) -> None:
    files = write_report(report, tmp_path / "out", as_markdown=True, as_latex=True)
    assert [file.name for file in files] == ["report.html", "report.md", "tables.tex"]
    text, tex = (file.read_text(encoding="utf-8") for file in files[1:])
    for task in report.results.tasks:
        value = f"{100 * (task.headlines[0].score.value or 0):.1f}"
        assert re.search(rf"\| {task.name} \| accuracy \| 0 \| 60 \| {value} \|", text)
        assert re.search(rf"{task.name} & accuracy & 0 & 60 & {value} &", tex)
        assert task.files[0].sha256 in text
        assert task.files[0].sha256 in tex
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == ["report.html", "report.md", "tables.tex"]


def test_only_the_page_unless_asked(report: Report, tmp_path: Path) -> None:
    assert write_report(report, tmp_path / "out") == [tmp_path / "out" / "report.html"]
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["report.html"]
