"""One piece of work at a time in a thread of its own; what goes wrong there is raised here, by the next call."""

import threading
from collections.abc import Callable


class Background:
    """The thread is no daemon: a process that ends waits for it, so that the work is never cut off half done."""

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    def start(self, work: Callable[[], object]) -> None:
        """Do `work` in the thread, after what was started before; raises what went wrong in that."""
        self.wait()

        def run() -> None:
            try:
                work()
            except BaseException as error:
                self._error = error

        self._thread = threading.Thread(target=run, name="checkpoint")
        self._thread.start()

    def check(self) -> None:
        """Raise what went wrong in work that has ended; does not wait."""
        if self._thread is not None and not self._thread.is_alive():
            self.wait()

    def wait(self) -> None:
        """Return when nothing is under way; raises, once, what went wrong."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        error, self._error = self._error, None
        if error is not None:
            raise error
