"""What a language model wrote at each validation, from samples.txt."""

import re

from src.report.markup import escape, folded, section
from src.report.read import RunFiles

_HEAD = re.compile(r"^== step (\d+)\n", re.MULTILINE)
_MOST = 12  # validations shown: the first, the last, and some between


def read_samples(text: str) -> dict[int, list[str]]:
    """Step to the texts written then, in the order of the file."""
    parts = _HEAD.split(text)[1:]  # step, text, step, text, ...
    found: dict[int, list[str]] = {}
    for step, words in zip(parts[::2], parts[1::2], strict=True):
        found.setdefault(int(step), []).append(words.strip("\n"))
    return found


def samples_section(files: RunFiles) -> str:
    """The newest texts open, older ones folded; nothing for a model that writes none."""
    found = read_samples(files.samples)
    if not found:
        return ""
    steps = sorted(found)
    if len(steps) > _MOST:
        steps = sorted({steps[round(i * (len(steps) - 1) / (_MOST - 1))] for i in range(_MOST)})
    written = {step: "".join(f'<pre class="prose">{escape(text)}</pre>' for text in found[step]) for step in steps}
    older = [folded(f"Step {step:,}", written[step]) for step in steps[:-1]]
    return section("Samples", f"<h3>Step {steps[-1]:,}, the last</h3>{written[steps[-1]]}", *older)
