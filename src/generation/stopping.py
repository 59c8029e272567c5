"""Stop strings: found wherever tokens are cut, and nothing is shown that might be the beginning of one."""

from collections.abc import Sequence


class StopStrings:
    """`push(text)` returns what may be shown; `found` is the stop string that the text ran into, itself never shown."""

    def __init__(self, stops: Sequence[str]) -> None:
        self.stops = tuple(stops)
        self.held = ""
        self.found: str | None = None

    def push(self, text: str) -> str:
        self.held += text
        hits = [(self.held.find(stop), stop) for stop in self.stops if stop in self.held]
        if hits:
            # The earliest ends the text; of two at one place the longer, whose text is more certain.
            place, self.found = min(hits, key=lambda hit: (hit[0], -len(hit[1])))
            shown, self.held = self.held[:place], ""
            return shown
        keep = max((overlap(self.held, stop) for stop in self.stops), default=0)
        cut = len(self.held) - keep
        shown, self.held = self.held[:cut], self.held[cut:]
        return shown

    def finish(self) -> str:
        """What was held back, when no more text comes."""
        shown, self.held = self.held, ""
        return shown


def overlap(text: str, stop: str) -> int:
    """The longest end of `text` that is a beginning of `stop`."""
    longest = min(len(text), len(stop) - 1)
    return next((size for size in range(longest, 0, -1) if text.endswith(stop[:size])), 0)
