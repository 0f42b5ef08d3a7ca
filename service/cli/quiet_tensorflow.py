"""Importing TensorFlow without its start-up chatter.

TensorFlow writes lines to file descriptor 2 while it is imported, before any of its log settings can take effect
(absl logs "before InitializeLog()"). They say nothing a user could act on, and they would bury our own output.
"""

from __future__ import annotations

import logging
import os
import sys
import tempfile


def import_tensorflow() -> None:
    """Import TensorFlow with its standard error held back; what it wrote is shown only if the import fails.

    Settings that a user made in the environment win over ours.

    Raises:
        ImportError: TensorFlow is not installed; the message says how to install it.
    """
    # 3 leaves fatal messages only: what goes wrong later reaches Python as an exception.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # Each session gets pools of its own; read once, at import. See the embedded server's session module.
    os.environ.setdefault("TF_OVERRIDE_GLOBAL_THREADPOOL", "1")
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as held_back:
        os.dup2(held_back.fileno(), 2)
        try:
            import tensorflow as tf

            # The first look at the devices logs a second time.
            tf.config.list_physical_devices()
        except BaseException as error:
            os.dup2(kept, 2)
            held_back.seek(0)
            sys.stderr.write(held_back.read().decode(errors="replace"))
            if isinstance(error, ModuleNotFoundError) and error.name == "tensorflow":
                raise ImportError(
                    "TensorFlow is not installed here; install the extra, in a checkout: pip install '.[modelserver]'"
                ) from error
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
