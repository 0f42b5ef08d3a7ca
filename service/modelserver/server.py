"""The program: reads the command line and runs the server. Imports TensorFlow only once the flags are in order."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
from collections.abc import Iterator, Sequence

from service.agent.errors import ListenError
from service.domain.errors import InvalidValueError
from service.modelserver.flags import FlagError, parse_flags
from service.modelserver.flags_help import information
from service.modelserver.status import ServingError

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_USAGE = 2

#: Seconds for which a thread may keep Python's lock from others that want it. With the default of 5 ms a batch that is
#: done may wait as long as it took to compute until the busy event loop lets its thread go on.
SWITCH_INTERVAL_SECONDS = 0.0005


def run(argv: Sequence[str]) -> int:
    """Run the model server until it is told to stop.

    Args:
        argv: The arguments alone, without the program's name.

    Returns:
        The exit status: 0 after a signal, 1 when it could not start, 2 for a wrong flag. The reason is on stderr.
    """
    text = information(argv)
    if text is not None:
        print(text)
        return EXIT_OK
    try:
        flags = parse_flags(argv)
    except FlagError as error:
        return _complain(error.message, EXIT_USAGE)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    sys.setswitchinterval(SWITCH_INTERVAL_SECONDS)
    import uvloop

    with _quiet_stderr():
        from service.modelserver.serving import serve
        from service.modelserver.session import first_session

        first_session()
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(serve(flags))
    except ServingError as error:
        return _complain(error.message, EXIT_FAILED)
    except (ListenError, InvalidValueError) as error:
        return _complain(str(error), EXIT_FAILED)
    return EXIT_OK


def _complain(message: str, status: int) -> int:
    print(f"regulus modelserver: {message}", file=sys.stderr)
    return status


@contextlib.contextmanager
def _quiet_stderr() -> Iterator[None]:
    """Hold back what TensorFlow's C++ says of itself at import and of missing graphics cards; no setting silences it.

    Python's own errors are raised and so not lost.
    """
    sys.stderr.flush()
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    os.close(nowhere)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
