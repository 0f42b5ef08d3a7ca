"""What the peers share: what they are told, and the model.

They run their workers in processes of their own, which inherit the environment; so that is where they are told.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

MAX_BATCH_SIZE = 32
_PREFIX = "REGULUS_PEER_"


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerSettings:
    """What a peer is told.

    Attributes:
        model: Name of the model, as in the paths.
        version_dir: Its SavedModel.
        metadata: File that holds what to answer when asked for the metadata, JSON.
        port: Where to listen on loopback.
    """

    model: str
    version_dir: Path
    metadata: Path
    port: int

    def to_env(self) -> dict[str, str]:
        """As environment variables; :meth:`from_env` reads them back."""
        return {f"{_PREFIX}{name.upper()}": str(getattr(self, name)) for name in self.__dataclass_fields__}

    @classmethod
    def from_env(cls, env: Mapping[str, str] = os.environ) -> PeerSettings:
        """Read what :meth:`to_env` wrote."""
        text = {name: env[f"{_PREFIX}{name.upper()}"] for name in cls.__dataclass_fields__}
        return cls(
            model=text["model"],
            version_dir=Path(text["version_dir"]),
            metadata=Path(text["metadata"]),
            port=int(text["port"]),
        )

    @property
    def predict_path(self) -> str:
        """Of predictions."""
        return f"/v1/models/{self.model}:predict"

    @property
    def metadata_path(self) -> str:
        """Of the metadata."""
        return f"/v1/models/{self.model}/metadata"

    def read_metadata(self) -> Any:
        """What to answer there."""
        return json.loads(self.metadata.read_text())


class Predictor:
    """The model behind a peer: one input, one output, TensorFlow's default threads, as one batch runs at a time."""

    def __init__(self, version_dir: Path) -> None:
        # Heavy, and needed in the worker alone.
        from service.modelserver.session import ModelGraph

        graph = ModelGraph(version_dir)
        self._signature = graph.signatures["serving_default"]
        self._outputs = tuple(self._signature.outputs)
        [spec] = self._signature.inputs.values()
        self.dtype = spec.dtype
        self._session = graph.open_session(inter_op=0, intra_op=0)

    def __call__(self, examples: Array) -> Array:
        """Run a batch, shape (batch, …)."""
        [output], _ = self._session.run(self._signature, [examples], self._outputs)
        return output
