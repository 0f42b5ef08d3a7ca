"""BatchingParameters: the batching file, checked as a whole before the server serves.

TensorFlow Serving finds some mistakes at start and others only when a model loads, minutes later
(``batching/batching_session.cc``, ``shared_batch_scheduler.h``, ``servables/tensorflow/bundle_factory_util.cc``).
Here every mistake is found at once, with its code, its message where it has one, and the field's name.

Where ours is stricter: ``allowed_batch_sizes`` must always ascend and be positive (without batch splitting TensorFlow
Serving looks at the last entry only).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from service.domain.errors import InfeasibleConfigError
from service.domain.serving_config import DEFAULT_MAX_ENQUEUED_BATCHES, ServingConfig
from service.modelserver import textproto
from service.modelserver.flags import ServerFlags
from service.modelserver.status import Code, ServingError

#: TensorFlow Serving's defaults (``SharedBatchScheduler::QueueOptions``).
DEFAULT_MAX_BATCH_SIZE = 1000
DEFAULT_BATCH_TIMEOUT_MICROS = 0
DEFAULT_THREAD_POOL_NAME = "batch_threads"

#: Without a file the pool has this name (``model_servers/server.cc``).
SERVER_THREAD_POOL_NAME = "model_server_batch_threads"

#: The file that a version's folder may hold, read with ``--enable_per_model_batching_parameters``.
PER_MODEL_FILE = "batching_params.pbtxt"


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchingParameters:
    """A checked batching file; what it leaves out has TensorFlow Serving's default.

    Attributes:
        max_batch_size: Largest batch, in examples. With splitting: largest request, which is then cut into batches of
            at most ``max_execution_batch_size``.
        batch_timeout_micros: How long the oldest request of a batch may wait for company, in microseconds.
        max_enqueued_batches: Batches that may wait in one queue.
        num_batch_threads: Batches in execution at once; None means one for each CPU.
        thread_pool_name: Name of the pool; shows in metrics and logs alone.
        allowed_batch_sizes: Sizes a batch is padded up to, ascending; empty means no padding.
        pad_variable_length_inputs: Whether requests of different inner shapes are padded so that they batch together.
        enable_large_batch_splitting: Whether a request may be spread over several batches.
        max_execution_batch_size: Largest batch that is executed; equals ``max_batch_size`` without splitting.
    """

    max_batch_size: int = DEFAULT_MAX_BATCH_SIZE
    batch_timeout_micros: int = DEFAULT_BATCH_TIMEOUT_MICROS
    max_enqueued_batches: int = DEFAULT_MAX_ENQUEUED_BATCHES
    num_batch_threads: int | None = None
    thread_pool_name: str = DEFAULT_THREAD_POOL_NAME
    allowed_batch_sizes: tuple[int, ...] = ()
    pad_variable_length_inputs: bool = False
    enable_large_batch_splitting: bool = False
    max_execution_batch_size: int = DEFAULT_MAX_BATCH_SIZE

    @property
    def split_size(self) -> int:
        """Examples above which a request is split into parts of this size; 0 splits none."""
        return self.max_execution_batch_size if self.enable_large_batch_splitting else 0


def parse_batching_parameters(text: str, source: str = "batching parameters") -> BatchingParameters:
    """Read and check a BatchingParameters textproto.

    Args:
        text: The file's content.
        source: Path or phrase that errors name.

    Raises:
        ServingError: INVALID_ARGUMENT; the message names the field.
    """
    message = textproto.parse(text, textproto.new_message("BatchingParameters"), source)

    def given(field: str, default: int) -> int:
        return int(getattr(message, field).value) if message.HasField(field) else default

    largest = given("max_batch_size", DEFAULT_MAX_BATCH_SIZE)
    parameters = BatchingParameters(
        max_batch_size=largest,
        batch_timeout_micros=given("batch_timeout_micros", DEFAULT_BATCH_TIMEOUT_MICROS),
        max_enqueued_batches=given("max_enqueued_batches", DEFAULT_MAX_ENQUEUED_BATCHES),
        num_batch_threads=message.num_batch_threads.value if message.HasField("num_batch_threads") else None,
        thread_pool_name=message.thread_pool_name.value or DEFAULT_THREAD_POOL_NAME,
        allowed_batch_sizes=tuple(message.allowed_batch_sizes),
        pad_variable_length_inputs=message.pad_variable_length_inputs,
        enable_large_batch_splitting=message.enable_large_batch_splitting.value,
        max_execution_batch_size=given("max_execution_batch_size", largest),
    )
    try:
        _check(parameters)
        per_model_config(ServingConfig(), parameters)
    except ServingError as error:
        raise ServingError(error.code, f"{source}: {error.message}") from None
    return parameters


def _refuse(message: str) -> ServingError:
    return ServingError(Code.INVALID_ARGUMENT, message)


def _check(parameters: BatchingParameters) -> None:
    """The rules of TensorFlow Serving's scheduler and batching session, in its words."""
    if parameters.num_batch_threads is not None and parameters.num_batch_threads < 1:
        raise _refuse(f"num_batch_threads must be positive; was {parameters.num_batch_threads}")
    if parameters.max_batch_size < 1:
        raise _refuse(f"max_batch_size must be positive; was {parameters.max_batch_size}")
    if parameters.batch_timeout_micros < 0:
        raise _refuse(f"batch_timeout_micros must be non-negative; was {parameters.batch_timeout_micros}")
    if parameters.max_enqueued_batches < 1:
        raise _refuse(f"max_enqueued_batches must be positive; was {parameters.max_enqueued_batches}")
    sizes = parameters.allowed_batch_sizes
    if any(size < 1 for size in sizes):
        raise _refuse(f"allowed_batch_sizes entries must be positive; were {list(sizes)}")
    if any(after <= before for before, after in pairwise(sizes)):
        raise _refuse(f"allowed_batch_sizes entries must be monotonically increasing; were {list(sizes)}")
    last = sizes[-1] if sizes else None
    largest, executed = parameters.max_batch_size, parameters.max_execution_batch_size
    if not parameters.enable_large_batch_splitting:
        if executed != largest:
            raise _refuse("max_execution_batch_size has an effect only with enable_large_batch_splitting")
        if last is not None and last != largest:
            raise _refuse(
                f"Last entry in allowed_batch_sizes must match max_batch_size; last entry was {last}; "
                f"expected {largest}"
            )
        return
    if executed < 1:
        raise _refuse(f"max_execution_batch_size must be positive; was {executed}")
    if largest < executed:
        raise _refuse(
            "When enable_large_batch_splitting is true, max_batch_size must be greater than or equal to "
            f"max_execution_batch_size; were {largest} and {executed}"
        )
    if last is not None and last != executed:
        raise _refuse(
            f"Last entry in allowed_batch_sizes must be equal to max_execution_batch_size; last entry was {last}; "
            f"expected {executed}"
        )


