"""The most confident mistakes with their text."""

from typing import Any

from src.report.markup import badge, escape, folded, paragraph, section
from src.report.read import RunFiles, label_names
from src.run.mistakes import most_confident, read_mistakes

_OPEN = 5  # shown at once, the others on a tap


def mistakes_section(files: RunFiles) -> str:
    """Those of val first. Those of test are folded: who learns from them has used the test set."""
    parts = []
    for split, found in files.predictions.items():
        if not len(found.labels):
            continue
        kept = read_mistakes(files.path, split)
        entries = kept.get("mistakes") or most_confident(
            rows=found.rows, labels=found.labels, probabilities=found.probabilities
        )
        drawn = _drawn(files, entries, kept.get("text_is"))
        if split == "test":
            warning = paragraph("Whoever changes the recipe because of these has used the test set.", kind="soft")
            parts.append(folded("Mistakes on test", warning + drawn) if drawn else "")
        else:
            parts.append(drawn or paragraph(f"No mistakes on {split}."))
    return section("Most confident mistakes", *parts)


def _drawn(files: RunFiles, entries: list[dict[str, Any]], text_is: str | None) -> str:
    if not entries:
        return ""
    names = label_names(files)
    notes = {
        "source": "",
        "tokens": "The source could not be read again: these are the words that the network was given.",
        None: "The texts were not kept: only the rows of the source are known.",
    }
    note = paragraph(notes.get(text_is, ""), kind="missing") if notes.get(text_is) else ""
    articles = [_article(entry, names) for entry in entries]
    more = folded(f"{len(articles) - _OPEN} more", "".join(articles[_OPEN:])) if len(articles) > _OPEN else ""
    return note + "".join(articles[:_OPEN]) + more


def _article(entry: dict[str, Any], names: list[str]) -> str:
    called, label = _name(entry.get("predicted"), names), _name(entry.get("label"), names)
    probability = entry.get("probability")
    sure = f", {probability:.1%} sure" if isinstance(probability, float) else ""
    text = str(entry.get("text", ""))
    ending = " …" if entry.get("cut") else ""
    body = f"<p>{escape(text)}{ending}</p>" if text else ""
    row = f'<span class="soft">row {escape(entry.get("row", "?"))}</span>'
    wrong = badge(f"called {called}{sure}", kind="bad")
    return f'<article class="mistake"><p>{wrong} {badge(f"is {label}", kind="good")} {row}</p>{body}</article>'


def _name(number: Any, names: list[str]) -> str:
    return names[number] if isinstance(number, int) and 0 <= number < len(names) else str(number)
