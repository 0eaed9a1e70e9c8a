"""``headrace engine``: engines by themselves; the simulated one, and what it can look like."""

import asyncio
from typing import Annotated

import typer

from headrace.cli.app import examples
from headrace.cli.calibrate import calibrate
from headrace.cli.options import ConfigOption
from headrace.cli.run import run
from headrace.config.load import load
from headrace.config.simulator import Simulator
from headrace.engines.sim.faults import parse
from headrace.engines.sim.presets import PRESETS
from headrace.engines.sim.server import Server

ROW = "{:<13} {:>8} {:>14} {:>10} {:>5}  {}"

engine = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    epilog=examples(
        "headrace engine sim --replicas 8",
        "headrace engine presets",
        "headrace engine calibrate --url http://gpu-1:8000 --out gpu-1.yaml",
    ),
    help="Run an engine by itself.",
)


@engine.command(
    epilog=examples(
        "headrace engine sim",
        "headrace engine sim --replicas 8 --preset h100-8b --speed 10",
        "headrace engine sim --fault stuck:share=0.1 --fault slow:factor=5,replica=1",
    )
)
def sim(
    *,
    config: ConfigOption = None,
    replicas: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", show_default="1", help="Replicas in the one process."),
    ] = None,
    host: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", show_default="127.0.0.1", help="Address to listen on."),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=65_535,
            metavar="PORT",
            show_default="8100",
            help="Port of the first replica, the others follow; 0 picks free ones.",
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model", "-m", metavar="NAME", show_default="sim", help="Name of the model it serves."
        ),
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            show_default="l4-8b",
            help="The GPU and model class it looks like, or a file that calibrate wrote.",
        ),
    ] = None,
    speed: Annotated[
        float | None,
        typer.Option(
            metavar="FACTOR", show_default="1", help="How many times faster than real its time is."
        ),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(
            metavar="N", show_default="0", help="Equal seeds give equal answers and equal faults."
        ),
    ] = None,
    max_model_len: Annotated[
        int | None,
        typer.Option(
            min=16,
            metavar="TOKENS",
            show_default="8192",
            help="Longest prompt plus answer, in tokens.",
        ),
    ] = None,
    max_num_seqs: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            show_default="the preset's",
            help="Sequences in a batch at most.",
        ),
    ] = None,
    max_num_batched_tokens: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="TOKENS",
            show_default="the preset's",
            help="Tokens in a batch at most.",
        ),
    ] = None,
    kv_tokens: Annotated[
        int | None,
        typer.Option(
            min=16,
            metavar="TOKENS",
            show_default="the preset's",
            help="Tokens that the KV cache holds.",
        ),
    ] = None,
    wake_s: Annotated[
        float | None,
        typer.Option(
            min=0, metavar="SECONDS", show_default="0.5", help="Its time to wake from sleep."
        ),
    ] = None,
    shutdown_timeout: Annotated[
        float | None,
        typer.Option(
            min=0,
            metavar="SECONDS",
            show_default="0",
            help="Time of running requests after SIGTERM, as with vLLM's option of this name.",
        ),
    ] = None,
    fault: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KIND[:KEY=VALUE,...]",
            show_default=False,
            help="What goes wrong, such as stuck:share=0.1; repeatable.",
        ),
    ] = None,
) -> None:
    """
    Start engines that look like vLLM and need no GPU.

    It runs until Ctrl-C. Faults given here come on top of those of the configuration.
    """
    given = {
        "replicas": replicas,
        "host": host,
        "port": port,
        "model": model,
        "preset": preset,
        "speed": speed,
        "seed": seed,
        "max_model_len": max_model_len,
        "max_num_seqs": max_num_seqs,
        "max_num_batched_tokens": max_num_batched_tokens,
        "kv_tokens": kv_tokens,
        "wake_s": wake_s,
        "shutdown_timeout_s": shutdown_timeout,
    }
    settings = load(config, overrides={"simulator": given}).simulator
    faults = (*settings.faults, *(parse(text) for text in fault or ()))
    run(Simulating(settings.model_copy(update={"faults": faults})))


@engine.command(epilog=examples("headrace engine presets"))
def presets() -> None:
    """List what the simulated engine can look like, with the source of each number."""
    typer.echo(ROW.format("preset", "step ms", "4k prefill ms", "KV tokens", "seqs", "source"))
    for preset in PRESETS.values():
        step, prefill = f"{preset.step_ms:.1f}", f"{preset.prefill_ms(4096):.0f}"
        kv_tokens, seqs = preset.kv_tokens, preset.max_num_seqs
        typer.echo(ROW.format(preset.name, step, prefill, kv_tokens, seqs, preset.source))


engine.command(
    epilog=examples(
        "headrace engine calibrate --url http://gpu-1:8000 --out gpu-1.yaml",
        "headrace engine sim --preset gpu-1.yaml",
    )
)(calibrate)


class Simulating:
    """Simulated engines as a service (``cli.run.Service``)."""

    def __init__(self, settings: Simulator) -> None:
        self._settings = settings
        self._server = Server(settings)

    async def start(self) -> None:
        """Listen, and say where."""
        await self._server.start()
        urls = self._server.urls
        span = urls[0] if len(urls) == 1 else f"{urls[0]} to {urls[-1].rpartition(':')[2]}"
        count = "1 replica" if len(urls) == 1 else f"{len(urls)} replicas"
        settings = self._settings
        typer.echo(
            f"Simulated vLLM listens on {span} ({count} of {settings.model!r}, {settings.preset},"
            f" speed {settings.speed:g}). Ctrl-C stops it."
        )

    async def failed(self) -> None:
        """Never."""
        await asyncio.get_running_loop().create_future()

    async def stop(self) -> None:
        """Let running requests finish, if they may, then close all ports."""
        await self._server.finish(self._settings.shutdown_timeout_s)
        await self._server.stop()

    def kill(self) -> None:
        """There is nothing beside this process."""

    def parting(self) -> str:
        """By default it waits for no request: engines that die are what it is for."""
        within_s = self._settings.shutdown_timeout_s
        return f"stopping: running requests get up to {within_s:g} s" if within_s else "stopping"
