"""BatchingFile: a BatchingParameters textproto, read from the user's and written for the server. Pure.

An invalid file kills TensorFlow Serving minutes after its start (a load that fails is tried five more times, a minute
apart), so nothing that breaks a rule of ``batching_session.cc`` or ``shared_batch_scheduler.h`` is ever written: the
rules on what a ServingConfig holds are the domain's, the others are here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from service.domain.errors import InfeasibleConfigError
from service.domain.serving_config import DEFAULT_MAX_ENQUEUED_BATCHES, ServingConfig
from service.node.errors import ArgumentError

_WRAPPED_NUMBERS = (
    "max_batch_size",
    "batch_timeout_micros",
    "max_enqueued_batches",
    "num_batch_threads",
    "max_execution_batch_size",
)
_TOKEN = re.compile(r'\s*(?:#[^\n]*|([A-Za-z_]\w*)|(-?\d+)|("(?:[^"\\]|\\.)*")|([:{}\[\],;]))')
_BOOLS = {"true": True, "false": False, "1": True, "0": False}


@dataclass(frozen=True, slots=True, kw_only=True)
class Extras:
    """What a user's file says beyond a ServingConfig; it is kept through all changes.

    Attributes:
        thread_pool_name: Name of the pool; shows in metrics.
        pad_variable_length_inputs: Whether requests of different inner shapes are padded so that they batch together.
        enable_large_batch_splitting: Whether a request may be spread over several batches.
        max_execution_batch_size: Largest batch that is executed, where large ones are split.
    """

    thread_pool_name: str | None = None
    pad_variable_length_inputs: bool = False
    enable_large_batch_splitting: bool = False
    max_execution_batch_size: int | None = None


def parse(text: str, cpus: int, source: str) -> tuple[ServingConfig, Extras]:
    """Read a user's file: the configuration it describes, threads apart, and what goes beyond it.

    Args:
        text: The file.
        cpus: Batch threads where the file names none.
        source: Its path, for messages.

    Raises:
        ArgumentError: It cannot be read, or breaks a rule; names the field.
    """
    fields = _fields(text, source)
    try:
        extras = Extras(
            thread_pool_name=fields.get("thread_pool_name"),
            pad_variable_length_inputs=bool(fields.get("pad_variable_length_inputs", False)),
            enable_large_batch_splitting=bool(fields.get("enable_large_batch_splitting", False)),
            max_execution_batch_size=fields.get("max_execution_batch_size"),
        )
        largest = fields.get("max_batch_size", 1000)
        sizes = tuple(fields.get("allowed_batch_sizes", ()))
        if sizes and extras.enable_large_batch_splitting and sizes[-1] < largest:
            sizes += (largest,)  # there the last is the largest that is executed; render takes it off again
        config = ServingConfig(
            enable_batching=True,
            max_batch_size=largest,
            batch_timeout_micros=fields.get("batch_timeout_micros", 0),
            max_enqueued_batches=fields.get("max_enqueued_batches", DEFAULT_MAX_ENQUEUED_BATCHES),
            num_batch_threads=fields.get("num_batch_threads", cpus),
            allowed_batch_sizes=sizes,
        )
        check(config, extras)
    except InfeasibleConfigError as error:
        raise ArgumentError(f"{source}: {error}") from None
    return config, extras


def check(config: ServingConfig, extras: Extras) -> None:
    """Refuse what the server would refuse, when it is too late.

    Raises:
        InfeasibleConfigError: Names the field.
    """
    executed = extras.max_execution_batch_size
    if executed is None:
        return
    if executed < 1:
        raise InfeasibleConfigError("max_execution_batch_size", f"must be positive, not {executed}")
    if not extras.enable_large_batch_splitting and executed != config.max_batch_size:
        raise InfeasibleConfigError("max_execution_batch_size", "has an effect only with enable_large_batch_splitting")


def render(config: ServingConfig, extras: Extras) -> str:
    """The file for a configuration with batching on: every field is written, so no default of the server's counts."""
    splitting = extras.enable_large_batch_splitting
    executed = min(extras.max_execution_batch_size or config.max_batch_size, config.max_batch_size)
    sizes = config.allowed_batch_sizes
    if splitting and sizes and sizes[-1] != executed:
        sizes = (*(size for size in sizes if size < executed), executed)
    lines = [
        f"max_batch_size {{ value: {config.max_batch_size} }}",
        f"batch_timeout_micros {{ value: {config.batch_timeout_micros} }}",
        f"max_enqueued_batches {{ value: {config.max_enqueued_batches} }}",
        *_pool_lines(config, extras),
        *(f"allowed_batch_sizes: {size}" for size in sizes),
    ]
    if extras.pad_variable_length_inputs:
        lines.append("pad_variable_length_inputs: true")
    if splitting:
        lines.append("enable_large_batch_splitting { value: true }")
        lines.append(f"max_execution_batch_size {{ value: {executed} }}")
    return "\n".join(lines) + "\n"


