"""What commands read: their options, and the feeds, scores and rankings that these lead to."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from reranker.anger import AngerBaseline
from reranker.columns import FeedError
from reranker.feed import Feed
from reranker.pipeline import Reranker
from reranker.policy import Policy
from reranker.presets import load_policy
from reranker.ranking import Ranking
from reranker.terminal import progress
from reranker.value import Harms

FeedsArgument = Annotated[
    Path, typer.Argument(help="Candidates: .parquet, .jsonl or .csv.", show_default=False)
]
InteractionsOption = Annotated[
    Path | None, typer.Option("--interactions", help="Single acts on the posts, such as comments with text.")
]
PolicyOption = Annotated[str, typer.Option("--policy", "-p", help="NAME_OR_FILE[+OVERLAY...]")]
SetOption = Annotated[list[str] | None, typer.Option("--set", help="A setting: weights.angry=0; repeatable.")]
ModelOption = Annotated[str, typer.Option("--model", help='"bundled", "none" or the path of a classifier.')]
DomainsOption = Annotated[Path | None, typer.Option("--domains", help="A file with columns domain, score.")]
ScoresOption = Annotated[Path | None, typer.Option("--scores", help="Scores that `reranker score` made.")]
DeviceOption = Annotated[str, typer.Option("--device", help='"auto", "cpu" or "cuda".')]
OutputOption = Annotated[
    Path, typer.Option("--output", "-o", help="Where the result goes.", show_default=False)
]


@contextmanager
def told() -> Iterator[None]:
    """Bad input to the evaluation, which knows no error of its own, as bad input to the command line."""
    try:
        yield
    except ValueError as error:
        raise FeedError(str(error)) from None


def check_output(output: Path, *suffixes: str) -> None:
    """Before the work: the result's name and folder."""
    if suffixes and output.suffix not in suffixes:
        raise FeedError(f"{output}: expected a name that ends in {' or '.join(suffixes)}, got another")
    if not output.resolve().parent.is_dir():
        raise FeedError(f"{output}: expected its folder to exist, got none")


def read(feeds: Path, interactions: Path | None) -> Feed:
    """The feed, with single acts where a file of them is named."""
    from reranker.reading import read_feed

    return read_feed(feeds, interactions=interactions)


def ranked(
    feeds: Path,
    policy: Policy,
    interactions: Path | None,
    model: str,
    domains: Path | None,
    scores: Path | None,
    device: str,
) -> Ranking:
    """The feed ranked by a policy, its own posts being the baseline of anger."""
    feed = read(feeds, interactions)
    harms = harms_of(feed, [policy], model, domains, scores, device)
    return Reranker(policy, baseline=AngerBaseline.fit(feed)).rank(feed, harms)


def harms_of(
    feed: Feed,
    policies: list[Policy],
    model: str,
    domains: Path | None,
    scores: Path | None,
    device: str,
) -> Harms | None:
    """Scores from a file, or made now where a policy reads any."""
    if scores is not None:
        from reranker.results import read_harms

        return read_harms(feed, scores)
    if not any(policy.used_labels() for policy in policies):
        return None
    return score_feed(feed, model, domains, device)


def score_feed(feed: Feed, model: str, domains: Path | None, device: str) -> Harms | None:
    """Scores by a model and ratings, with a progress bar; None where neither is named or nothing is there."""
    from reranker.load import load_scorer

    if feed.n == 0:
        return None
    with progress("reading texts", len(set(feed.text.values))) as advance:
        scorer = load_scorer(None if model == "none" else model, domains, device=device, on_batch=advance)
        return Reranker(load_policy("uniform"), scorer).score(feed)
