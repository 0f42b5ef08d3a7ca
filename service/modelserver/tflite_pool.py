"""InterpreterPool: a fixed number of interpreters shared by threads, each used by one at a time."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from service.modelserver.tflite_interpreter import Interpreter


class InterpreterPool:
    """Lends interpreters.

    Args:
        interpreters: Copies of one model, at least one.
    """

    def __init__(self, interpreters: Sequence[Interpreter]) -> None:
        self._idle = list(interpreters)
        self._returned = threading.Condition()

    def take(self, key: str, shapes: tuple[tuple[int, ...], ...]) -> Interpreter:
        """Wait for an idle interpreter; :meth:`give_back` must follow.

        One whose memory is laid out for the call is preferred, else the one that has been idle longest is given up.

        Args:
            key: Signature that will be called.
            shapes: Of its inputs.
        """
        with self._returned:
            while not self._idle:
                self._returned.wait()
            for position in range(len(self._idle) - 1, -1, -1):
                if self._idle[position].shapes.get(key) == shapes:
                    return self._idle.pop(position)
            return self._idle.pop(0)

    def give_back(self, interpreter: Interpreter) -> None:
        """The call is over."""
        with self._returned:
            self._idle.append(interpreter)
            self._returned.notify()

    def clear(self) -> None:
        """Release all; none may be lent."""
        with self._returned:
            self._idle.clear()
