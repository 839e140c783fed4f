"""`reranker simulate publishers`: where publishers who adapt to a policy settle, for every policy."""

from pathlib import Path
from typing import Annotated

import typer

from reranker.inputs import OutputOption, check_output, told
from reranker.terminal import console, errors


def publishers(
    *,
    output: OutputOption,
    policy: Annotated[
        list[str] | None,
        typer.Option("--policy", help="One more NAME_OR_FILE[+OVERLAY...] beside the presets; repeatable."),
    ] = None,
    before: Annotated[
        str, typer.Option("--before", help="The policy that stands for the feed before fb-2018-h1.")
    ] = "chronological",
    weeks: Annotated[int, typer.Option("--weeks", help="Followed after a switch.")] = 52,
    requests: Annotated[int, typer.Option("--requests", help="Simulated requests.")] = 500,
    seed: Annotated[int, typer.Option("--seed", help="Of the requests.", min=0)] = 0,
    market: Annotated[
        Path | None, typer.Option("--market", help="Numbers; as eval/simulate/publishers-2018.toml.")
    ] = None,
) -> None:
    """Let publishers choose how negative to be by the reach each policy gives; calibrated, never evidence."""
    from eval.simulate.asked_policies import asked_policies  # noqa: PLC0415 - the evaluation, lazily
    from eval.simulate.long_run import run_long  # noqa: PLC0415
    from eval.simulate.long_run_report import sentences, write_long_run  # noqa: PLC0415
    from eval.simulate.market import MARKET, load_market  # noqa: PLC0415
    from eval.simulate.publishers_page import render_publishers  # noqa: PLC0415

    check_output(output)
    with told(), errors.status("simulating") as status:
        found = run_long(
            load_market(MARKET if market is None else market),
            asked_policies(policy or ()),
            before=before,
            n_requests=requests,
            n_weeks=weeks,
            seed=seed,
            on_done=lambda what: status.update(f"simulating: {what}"),
        )
        files = write_long_run(found, render_publishers(found), output)
    for _, sentence in sentences(found):
        console.print(f"- {sentence}", markup=False, highlight=False, soft_wrap=True)
    console.print(f"report: {files[1]}", soft_wrap=True, markup=False)
