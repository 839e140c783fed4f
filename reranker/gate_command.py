"""`reranker gate`: whether a policy may be launched, with an exit status for continuous integration."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reranker.columns import FeedError
from reranker.inputs import (
    FeedsArgument,
    InteractionsOption,
    Reading,
    ScoresOption,
    SetOption,
    TruthOption,
    check_output,
    harms_of,
    read,
    score_feed,
    told,
    with_reading,
)
from reranker.policy import PolicyError
from reranker.presets import load_policy
from reranker.terminal import console, errors

if TYPE_CHECKING:
    from eval.launch_gate import LaunchGate


@with_reading
def gate(
    feeds: FeedsArgument,
    *,
    reading: Reading,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Where gate.json and gate.html go.")
    ] = None,
    original: Annotated[str, typer.Option("--original", help="The policy in force.")] = "fb-2018-h1",
    treatment: Annotated[str, typer.Option("--treatment", help="The policy to launch.")] = "harm-aware",
    settings: SetOption = None,
    set_treatment: Annotated[
        list[str] | None, typer.Option("--set-treatment", help="For the treatment only; repeatable.")
    ] = None,
    plan: Annotated[
        Path | None, typer.Option("--plan", help="TOML of what must hold; fix it beforehand.")
    ] = None,
    planned: Annotated[
        str | None, typer.Option("--planned", help="Digest of the plan as it was fixed; others do not pass.")
    ] = None,
    by: Annotated[
        list[str] | None,
        typer.Option("--by", help="Judge each country or device too, instead of the plan's; repeatable."),
    ] = None,
    digest: Annotated[bool, typer.Option("--digest", help="Print the plan's digest and stop.")] = False,
    truth: TruthOption = None,
    interactions: InteractionsOption = None,
    scores: ScoresOption = None,
) -> None:
    """Say whether TREATMENT may replace ORIGINAL: exits 0 if every check of the plan holds, 1 if not."""
    from eval.launch_gate import run_gate  # noqa: PLC0415 - the evaluation, as every command does
    from eval.launch_plan import SHIPPED, load_plan, with_segments  # noqa: PLC0415
    from eval.launch_report import write_gate  # noqa: PLC0415
    from eval.outcomes import attribute_outcomes, standard_outcomes  # noqa: PLC0415
    from eval.study import Arm  # noqa: PLC0415

    with told():
        agreed = load_plan(plan or SHIPPED)
        agreed = with_segments(agreed, by) if by else agreed
    if digest:
        console.print(agreed.digest, highlight=False)
        return
    if output is None:
        raise PolicyError("--output: expected a folder for gate.json and gate.html, got none")
    check_output(output)
    arms = (Arm(original, tuple(settings or ())), Arm(treatment, (*(settings or ()), *(set_treatment or ()))))
    policies = [load_policy(arm.spec, arm.settings) for arm in arms]
    feed = read(feeds, interactions)
    if not feed.n:
        raise FeedError(f"{feeds}: expected candidates, got none")
    with told():
        attribute_outcomes(feed, truth or ())
    # harm must be measured although no policy may read it
    harms = harms_of(feed, policies, scores, reading) if scores is not None else score_feed(feed, reading)
    with told(), errors.status("ranking at every strength and checking"):
        outcomes = standard_outcomes(feed, harms, attributes=truth or ())
        found = run_gate(feed, harms, arms, outcomes, agreed, planned=planned)
        files = write_gate(found, output)
    _print(found, files[1])
    if not found.passed:
        raise typer.Exit(1)


def _print(found: "LaunchGate", page: Path) -> None:
    """The answer in a few lines, the reasons one each."""
    from eval.launch_verdict import change_words  # noqa: PLC0415

    held = sum(check.holds for check in found.at())
    let_go = sum(check.holds and check.state == "not measured" for check in found.at())
    small = (*found.small_groups, *found.segments.not_judged)
    said = "passes" if found.passed else "DOES NOT PASS"
    lines = [
        f"{change_words(found.comparison)}: {said}; "
        f"{held} of {len(found.at())} checks hold"
        + (f", {let_go} of them not measured, which the plan allows" if let_go else ""),
        *(f"- {reason}" for reason in found.reasons),
        *(f"! {warning}" for warning in found.warnings),
        *(
            [f"not judged, too few views or users of them or of all others: {', '.join(small)}"]
            if small
            else []
        ),
        "largest safe strength: "
        + ("none" if found.safe_strength is None else f"{found.safe_strength:g}")
        + f" of {', '.join(f'{s:g}' for s in found.plan.strengths)}"
        + (f", which is {', '.join(found.safe_settings)}" if found.safe_settings else ""),
        f"plan {found.plan.digest[:12]}" + ("" if found.planned else " (not held to a planned digest)"),
    ]
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    console.print(f"report: {page}", soft_wrap=True, markup=False)
