"""``regulus node``: run TensorFlow Serving behind Envoy, reconfigurable without loss."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(add_completion=False)

_PATIENCE = "Patience"
_PLACES = "Programs and places"
_STRANGERS = "Keeping strangers from the agent API"


@app.command(
    context_settings={"allow_extra_args": True, "ignore_unknown_options": False},
    epilog="Exit status: 0 ended by a signal, or down; 1 it could not start; 2 the command line is wrong. "
    "An agent that is killed leaves everything serving; the next one goes on with it.",
)
def node(
    context: typer.Context,
    server_binary: Annotated[
        str | None,
        typer.Option(
            envvar="REGULUS_TFS_BINARY",
            help="tensorflow_model_server, or a program with its flags; left out: the one on PATH.",
            show_default=False,
            rich_help_panel=_PLACES,
        ),
    ] = None,
    envoy: Annotated[
        str | None,
        typer.Option(
            envvar="REGULUS_ENVOY",
            help="Envoy, 1.39 or newer; left out: the extra 'node' of this package, or the one on PATH.",
            show_default=False,
            rich_help_panel=_PLACES,
        ),
    ] = None,
    state_dir: Annotated[
        Path, typer.Option(help="Where state, logs and Envoy's files are kept.", rich_help_panel=_PLACES)
    ] = Path("regulus-node"),
    host: Annotated[str, typer.Option(help="Address that clients reach; 0.0.0.0 for all.")] = "127.0.0.1",
    agent_host: Annotated[str, typer.Option(help="Address of the agent API.")] = "127.0.0.1",
    agent_port: Annotated[int, typer.Option(help="Port of the agent API.", min=1, max=65535)] = 8600,
    agent_token_file: Annotated[
        Path | None,
        typer.Option(
            envvar="REGULUS_AGENT_TOKEN_FILE",
            help="Token that the agent API asks for, or a file of several made by regulus token create; left out: "
            "only loopback is listened on.",
            show_default=False,
            rich_help_panel=_STRANGERS,
        ),
    ] = None,
    agent_certificate: Annotated[
        Path | None,
        typer.Option(help="PEM file: the agent API speaks HTTPS.", show_default=False, rich_help_panel=_STRANGERS),
    ] = None,
    agent_key: Annotated[
        Path | None, typer.Option(help="PEM file: its key.", show_default=False, rich_help_panel=_STRANGERS)
    ] = None,
    agent_client_ca: Annotated[
        Path | None,
        typer.Option(
            help="PEM file: who must have signed the certificates that callers show.",
            show_default=False,
            rich_help_panel=_STRANGERS,
        ),
    ] = None,
    admin_port: Annotated[
        int, typer.Option(help="Port of Envoy's admin interface, on loopback; 0 takes a free one.", min=0, max=65535)
    ] = 0,
    workers: Annotated[
        int | None, typer.Option(help="Envoy's threads; half the processors by default.", min=1, show_default=False)
    ] = None,
    instances: Annotated[int, typer.Option(help="Server processes at the start.", min=1, max=64)] = 1,
    model: Annotated[
        str | None, typer.Option(help="With --model_config_file: the model that is watched.", show_default=False)
    ] = None,
    slo_p99_ms: Annotated[
        float | None,
        typer.Option(
            "--slo-p99-ms",
            help="The objective's bound, milliseconds: latency is counted most finely round it.",
            min=0.1,
            max=60_000,
            show_default=False,
        ),
    ] = None,
    warm_up: Annotated[
        Path | None,
        typer.Option(
            help="REST Predict body that warms new servers; left out: zeros of the signature's shape.",
            exists=True,
            dir_okay=False,
            show_default=False,
        ),
    ] = None,
    hold_seconds: Annotated[
        float, typer.Option(help="How long requests wait while no server is up.", min=0, rich_help_panel=_PATIENCE)
    ] = 30.0,
    drain_seconds: Annotated[
        float,
        typer.Option(help="How long old processes may go on with what they have.", min=1, rich_help_panel=_PATIENCE),
    ] = 60.0,
    yield_seconds: Annotated[
        float,
        typer.Option(
            help="How long new processes get ready on what the serving ones leave of the processors; 0 for not at all.",
            min=0,
            rich_help_panel=_PATIENCE,
        ),
    ] = 10.0,
    start_seconds: Annotated[
        float, typer.Option(help="How long the first processes may take to serve.", min=1, rich_help_panel=_PATIENCE)
    ] = 300.0,
    down: Annotated[bool, typer.Option("--down", help="End all that runs in --state-dir, and leave nothing.")] = False,
) -> None:
    """Run TensorFlow Serving behind Envoy, reconfigurable without loss.

    After -- come the arguments of tensorflow_model_server, as they are: its ports become Envoy's, its batching file
    and threads the first configuration.
    """
    import asyncio
    import logging
    import sys

    from service.access.guard import Guard
    from service.agent.errors import ListenError
    from service.domain.errors import InvalidValueError
    from service.node import program
    from service.node.errors import ArgumentError, NodeError
    from service.node.node import NodeSettings

    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s")
    for quiet in ("httpx", "httpcore", "uvicorn"):
        logging.getLogger(quiet).setLevel(logging.WARNING)
    try:
        if down:
            ended = asyncio.run(program.down(state_dir))
            typer.echo(f"{ended} processes ended" if ended else "nothing ran")
            return
        options = program.Options(
            server_arguments=context.args,
            server_binary=server_binary,
            envoy=envoy,
            state_dir=state_dir,
            host=host,
            agent_host=agent_host,
            agent_port=agent_port,
            agent_guard=Guard(
                token_file=agent_token_file,
                certificate=agent_certificate,
                key=agent_key,
                client_ca=agent_client_ca,
            ),
            admin_port=admin_port,
            workers=workers,
            instances=instances,
            model=model,
            slo_seconds=slo_p99_ms / 1000 if slo_p99_ms is not None else None,
            hold_seconds=hold_seconds,
            yield_seconds=yield_seconds,
            warm_up_file=warm_up,
            settings=NodeSettings(start_seconds=start_seconds, drain_seconds=drain_seconds),
        )
        asyncio.run(program.serve(options))
    except (ArgumentError, InvalidValueError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from None
    except (NodeError, ListenError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from None
