"""``ledger.html``: the ledger as one page that needs nothing but itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from glm130b.corpus.characters import printable
from glm130b.files import size_text, write_whole

_STAGE_NAMES = {
    "read": "Read",
    "normalise": "Normalised",
    "language": "Language",
    "quality": "Quality",
    "exact": "Exact duplicates",
    "near": "Near duplicates",
    "contamination": "Test sets",
}


def write_page(ledger: dict[str, Any], path: Path) -> None:
    """Write the page of a ledger.

    Raises:
        ResourceError: it cannot be written.
    """
    write_whole(path, render(ledger))


def render(ledger: dict[str, Any]) -> str:
    """The page as HTML."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("glm130b", "corpus"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
        finalize=lambda value: printable(value) if isinstance(value, str) else value,
    )
    environment.filters |= {"size": size_text, "count": "{:,}".format, "counted": counted, "share": share}
    total = ledger["total"]
    return environment.get_template("ledger.html.j2").render(
        ledger=ledger,
        first=total["stages"][0]["in"],
        stages=[(_STAGE_NAMES[stage["stage"]], stage) for stage in total["stages"]],
        kept={name: total["train"][name] + total["heldout"][name] for name in ("documents", "bytes", "tokens")},
        reasons=_reasons(ledger),
        stage_names=_STAGE_NAMES,
        shards=_shards(ledger),
    )


def counted(number: int, thing: str) -> str:
    """A number of things."""
    return f"{number:,} {thing}" if number == 1 else f"{number:,} {thing}s"


def share(part: float, whole: float) -> str:
    """A percentage that says whether it is none at all."""
    if not whole or not part:
        return "0 %"
    percent = 100 * part / whole
    return "< 0.1 %" if percent < 0.05 else f"{percent:.1f} %"


def _reasons(ledger: dict[str, Any]) -> list[dict[str, Any]]:
    """Every reason with its documents, where they come from and samples; the most frequent first."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for row in ledger["sources"]:
        for stage in row["stages"]:
            for reason, counts in stage["dropped"].items():
                entry = found.setdefault(
                    (stage["stage"], reason),
                    {"stage": stage["stage"], "reason": reason, "documents": 0, "tokens": 0, "of": [], "samples": []},
                )
                entry["documents"] += counts["documents"]
                entry["tokens"] += counts["tokens"]
                name = f"{row['source']} ({row['language']})"
                entry["of"].append((name, counts["documents"], stage["in"]["documents"]))
    for row in ledger["samples"]:
        entry = found[row["stage"], row["reason"]]
        name = f"{row['source']} ({row['language']})"
        entry["samples"] += [{"source": name, **sample} for sample in row["samples"]]
    for entry in found.values():
        entry["of"].sort(key=lambda item: -item[1])
    return sorted(found.values(), key=lambda entry: -int(entry["documents"]))


def _shards(ledger: dict[str, Any]) -> list[dict[str, Any]]:
    """Shards by folder: how many, documents, tokens, bytes, and the files."""
    found: dict[str, dict[str, Any]] = {}
    for row in ledger["shards"]:
        folder, _, name = row["file"].rpartition("/")
        entry = found.setdefault(folder, {"folder": folder, "documents": 0, "tokens": 0, "bytes": 0, "files": []})
        entry["bytes"] += row["bytes"]
        if name.endswith(".bin"):
            entry["documents"] += row["documents"]
            entry["tokens"] += row["tokens"]
        entry["files"].append({"name": name, **row})
    return list(found.values())
