"""TakenBack: what the node took back by itself, so that whoever steers it learns that, and why. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from service.domain.serving_config import ServingConfig

_MAX_CHARS = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class TakenBack:
    """A configuration that the node took back.

    Attributes:
        generation: The number under which it was in force.
        config: The configuration.
        why: One short sentence.
    """

    generation: int
    config: ServingConfig
    why: str

    @classmethod
    def crashing(cls, generation: int, config: ServingConfig, last_words: str) -> TakenBack:
        """One whose servers crash again and again; the last line they wrote often tells why."""
        line = (last_words.strip().splitlines() or [""])[-1].strip()[:_MAX_CHARS]
        why = "Its server processes ended by themselves again and again"
        return cls(generation=generation, config=config, why=f"{why}, at last with: {line}" if line else f"{why}.")

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; :meth:`from_dict` reads it back to an equal value."""
        return {"generation": self.generation, "config": self.config.to_dict(), "why": self.why}

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> TakenBack:
        """Read what :meth:`to_dict` wrote.

        Raises:
            KeyError, TypeError, ValueError: It makes no sense.
        """
        return cls(
            generation=int(raw["generation"]), config=ServingConfig.from_dict(raw["config"]), why=str(raw["why"])
        )
