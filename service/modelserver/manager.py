"""ModelManager: all models of the server: finds their versions, names them, and reconfigures them together.

Semantics and messages are TensorFlow Serving's (``model_servers/server_core.cc``,
``sources/storage_path/file_system_storage_path_source.cc``). Where ours is safer: a model list is put in force as a
whole or not at all, and a start that cannot succeed fails instead of waiting for ever.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import replace
from pathlib import Path

from service.domain.clock import Clock, SystemClock
from service.domain.serving_config import ServingConfig
from service.modelserver.base_path import no_versions, versions_on_disk
from service.modelserver.batching_parameters import PER_MODEL_FILE, per_model_config, read_batching_parameters
from service.modelserver.flags import ServerFlags
from service.modelserver.labels import checked_labels
from service.modelserver.lookup import Lookup
from service.modelserver.metrics import ServerMetrics
from service.modelserver.model_config import ModelConfig, read_model_config_file
from service.modelserver.model_versions import Lifecycle, ModelVersions
from service.modelserver.servable import RuntimeOptions, Servable
from service.modelserver.status import Code, ServingError
from service.modelserver.switch_all import switch_all
from service.modelserver.versions import State, VersionStatus

_log = logging.getLogger(__name__)


class ModelManager:
    """Loads models, answers which of their versions serve, and changes configuration while they do.

    All methods must be called in one event loop; :meth:`servable` and :meth:`statuses` never wait.

    Args:
        models: What to serve.
        flags: Polling, retries, labels, per-model batching.
        config: The configuration that versions are loaded with.
        metrics: Where loads and requests are counted.
        runtime: How models are run, whatever their configuration; TensorFlow Serving's defaults when left out.
        clock: Times polls and retries.

    Attributes:
        flags: As given.
        metrics: As given.
    """

    def __init__(
        self,
        models: Sequence[ModelConfig],
        flags: ServerFlags,
        config: ServingConfig,
        metrics: ServerMetrics,
        *,
        runtime: RuntimeOptions | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._initial = list(models)
        self.flags = flags
        self._config = config
        self.metrics = metrics
        self._runtime = runtime or RuntimeOptions()
        self._clock: Clock = clock or SystemClock()
        self._lifecycle = Lifecycle(
            load=self._load,
            changed=self._publish,
            max_retries=flags.max_num_load_retries,
            retry_interval_seconds=flags.load_retry_interval_micros / 1e6,
            load_slots=asyncio.Semaphore(max(flags.num_load_threads, 1)),
            unload_slots=asyncio.Semaphore(max(flags.num_unload_threads, 1)),
            clock=self._clock,
        )
        self._models: dict[str, ModelConfig] = {}
        self._versions: dict[str, ModelVersions] = {}
        self._lookup = Lookup()
        self._reloading = asyncio.Lock()
        self._polling = asyncio.Lock()
        self._reconfiguring = asyncio.Lock()
        self._pollers: list[asyncio.Task[None]] = []
        self._complaints: dict[str, str] = {}

    @property
    def config(self) -> ServingConfig:
        """The configuration in force; versions with batching parameters of their own may differ from it."""
        return self._config

    @property
    def models(self) -> Sequence[ModelConfig]:
        """The model list in force."""
        return list(self._models.values())

    async def start(self) -> None:
        """Load what should be served; returns when each model has an available version.

        Raises:
            ServingError: A base path does not exist or holds no version, a label is refused, or a model has no version
                that can be loaded. Nothing is left running then.
        """
        if self.flags.file_system_poll_wait_seconds < 0:
            raise ServingError(
                Code.FAILED_PRECONDITION,
                "--file_system_poll_wait_seconds is negative, so no model version is ever looked for and none could be "
                "served. Use 0 to look once.",
            )
        try:
            await self.reload(self._initial)
        except BaseException:
            await self.stop()
            raise
        if self.flags.file_system_poll_wait_seconds > 0:
            self._repeat(self.poll, self.flags.file_system_poll_wait_seconds)
        if self.flags.model_config_file and self.flags.model_config_file_poll_wait_seconds > 0:
            self._repeat(self._reread_model_list, self.flags.model_config_file_poll_wait_seconds)

    def servable(self, name: str, version: int | None = None, label: str | None = None) -> Servable:
        """The servable that answers a request.

        Args:
            name: The model's.
            version: A certain version; None for the latest available one.
            label: The version's name instead of its number.

        Raises:
            ServingError: NOT_FOUND for a model or version that is not available; INVALID_ARGUMENT for an empty name or
                an unknown label.
        """
        return self._lookup.find(name, version, label)

    def statuses(self, name: str, version: int | None = None, label: str | None = None) -> list[VersionStatus]:
        """What is known of a model's versions, the highest number first; those that are gone included.

        Raises:
            ServingError: NOT_FOUND when nothing is known; INVALID_ARGUMENT for an unknown label.
        """
        version = self._lookup.numbered(name, version, label)
        known = self._versions[name].statuses if name in self._versions else []
        if version is None:
            if not known:
                raise ServingError(Code.NOT_FOUND, f"Could not find any versions of model {name}")
            return known
        for status in known:
            if status.version == version:
                return [status]
        raise ServingError(Code.NOT_FOUND, f"Could not find version {version} of model {name}")

    async def reload(self, models: Sequence[ModelConfig]) -> None:
        """Serve exactly these models; returns when the new ones are available.

        Models that are no longer listed are unloaded. If anything is wrong, the old list stays in force.

        Raises:
            ServingError: A label is refused, a new or moved base path does not exist or holds no version, or a new
                model has no version that can be loaded.
        """
        async with self._reloading:
            labels = checked_labels(
                models,
                self._lookup.labels,
                serves=self._lookup.serves,
                allow_unavailable=self.flags.allow_version_labels_for_unavailable_models,
            )
            new = await self._versions_of_new(models)
            try:
                for name, versions in new.items():
                    self._of(name).aspire(versions)
                await asyncio.gather(*(self._of(name).loaded() for name in new))
                self._require_available(new)
            except BaseException:
                for name in new:
                    self._of(name).aspire({})
                raise
            for name in self._models.keys() - {model.name for model in models}:
                _log.info("model %s is no longer listed; unloading it", name)
                self._of(name).aspire({})
            for model in models:
                if model.logs_requests:
                    _log.warning("model %s asks for request logging, which is not supported", model.name)
            self._models = {model.name: model for model in models}
            self._lookup.labels = labels
            await self.poll()

    async def poll(self) -> None:
        """Look into each base path once and begin what follows from it.

        A base path that cannot be read changes nothing: it may be back in a moment.
        """
        async with self._polling:
            for model in self.models:
                try:
                    versions = await asyncio.to_thread(versions_on_disk, model)
                except ServingError as error:
                    self._complain(model.name, error.message)
                    continue
                if self._models.get(model.name) is not model:
                    continue  # replaced while the disk was read
                if versions:
                    self._complaints.pop(model.name, None)
                else:
                    self._complain(model.name, no_versions(model).message)
                self._of(model.name).aspire(versions)

    async def reconfigure(self, config: ServingConfig) -> None:
        """Put a configuration in force for every version that serves, and for those loaded later.

        It overrides the batching parameters that a loaded version brought along.

        Raises:
            ServingError: Some version cannot run it; the old configuration has kept serving.
        """

        def committed() -> None:
            self._config = config

        async with self._reconfiguring:
            await switch_all(config, self._live, committed)

    async def stop(self) -> None:
        """Unload everything; requests under way are finished. Idempotent."""
        for poller in self._pollers:
            poller.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await poller
        self._pollers.clear()
        await asyncio.gather(*(versions.stop() for versions in self._versions.values()))

    def _of(self, name: str) -> ModelVersions:
        """The versions of a model, remembered for as long as the server runs, as their statuses are."""
        if name not in self._versions:
            self._versions[name] = ModelVersions(name, self._lifecycle)
        return self._versions[name]

    def _live(self) -> list[Servable]:
        return [servable for versions in self._versions.values() for servable in versions.available.values()]

    def _publish(self, name: str) -> None:
        self._lookup.publish(name, self._of(name).available)

    async def _load(self, name: str, version: int, path: Path) -> Servable:
        base = self._config
        config, runtime = await asyncio.to_thread(self._settings_for, path)
        servable = await asyncio.to_thread(
            Servable.load, name, version, path, config, runtime=runtime, metrics=self.metrics
        )
        # A reconfiguration may have come while it was loading; nobody sees the version before it has that, too.
        while base is not self._config:
            base = self._config
            try:
                await servable.switch(base)
            except BaseException:
                await servable.close()
                raise
        return servable

    def _settings_for(self, path: Path) -> tuple[ServingConfig, RuntimeOptions]:
        """The configuration in force, or what the version itself asks for where that is allowed. Blocks."""
        if not (self.flags.enable_batching and self.flags.enable_per_model_batching_parameters):
            return self._config, self._runtime
        file = path / PER_MODEL_FILE
        if not file.is_file():
            return self._config.with_values(enable_batching=False), self._runtime
        own = read_batching_parameters(file)
        runtime = replace(
            self._runtime,
            pad_variable_length_inputs=own.pad_variable_length_inputs,
            max_execution_batch_size=own.split_size,
        )
        return per_model_config(self._config, own), runtime

    async def _versions_of_new(self, models: Sequence[ModelConfig]) -> dict[str, dict[int, Path]]:
        """The versions of the models that are not served yet, by name; refuses a new base path without any."""
        found = {}
        for model in models:
            known = self._models.get(model.name)
            if known is not None and known.base_path == model.base_path:
                continue
            versions = await asyncio.to_thread(versions_on_disk, model)
            if not versions:
                raise no_versions(model)
            if known is None:
                found[model.name] = versions
        return found

    def _require_available(self, names: Collection[str]) -> None:
        failures: list[str] = []
        for name in names:
            if self._of(name).available:
                continue
            for status in self._of(name).statuses:
                if status.state is not State.AVAILABLE:
                    cause = f" due to error: {status.error.code.name}: {status.error.message}" if status.error else ""
                    failures.append(f"{{name: {name} version: {status.version}{cause}}}, ")
        if failures:
            models = sum(not self._of(name).available for name in names)
            raise ServingError(Code.UNKNOWN, f"{models} model(s) did not become available: {{{''.join(failures)}}}")

    def _complain(self, name: str, message: str) -> None:
        """Log what is wrong with a model's base path once, not at each poll."""
        if self._complaints.get(name) != message:
            self._complaints[name] = message
            _log.warning("%s", message)

    async def _reread_model_list(self) -> None:
        file = self.flags.model_config_file
        try:
            models = await asyncio.to_thread(read_model_config_file, file, again=bool(self.models))
            if models != self.models:
                await self.reload(models)
            self._complaints.pop(file, None)
        except ServingError as error:
            self._complain(file, f"the old model list stays in force: {error.message}")

    def _repeat(self, action: Callable[[], Awaitable[None]], seconds: float) -> None:
        """Do it again and again until :meth:`stop`, pausing before each time."""

        async def forever() -> None:
            while True:
                await self._clock.sleep(seconds)
                try:
                    await action()
                except Exception:  # a surprise now must not mean that nobody looks any more
                    _log.exception("looking for changes failed unexpectedly")

        self._pollers.append(asyncio.ensure_future(forever()))
