"""`regulus bench record`: measures every configuration of a lattice on the embedded model server under a given load."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.interruptible import run_interruptible
from benchmarks.record.capacity import SECONDS as CAPACITY_SECONDS
from benchmarks.record.session import ATTEMPTS, PASSES, REPEATS, Options
from benchmarks.record.session import record as run_record
from benchmarks.record.sheet import write_sheet
from models.zoo import ZOO
from service.cli.demo.processes import ChildFailedError
from service.domain.errors import RegulusError

#: Where committed landscapes lie.
LANDSCAPES = Path(__file__).parents[1] / "landscapes"


def record(
    model: Annotated[str, typer.Argument(help="A model of the zoo, see `regulus models list`.")],
    load: Annotated[float, typer.Option(help="Offered rate as a share of the best configuration's capacity.")] = 0.6,
    rate: Annotated[float | None, typer.Option(help="Offered rate, requests a second, in place of --load.")] = None,
    cv: Annotated[float, typer.Option(help="Burstiness: coefficient of variation of the gaps; 1 is Poisson.")] = 1.0,
    seconds: Annotated[float, typer.Option(help="Length of a window of the first stage.")] = 0.4,
    configs: Annotated[int, typer.Option(help="Configurations at most, drawn at random; 0 for all.")] = 0,
    passes: Annotated[int, typer.Option(help="Windows of each configuration.")] = PASSES,
    refine: Annotated[bool, typer.Option(help="Measure the better ones again and longer.")] = True,
    repeats: Annotated[int, typer.Option(help="Windows that tell the noise, for 20 best and 20 others.")] = REPEATS,
    look_seconds: Annotated[
        float, typer.Option(help="For the capacity of each of some likely configurations.")
    ] = CAPACITY_SECONDS,
    attempts: Annotated[
        int, typer.Option(help="Windows of one measurement at most, where others disturb them; the quietest counts.")
    ] = ATTEMPTS,
    out: Annotated[Path, typer.Option(help="Folder of the landscape.")] = LANDSCAPES,
    name: Annotated[str | None, typer.Option(help="Stem of the files; by default MODEL-LOAD.")] = None,
    models_dir: Annotated[Path | None, typer.Option(help="Folder of exported models; by default a new one.")] = None,
    seed: Annotated[int, typer.Option(help="Of arrivals and order.")] = 0,
) -> None:
    """Record a landscape: an exhaustive measurement under one load (Linux; about 15 minutes on two cores).

    Cut short with Ctrl-C, it goes on where it was when called again. A window during which other programs used the
    machine is measured again: keep it quiet, or it takes longer.
    """
    if model not in ZOO:
        raise typer.BadParameter(f"{model!r} is not in the zoo; there are {', '.join(ZOO)}", param_hint="MODEL")
    if not (
        load > 0
        and seconds > 0
        and cv > 0
        and (rate is None or rate > 0)
        and configs >= 0
        and repeats >= 0
        and passes > 0
        and look_seconds > 0
    ):
        raise typer.BadParameter(
            "--load, --rate, --cv, --seconds, --passes, --look-seconds and --attempts are above 0; "
            "--configs and --repeats at least 0"
        )
    with tempfile.TemporaryDirectory(prefix="regulus-record-", ignore_cleanup_errors=True) as scratch:
        options = Options(
            model=model,
            load=load,
            rate=rate,
            cv=cv,
            seconds=seconds,
            configs=configs,
            passes=passes,
            refine=refine,
            repeats=repeats,
            look_seconds=look_seconds,
            attempts=attempts,
            out=out,
            name=name,
            models_dir=models_dir or Path(scratch) / "models",
            seed=seed,
        )
        try:
            path = run_interruptible(run_record(options, Path(scratch)))
        except (ChildFailedError, RegulusError) as error:
            print(error, file=sys.stderr)
            raise typer.Exit(1) from None
        except asyncio.CancelledError:
            print("\nCut short; the same command goes on from here.", file=sys.stderr)
            raise typer.Exit(130) from None
    print(f"{path}\n{write_sheet(path)}")