def read_batching_parameters(path: str | Path) -> BatchingParameters:
    """Read and check a batching file.

    Raises:
        ServingError: NOT_FOUND without such a file; INVALID_ARGUMENT when it is wrong.
    """
    return parse_batching_parameters(textproto.read(path), str(path))


def batching_parameters(flags: ServerFlags) -> BatchingParameters | None:
    """The server-wide parameters that the flags name; None while batching is off.

    Raises:
        ServingError: As :func:`read_batching_parameters`.
    """
    if not flags.enable_batching:
        return None
    if not flags.batching_parameters_file:
        return BatchingParameters(thread_pool_name=SERVER_THREAD_POOL_NAME)
    return read_batching_parameters(flags.batching_parameters_file)


def initial_config(flags: ServerFlags, parameters: BatchingParameters | None, cpus: int) -> ServingConfig:
    """The configuration that the flags and the batching file describe.

    Args:
        flags: Give threads and instances, and whether batching is on.
        parameters: From :func:`batching_parameters`; None for batching off.
        cpus: Batch threads where the file names none.

    Raises:
        ServingError: INVALID_ARGUMENT; a value lies outside what this server allows.
    """
    inter, intra = flags.session_threads
    unbatched = ServingConfig(
        tensorflow_inter_op_parallelism=inter, tensorflow_intra_op_parallelism=intra, instances=flags.instances
    )
    if parameters is None or not flags.enable_batching:
        return unbatched
    return _with_batching(unbatched, parameters, parameters.num_batch_threads or cpus)


def per_model_config(base: ServingConfig, parameters: BatchingParameters) -> ServingConfig:
    """``base`` with the sizes and timeouts of a version's own file; threads stay those of the server.

    What a ServingConfig cannot say (padding of variable-length inputs, splitting of large requests, the pool's name)
    stays in ``parameters``. With splitting, ``max_batch_size`` is the largest request, and since the last of
    ``allowed_batch_sizes`` must equal it, it is added to them; no batch is ever padded up to it.

    Raises:
        ServingError: INVALID_ARGUMENT; a value lies outside what this server allows.
    """
    threads = base.num_batch_threads if base.enable_batching else parameters.num_batch_threads or 1
    return _with_batching(base, parameters, threads)


def _with_batching(base: ServingConfig, parameters: BatchingParameters, threads: int) -> ServingConfig:
    sizes = parameters.allowed_batch_sizes
    if sizes and sizes[-1] < parameters.max_batch_size:
        sizes += (parameters.max_batch_size,)
    try:
        return base.with_values(
            enable_batching=True,
            max_batch_size=parameters.max_batch_size,
            batch_timeout_micros=parameters.batch_timeout_micros,
            max_enqueued_batches=parameters.max_enqueued_batches,
            num_batch_threads=threads,
            allowed_batch_sizes=sizes,
        )
    except InfeasibleConfigError as error:
        raise ServingError(Code.INVALID_ARGUMENT, str(error)) from None
