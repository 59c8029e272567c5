"""Over-fitting, under-fitting or neither, said in words from the two loss curves."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from src.report.markup import Markup, escape

LEVEL = 0.02  # a smaller relative change of a loss is called none
CHANCE = 0.97  # a validation loss above this share of that of guessing is no learning


@dataclass(frozen=True)
class Verdict:
    """title: two or three words; sentences: what the losses did; kind: good, warn or bad."""

    kind: str
    title: str
    sentences: str

    def drawn(self) -> Markup:
        """As a paragraph of the page."""
        return Markup(f'<p class="words {self.kind}"><b>{escape(self.title)}.</b> {escape(self.sentences)}</p>')


def judge(
    train: Mapping[float, float], val: Mapping[float, float], *, axis: str, guessing: float | None = None
) -> Verdict | None:
    """What the losses by epoch (or step) say; None where validation was never measured.

    guessing: the loss of one who knows nothing, ln C for C classes; None if that is not known.
    """
    places = sorted(place for place, loss in val.items() if math.isfinite(loss))
    broken = sorted(place for place, loss in {**train, **val}.items() if not math.isfinite(loss))
    if broken:
        return Verdict("bad", "Diverged", f"The loss stopped being a number in {axis} {broken[0]:g}.")
    if not places:
        return None
    best, last = min(places, key=lambda place: (val[place], place)), places[-1]
    gap = _gap(train, val, best, axis)
    if guessing is not None and val[best] > CHANCE * guessing:
        words = (
            f"The validation loss never fell clearly below that of guessing: {val[best]:.4f}, against {guessing:.4f}."
        )
        return Verdict("bad", "Under-fitting", f"{words} The network has hardly learned anything. {gap}".strip())
    if len(places) == 1:
        words = f"One validation is too short to tell over-fitting from under-fitting. {gap}"
        return Verdict("", "Too short to tell", words.strip())
    if best == last:
        return _at_the_end(val, places, axis, gap)
    return _past_the_best(train, val, best, last, axis, gap)


def _at_the_end(val: Mapping[float, float], places: list[float], axis: str, gap: str) -> Verdict:
    first, before, last = places[0], places[-2], places[-1]
    gain, all_gain = val[before] - val[last], val[first] - val[last]
    fall = _change(val[before], val[last])
    if fall < -LEVEL or (fall < -LEVEL / 4 and gain > 0.05 * all_gain):
        words = (
            f"The validation loss was still falling when training ended: from {val[before]:.3f} to {val[last]:.3f} "
            f"({fall:+.0%}) between {axis} {before:g} and {last:g}. Longer training would probably help."
        )
        return Verdict("warn", "Under-fitting, still learning", f"{words} {gap}".strip())
    words = f"The validation loss has levelled off at its lowest value, {val[last]:.3f}, in the last {axis}, {last:g}."
    return Verdict("good", "Sweet spot at the end", f"{words} {gap}".strip())


def _past_the_best(
    train: Mapping[float, float], val: Mapping[float, float], best: float, last: float, axis: str, gap: str
) -> Verdict:
    rise = _change(val[best], val[last])
    val_words = f"the validation loss went from {val[best]:.3f} to {val[last]:.3f} ({rise:+.0%})"
    after = f"After {axis} {best:g}"
    if rise <= LEVEL:
        words = f"{after} {val_words}: training longer neither helped nor harmed."
        return Verdict("good", f"Sweet spot at {axis} {best:g}", f"{words} {gap}".strip())
    if best not in train or last not in train:
        return Verdict("warn", f"Over-fitting after {axis} {best:g}", f"{after} {val_words}. {gap}".strip())
    train_words = f"the training loss went from {train[best]:.3f} to {train[last]:.3f}"
    if train[last] >= train[best]:
        words = f"{after} {val_words}, and {train_words} as well: the steps were too large to stay there."
        return Verdict("warn", f"Unstable after {axis} {best:g}", words)
    fall = _change(train[best], train[last])
    words = (
        f"{after} {train_words} ({fall:+.0%}), but {val_words}: the network went on to learn the training examples "
        f"by heart, which does not help with new ones. The gap grew from {val[best] - train[best]:+.3f} to "
        f"{val[last] - train[last]:+.3f}."
    )
    return Verdict("warn", f"Over-fitting after {axis} {best:g}", words)


def _gap(train: Mapping[float, float], val: Mapping[float, float], best: float, axis: str) -> str:
    """How far apart the losses are where validation is best."""
    if best not in train:
        return ""
    difference = val[best] - train[best]
    losses = f"In {axis} {best:g} the gap is {difference:+.3f}: {train[best]:.3f} in training, {val[best]:.3f} in"
    if difference >= 0:
        return f"{losses} validation."
    return f"{losses} validation. It can be negative: the training loss is taken with dropout, while weights change."


def _change(before: float, after: float) -> float:
    return (after - before) / before if before else math.inf
