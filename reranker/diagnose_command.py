"""`reranker diagnose`: what the signals of a feed reward, each diagnostic measured, refused or skipped."""

import csv
from pathlib import Path
from typing import Annotated

import typer

from reranker.anger import AngerBaseline
from reranker.columns import FeedError
from reranker.inputs import (
    FeedsArgument,
    InteractionsOption,
    OutputOption,
    PolicyOption,
    Reading,
    ScoresOption,
    SetOption,
    TruthOption,
    check_output,
    harms_of,
    read,
    told,
    with_reading,
)
from reranker.pipeline import Reranker
from reranker.presets import load_policy
from reranker.terminal import console, errors

WordsOption = Annotated[
    Path | None,
    typer.Option(
        "--lexicon", help="Moral-emotional words: CSV with columns dictionary, term.", show_default=False
    ),
]


@with_reading
def diagnose(
    feeds: FeedsArgument,
    *,
    reading: Reading,
    output: OutputOption,
    policy: PolicyOption = "harm-aware",
    settings: SetOption = None,
    interactions: InteractionsOption = None,
    scores: ScoresOption = None,
    near: Annotated[
        str | None,
        typer.Option("--near", help="An attr_ column that holds closeness to the line, 1 being at it."),
    ] = None,
    truth: TruthOption = None,
    lexicon: WordsOption = None,
    dictionary: Annotated[
        list[str] | None, typer.Option("--dictionary", help="Of --lexicon: only this one; repeatable.")
    ] = None,
    negative_words: Annotated[
        Path | None,
        typer.Option(
            "--negative-words", help="Words that make a comment or headline negative, as --lexicon."
        ),
    ] = None,
    negative_dictionary: Annotated[
        list[str] | None,
        typer.Option("--negative-dictionary", help="Of --negative-words: only this one; repeatable."),
    ] = None,
    comment_share: Annotated[
        str | None,
        typer.Option("--comment-share", help="An attr_ column with the share of negative comments."),
    ] = None,
    groups: Annotated[
        Path | None,
        typer.Option("--groups", help="CSV with columns publisher, group; the first group over the second."),
    ] = None,
    headline_tests: Annotated[
        Path | None,
        typer.Option("--headline-tests", help="Randomised headline tests: the Upworthy archive's parquet."),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Of the bands.", min=0)] = 0,
) -> None:
    """Say what FEEDS reward: content near the line, moral words, anger, negative comments, gaming."""
    from eval.incentives import diagnose as run  # noqa: PLC0415 - the evaluation, as every command does
    from eval.incentives_materials import Materials  # noqa: PLC0415
    from eval.incentives_report import write_incentives  # noqa: PLC0415
    from eval.incentives_words import sentences  # noqa: PLC0415
    from eval.lexicon import read_lexicon  # noqa: PLC0415
    from eval.upworthy import read_upworthy  # noqa: PLC0415

    check_output(output)
    rules = load_policy(policy, settings or ())
    with told():
        moral = None if lexicon is None else read_lexicon(lexicon, dictionary or ())
        negative = None if negative_words is None else read_lexicon(negative_words, negative_dictionary or ())
        headlines = None if headline_tests is None else read_upworthy(headline_tests)
    kinds = {} if groups is None else read_groups(groups)
    feed = read(feeds, interactions)
    harms = harms_of(feed, [rules], scores, reading)
    with told(), errors.status("diagnosing"):
        ranking = Reranker(rules, baseline=AngerBaseline.fit(feed)).rank(feed, harms)
        materials = Materials(
            ranking,
            near=_attribute(near),
            truth=tuple(truth or ()),
            moral=moral,
            negative=negative,
            comment_share=_attribute(comment_share),
            groups=kinds,
            headlines=headlines,
            seed=seed,
        )
        found = run(materials)
        _, page = write_incentives(found, output, data=feeds.name)
    for sentence in sentences(found):
        console.print(f"- {sentence.text}", markup=False, highlight=False, soft_wrap=True)
    for part in found.parts:
        if part.status != "measured":
            line = f"{part.status}: {part.name}: {part.reason}"
            console.print(line, style="yellow", markup=False, highlight=False, soft_wrap=True)
    console.print(f"report: {page}", soft_wrap=True, markup=False)


def read_groups(path: Path) -> dict[str, str]:
    """The group of each publisher, from a CSV file with the columns publisher and group.

    Raises:
        FeedError: a column is missing, a cell is empty, a publisher is twice, or there are not two groups.
    """
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        if not {"publisher", "group"} <= set(reader.fieldnames or ()):
            raise FeedError(f"{path}: expected the columns publisher and group, got {reader.fieldnames}")
        found: dict[str, str] = {}
        for row in reader:
            name, group = row["publisher"], row["group"]
            if not name or not group:
                raise FeedError(
                    f"{path}: expected a publisher and a group, got {row} at line {reader.line_num}"
                )
            if name in found:
                raise FeedError(f"{path}: expected each publisher once, got {name!r} twice")
            found[name] = group
    if len(set(found.values())) != 2:
        raise FeedError(f"{path}: expected two groups, got {len(set(found.values()))}")
    return found


def _attribute(name: str | None) -> str | None:
    """An attribute's name, with or without the prefix of its column."""
    return None if name is None else name.removeprefix("attr_")
