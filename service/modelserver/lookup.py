"""Lookup: which servable answers a request, by name and version, by label, or the latest."""

from __future__ import annotations

from collections.abc import Mapping

from service.modelserver.labels import Labels, version_labelled
from service.modelserver.servable import Servable
from service.modelserver.status import Code, ServingError


class Lookup:
    """The versions that serve, and the names for them. Every request passes :meth:`find`.

    Attributes:
        labels: Those in force.
    """

    def __init__(self) -> None:
        self.labels: Labels = {}
        # (name, version), and (name, None) for the latest.
        self._table: dict[tuple[str, int | None], Servable] = {}

    def publish(self, name: str, available: Mapping[int, Servable]) -> None:
        """From now on a model's requests are answered by these versions: number → servable."""
        table = {key: servable for key, servable in self._table.items() if key[0] != name}
        table.update({(name, version): servable for version, servable in available.items()})
        if available:
            table[name, None] = available[max(available)]
        self._table = table

    def serves(self, name: str, version: int) -> bool:
        """Whether that version of a model is available."""
        return (name, version) in self._table

    def numbered(self, name: str, version: int | None, label: str | None) -> int | None:
        """The number that a version or its label stands for; None for the latest.

        Raises:
            ServingError: INVALID_ARGUMENT for an unknown label.
        """
        return version if label is None else version_labelled(self.labels, name, label)

    def find(self, name: str, version: int | None, label: str | None) -> Servable:
        """The servable that answers.

        Raises:
            ServingError: NOT_FOUND for a model or version that is not available; INVALID_ARGUMENT for an empty name or
                an unknown label.
        """
        if label is not None:
            version = self.numbered(name, version, label)
        found = self._table.get((name, version))
        if found is not None:
            return found
        if not name:
            raise ServingError(Code.INVALID_ARGUMENT, "ModelSpec has no name specified.")
        wanted = f"Latest({name})" if version is None else f"Specific({name}, {version})"
        raise ServingError(Code.NOT_FOUND, f"Servable not found for request: {wanted}")
