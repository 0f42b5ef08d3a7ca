"""What ``--help`` and ``--version`` print."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Sequence
from importlib import metadata
from itertools import groupby

from service import __version__
from service.modelserver.flag_specs import FlagSpec
from service.modelserver.flags import FLAGS

_INTRODUCTION = """\
usage: regulus modelserver [--flag=value …]

A model server with the APIs, flags, metrics and errors of TensorFlow Serving. It serves one model:

    regulus modelserver --model_name=mlp --model_base_path=/models/mlp --rest_api_port=8501

or those of a file (--model_config_file). Flags are written --name=value or --name value; a boolean alone means true.
"""
_MAX_WIDTH = 110


def information(arguments: Sequence[str]) -> str | None:
    """The text that ``--help`` or ``--version`` among the arguments asks for; None when the server is to start."""
    for argument in arguments:
        if argument in ("--help", "-h", "--help=true"):
            return usage()
        if argument in ("--version", "--version=true"):
            return f"Regulus ModelServer: {__version__}\nTensorFlow Library: {metadata.version('tensorflow')}"
    return None


def usage() -> str:
    """All flags, grouped, each with its kind, unit and default."""
    width = min(shutil.get_terminal_size().columns, _MAX_WIDTH)
    parts = [_INTRODUCTION]
    for group, specs in groupby(FLAGS.values(), key=lambda spec: spec.group):
        parts.append(f"{group}:")
        parts += [_entry(spec, width) for spec in specs]
        parts.append("")
    parts += ["Also:", "  --help", "      Print this and exit.", "  --version", "      Print the versions and exit."]
    return "\n".join(parts)


def _entry(spec: FlagSpec, width: int) -> str:
    default = spec.default_value
    written = {bool: str(default).lower(), str: f'"{default}"'}.get(spec.kind, str(default))
    unit = f"  [{spec.unit}]" if spec.unit else ""
    text = textwrap.fill(spec.help, width, initial_indent="      ", subsequent_indent="      ")
    return f"  --{spec.name}={written}{unit}\n{text}"
