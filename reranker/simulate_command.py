"""`reranker simulate`: two policies in the same simulated worlds; `simulate publishers`: the long run."""

from pathlib import Path
from typing import Annotated

import typer

from reranker.engine import Engine, with_engine
from reranker.inputs import check_output, told
from reranker.policy import PolicyError
from reranker.simulate_publishers_command import publishers
from reranker.terminal import console, errors

simulate_app = typer.Typer(invoke_without_command=True)
simulate_app.command()(publishers)


@simulate_app.callback()
@with_engine
def simulate(
    context: typer.Context,
    *,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Where the result goes.", show_default=False)
    ] = None,
    scenario: Annotated[str, typer.Option("--scenario", help="angry0, demotion, identical, ...")] = "angry0",
    weeks: Annotated[int, typer.Option("--weeks", help="Weeks after the change.", min=1)] = 26,
    users: Annotated[int, typer.Option("--users", help="Simulated users in each world.", min=30)] = 2_000,
    seeds: Annotated[int, typer.Option("--seeds", help="Pairs of worlds.", min=2)] = 8,
    seed: Annotated[int, typer.Option("--seed", help="Of the first world.", min=0)] = 0,
    world: Annotated[
        Path | None, typer.Option("--world", help="Parameters; as eval/simulate/facebook-2018.toml.")
    ] = None,
    engine: Engine,
) -> None:
    """Run two policies in simulated worlds with a known truth, where people and publishers react."""
    if context.invoked_subcommand is not None:
        return
    if output is None:
        raise PolicyError("--output: expected where the result goes, got none")
    from eval.simulate.page import render_page  # noqa: PLC0415 - the evaluation, as every command does
    from eval.simulate.parameters import DEFAULT, load_parameters  # noqa: PLC0415
    from eval.simulate.scenarios import SCENARIOS  # noqa: PLC0415
    from eval.simulate.study import sentences, write_simulation  # noqa: PLC0415
    from eval.simulate.study import simulate as run  # noqa: PLC0415

    check_output(output)
    if scenario not in SCENARIOS:
        raise PolicyError(f"--scenario: expected one of {', '.join(SCENARIOS)}, got {scenario!r}")
    with told(), engine.session() as session, errors.status("simulating") as status:
        found = run(
            load_parameters(DEFAULT if world is None else world),
            SCENARIOS[scenario],
            n_weeks=weeks,
            n_users=users,
            seeds=range(seed, seed + seeds),
            on_done=lambda what: status.update(f"simulating: {what}"),
            session=session,
        )
        files = write_simulation(found, render_page(found), output)
    for _, sentence in sentences(found):
        console.print(f"- {sentence}", markup=False, highlight=False, soft_wrap=True)
    console.print(f"report: {files[1]}", soft_wrap=True, markup=False)