def render_pool(config: ServingConfig, extras: Extras) -> str:
    """The server-wide file beside per-model files: the thread pool alone."""
    return "\n".join(_pool_lines(config, extras)) + "\n"


def _pool_lines(config: ServingConfig, extras: Extras) -> list[str]:
    lines = [f"num_batch_threads {{ value: {config.num_batch_threads} }}"]
    if extras.thread_pool_name is not None:
        escaped = extras.thread_pool_name.replace("\\", "\\\\").replace('"', '\\"')
        lines.append(f'thread_pool_name {{ value: "{escaped}" }}')
    return lines


def _fields(text: str, source: str) -> Mapping[str, Any]:
    """Fields by name. The grammar is the part of textproto that this message needs."""
    tokens = _tokens(text, source)
    fields: dict[str, Any] = {}
    while tokens:
        name = tokens.pop(0)
        if tokens[:1] == [":"]:
            tokens.pop(0)
        if not tokens:
            raise ArgumentError(f"{source}: {name} has no value")
        if tokens[0] == "{":
            inner = tokens[1 : tokens.index("}")] if "}" in tokens else []
            del tokens[: len(inner) + 2]
            if inner[:1] != ["value"] or len(inner) not in (2, 3):
                raise ArgumentError(f"{source}: {name} must be written {name} {{ value: … }}")
            values = inner[-1:]
        elif tokens[0] == "[":
            end = tokens.index("]") if "]" in tokens else len(tokens)
            values = [part for part in tokens[1:end] if part != ","]
            del tokens[: end + 1]
        else:
            values = [tokens.pop(0)]
        if tokens[:1] in ([","], [";"]):
            tokens.pop(0)
        for value in values:
            _set(fields, name, value, source)
    return fields


def _set(fields: dict[str, Any], name: str, value: str, source: str) -> None:
    if name in _WRAPPED_NUMBERS and value.lstrip("-").isdigit():
        fields[name] = int(value)
    elif name == "allowed_batch_sizes" and value.lstrip("-").isdigit():
        fields.setdefault(name, []).append(int(value))
    elif name in ("pad_variable_length_inputs", "enable_large_batch_splitting") and value in _BOOLS:
        fields[name] = _BOOLS[value]
    elif name == "thread_pool_name" and value.startswith('"'):
        fields[name] = re.sub(r"\\(.)", r"\1", value[1:-1])
    else:
        raise ArgumentError(f"{source}: {name} cannot be {value}, or is no field of BatchingParameters")


def _tokens(text: str, source: str) -> list[str]:
    tokens, position = [], 0
    while text[position:].strip():
        match = _TOKEN.match(text, position)
        if match is None:
            line = text.count("\n", 0, position) + 1
            raise ArgumentError(f"{source}: cannot be read from line {line} on: {text[position : position + 40]!r}")
        tokens += [group for group in match.groups() if group is not None]
        position = match.end()
    return tokens
