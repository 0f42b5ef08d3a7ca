"""Heat map: a landscape seen along two knobs, with the paths that policies took across it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from numpy.typing import NDArray

from benchmarks.replay.scenarios import Scenario
from benchmarks.replay.study import Study
from benchmarks.replay.style import OURS_COLOUR
from benchmarks.replay.world import Terrain
from service.domain.serving_config import ServingConfig
from service.learning.space import BATCHING_OFF

#: Colours end here; what is worse looks the same.
_WORST = 10.0


def heat_map(study: Study, scenario: Scenario, policies: Sequence[str]) -> Figure:
    """One panel for each policy: the run of its first seed over the landscape of a stationary scenario.

    A cell is the best that its batch size and its number of batches in execution allow, whatever the other knobs.
    """
    one = study.known[scenario.landscapes[0]]
    rows, columns = _axes(one)
    cells = _cells(one, rows, columns)
    figure = Figure(figsize=(4.1 * len(policies) + 0.6, 0.42 * len(rows) + 1.5), layout="constrained")
    panels = np.ravel(figure.subplots(1, len(policies), sharey=True, squeeze=False))
    mesh = None
    for panel, policy in zip(panels, policies, strict=True):
        mesh = panel.pcolormesh(cells, cmap="cividis_r", norm=LogNorm(1, _WORST))
        _write_ratios(panel, cells)
        _draw_path(panel, one, study.runs(scenario.name)[policy][0].path, rows, columns)
        panel.grid(visible=False)
        panel.set_title(policy)
        panel.set_xticks(np.arange(len(columns)) + 0.5, [str(value) if value else "off" for value in columns])
        panel.set_yticks(np.arange(len(rows)) + 0.5, [str(value) for value in rows])
    panels[0].set_ylabel("batches in execution\n(batch threads × instances)")
    figure.supxlabel("largest batch, examples")
    assert mesh is not None
    bar = figure.colorbar(mesh, ax=panels.tolist(), label="least p99 over the optimum's, ×", extend="max")
    bar.ax.set_yticks([1, 2, 5, 10], ["1", "2", "5", "10"])
    bar.ax.minorticks_off()
    return figure


def _at(config: ServingConfig) -> tuple[int, int]:
    """Row and column value of a configuration."""
    if not config.enable_batching:
        return config.instances, BATCHING_OFF
    return config.num_batch_threads * config.instances, config.max_batch_size


def _axes(one: Terrain) -> tuple[list[int], list[int]]:
    places = [_at(config) for config in one.configs]
    return sorted({row for row, _ in places}), sorted({column for _, column in places})


def _cells(one: Terrain, rows: Sequence[int], columns: Sequence[int]) -> NDArray[np.float64]:
    """Least ratio to the optimum of each cell; NaN where there is no configuration."""
    least = np.full((len(rows), len(columns)), np.nan)
    for config, ratio in zip(one.configs, one.ratios(), strict=True):
        row, column = _at(config)
        place = rows.index(row), columns.index(column)
        least[place] = np.fmin(least[place], ratio)
    return least


def _write_ratios(panel: Axes, cells: NDArray[np.float64]) -> None:
    for (row, column), ratio in np.ndenumerate(cells):
        if np.isfinite(ratio):
            shade = "black" if ratio < _WORST**0.5 else "white"
            text = f"{ratio:.2f}" if ratio < _WORST else f"{ratio:.0f}"
            panel.text(column + 0.04, row + 0.06, text, fontsize=6, color=shade)


def _draw_path(panel: Axes, one: Terrain, path: NDArray[np.int16], rows: Sequence[int], columns: Sequence[int]) -> None:
    """Where a run went; points of one cell lie apart a little, so that a stay among its configurations can be seen."""
    places = [_at(one.configs[index]) for index in path]
    y = np.array([rows.index(row) for row, _ in places]) + 0.5
    x = np.array([columns.index(column) for _, column in places]) + 0.5
    apart = np.random.default_rng(0).uniform(-0.27, 0.27, (2, len(one.configs)))
    x, y = x + apart[0, path], y + apart[1, path]
    moved = np.flatnonzero(np.diff(path, prepend=-1))
    panel.plot(x[moved], y[moved], color="white", linewidth=2.6, alpha=0.9)
    panel.plot(x[moved], y[moved], color=OURS_COLOUR, linewidth=1.1, marker="o", markersize=3)
    panel.plot(x[:1], y[:1], marker="s", color="black", markersize=7, linestyle="none")
    panel.plot(x[-1:], y[-1:], marker="*", color="black", markersize=12, linestyle="none")
