"""`reranker compare`: two policies on the same feeds, and the report; `reranker demo`: on the bundled sample.

As every command does, it imports the evaluation when it runs.
"""

from pathlib import Path
from typing import Annotated, Any

import typer

from reranker.audit_command import AuditLabelsOption
from reranker.columns import FeedError
from reranker.engine import Engine, with_engine
from reranker.feed import Feed
from reranker.inputs import (
    DeviceOption,
    FeedsArgument,
    InteractionsOption,
    OutputOption,
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
from reranker.presets import load_policy
from reranker.terminal import console, errors, print_study
from reranker.value import Harms


@with_engine
@with_reading
def compare(
    feeds: FeedsArgument,
    output: OutputOption,
    original: Annotated[str, typer.Option("--original", help="The policy in force.")] = "fb-2018-h1",
    treatment: Annotated[str, typer.Option("--treatment", help="The policy to try.")] = "fb-2020-10",
    settings: SetOption = None,
    set_treatment: Annotated[
        list[str] | None, typer.Option("--set-treatment", help="For the treatment only; repeatable.")
    ] = None,
    shown: Annotated[
        str, typer.Option("--shown", help='What people see: "10%", "25", "rbp:0.8", "log2".')
    ] = "10%",
    interactions: InteractionsOption = None,
    scores: ScoresOption = None,
    lexicon: Annotated[
        Path | None, typer.Option("--lexicon", help="CSV with columns dictionary, term.")
    ] = None,
    exclude: Annotated[
        list[str] | None,
        typer.Option("--exclude", help="A dictionary to leave out; repeatable."),
    ] = None,
    truth: TruthOption = None,
    margins: Annotated[
        Path | None,
        typer.Option("--margins", help="TOML of how much of each activity may be lost; fix it beforehand."),
    ] = None,
    planned_margins: Annotated[
        str | None,
        typer.Option("--planned-margins", help="Digest of the margins as planned; others are warned of."),
    ] = None,
    audit_labels: AuditLabelsOption = None,
    show_text: Annotated[bool, typer.Option("--show-text", help="Show snippets of texts.")] = False,
    seed: Annotated[int, typer.Option("--seed", help="Of the resampling.")] = 0,
    *,
    reading: Reading,
    engine: Engine,
) -> None:
    """Compare what two policies put in front of people, and write a report."""
    from eval.audit_feed import check_labels
    from eval.audit_labels import read_labels
    from eval.exposure import browsing
    from eval.lexicon import read_lexicon
    from eval.margins import SHIPPED, load_margins
    from eval.outcomes import attribute_outcomes, standard_outcomes
    from eval.study import Arm

    check_output(output)
    arms = (Arm(original, tuple(settings or ())), Arm(treatment, (*(settings or ()), *(set_treatment or ()))))
    policies = [load_policy(arm.spec, arm.settings) for arm in arms]
    with told():
        browsing(shown)
        terms = None if lexicon is None else read_lexicon(lexicon, exclude=exclude or ())
        agreed = load_margins(margins or SHIPPED)
        labels = None if audit_labels is None else read_labels(audit_labels)
    feed = read(feeds, interactions)
    with told():
        attribute_outcomes(feed, truth or ())
    harms = harms_of(feed, policies, scores, reading, engine)
    outcomes = standard_outcomes(feed, harms, attributes=truth or (), divisive=terms)
    if labels is not None:
        with told():
            check_labels(labels, feed, outcomes)
    chosen: dict[str, Any] = {"margins": agreed, "planned_margins": planned_margins, "seed": seed}
    chosen |= {"shown": shown, "data": feeds.name, "show_text": show_text, "labels": labels}
    _study(feed, harms, arms, outcomes, output, **chosen)


def demo(
    output: Annotated[Path, typer.Option("--output", "-o", help="Where the report goes.")] = Path(
        "demo-report"
    ),
    device: DeviceOption = "auto",
) -> None:
    """Run the main job on the bundled model and sample: classify, rerank, compare, write the report."""
    from eval.outcomes import standard_outcomes
    from eval.study import Arm
    from reranker.sample import DOMAIN_RATINGS, make_sample

    feed = make_sample()
    console.print(
        f"sample: {feed.n} candidates in {feed.n_requests} feeds of {len(feed.user.values)} made-up users"
    )
    harms = score_feed(feed, Reading(domains=DOMAIN_RATINGS, device=device))
    arms = (Arm("fb-2018-h1"), Arm("harm-aware"))
    truth = ("is_toxic", "is_misinformation", "is_outrage", "is_graphic", "is_clickbait")
    outcomes = standard_outcomes(feed, harms, attributes=truth)
    _study(feed, harms, arms, outcomes, output, data="synthetic sample, seed 0", show_text=True)
    _frontier_point(feed, harms, outcomes, truth)


def _frontier_point(feed: Feed, harms: Harms | None, outcomes: Any, truth: tuple[str, ...]) -> None:
    from eval.frontier_point import frontier_point
    from eval.frontier_words import finding

    try:
        with told(), errors.status("looking for a policy between the two"):
            found = frontier_point(feed, harms, outcomes, harm=truth)
    except FeedError as error:  # the search needs an extra
        console.print(f"no point of the frontier: {error}", markup=False, highlight=False, soft_wrap=True)
        return
    console.print(finding(found), markup=False, highlight=False, soft_wrap=True)


def _study(feed: Feed, harms: Harms | None, arms: Any, outcomes: Any, output: Path, **options: Any) -> None:
    from eval.study import run_study

    with errors.status("ranking, comparing and drawing"):
        study = run_study(feed, harms, arms, outcomes, output, **options)
    print_study(study)
