"""Which posts of a feed to have labelled, so that a change of harm between two policies is known.

Each post is drawn by its own chance: how differently the policies show it, times how unsure its scores are.
The file is what `eval.audit_labels` reads, but for the labels.
"""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from eval.audit_design import audit_sizes, draw_audit, inclusion_probabilities
from eval.audit_findings import mean_score
from eval.audit_labels import COLUMNS, RATER
from eval.exposure import browsing
from eval.outcomes import Outcome
from eval.provenance import same_feed
from eval.rows import examinations
from eval.view_rows import is_harm
from reranker.columns import FloatArray, IntArray, closest
from reranker.ranking import Ranking
from reranker.writing import atomic

MODELS = ("10%", "rbp:0.8", "log2")  # those of `eval.comparison.compare`
UNSURE = 0.5  # the score of a post without one
BUCKETS = ((0.1, "score below 0.1"), (0.5, "score 0.1 to 0.5"), (np.inf, "score 0.5 or more"))
FORMULA = ("=", "+", "-", "@")  # what a spreadsheet would run


@dataclass(frozen=True, eq=False)
class DrawnAudit:
    """Posts to have labelled, in an order that tells nothing.

    Attributes:
        item: (m,) their ids.
        request: (m,) for each, the request in which the policies show it most differently.
        row: (m,) its row there.
        chance: (m,) with which each was drawn.
        strata: by harm (m,) whether the treatment shows the post more or less, and its score.
        n_frame: posts that could have been drawn.
        expected: by harm, how many of the drawn the scores take for harmful.
    """

    item: tuple[str, ...]
    request: tuple[str, ...]
    row: IntArray
    chance: FloatArray
    strata: Mapping[str, tuple[str, ...]]
    n_frame: int
    expected: Mapping[str, float]


def harms_to_label(
    outcomes: Sequence[Outcome], demoted: Sequence[str], asked: Sequence[str]
) -> list[Outcome]:
    """The harms that are asked for; else those that a policy demotes; else all that are measured.

    Args:
        outcomes: that a comparison measures.
        demoted: labels by which either policy demotes, where its own ruler measures.
        asked: names; () for none.

    Raises:
        ValueError: one that is asked for is not measured, or none is.
    """
    harms = {outcome.name: outcome for outcome in outcomes if is_harm(outcome)}
    if not harms:
        raise ValueError("harms: expected scores of at least one, got none: make them by `reranker score`")
    for name in asked:
        if name not in harms:
            hint = closest(name, tuple(harms))
            raise ValueError(f"harm: expected one that is measured ({', '.join(harms)}), got {name!r}{hint}")
    chosen = asked or [name for name in harms if name in demoted] or list(harms)
    return [harms[name] for name in dict.fromkeys(chosen)]


def draw_feed_audit(
    original: Ranking,
    treatment: Ranking,
    harms: Sequence[Outcome],
    *,
    n_labels: int,
    seed: int,
    shown: str = MODELS[0],
) -> DrawnAudit:
    """A sample for the change of these harms, right under every browsing model of a comparison.

    The chance of a post is in proportion to the difference of its share of views between the policies, over
    these models on average, times sqrt(s (1 - s) + 0.01) for its score s, over the harms on average. It
    stands for the change and not for all views: posts that both policies show alike cannot be drawn.

    Args:
        original: the ranking by the policy in force.
        treatment: the ranking of the same feed by the other.
        harms: what is to be labelled.
        n_labels: posts, on average.
        seed: of the drawing.
        shown: the main browsing model.

    Raises:
        ValueError: rankings of other feeds, an unknown browsing model, no post that is shown differently, or
            fewer of them than labels.

    Source: Särndal, Swensson and Wretman, Model Assisted Survey Sampling, 1992, section 3.5 (Poisson
    sampling).
    """
    feed = same_feed(original, treatment)
    models = [browsing(spec) for spec in dict.fromkeys((shown, *MODELS))]
    item, m = feed.post_id.codes.astype(np.int64), len(feed.post_id.values)
    moved, apart, shift = np.zeros(feed.n), np.zeros(m), np.zeros(m)
    for first, second in examinations((original, treatment), models).values():
        own = second / second.sum() - first / first.sum()
        total = np.bincount(item, weights=own, minlength=m)
        moved, apart, shift = moved + np.abs(own), apart + np.abs(total) / len(models), shift + total
    if not apart.any():
        raise ValueError("policies: expected some post that they show differently, got none")
    scores = {harm.name: mean_score(item, harm.values, m) for harm in harms}
    guess = {name: np.where(np.isnan(score), UNSURE, score) for name, score in scores.items()}
    size = np.mean([audit_sizes(apart, one) for one in guess.values()], axis=0)
    chance = inclusion_probabilities(size, n_labels)
    drawn = np.flatnonzero(draw_audit(chance, seed=seed))
    drawn = np.random.default_rng([seed, 1]).permutation(drawn)
    row = _telling_rows(item, moved, m)[drawn]
    return DrawnAudit(
        item=tuple(feed.post_id.values[i] for i in drawn),
        request=tuple(str(feed.request_id[int(r)]) for r in feed.request_of_row[row]),
        row=row,
        chance=chance[drawn],
        strata={
            name: tuple(_stratum(float(shift[i]), float(score[i])) for i in drawn)
            for name, score in scores.items()
        },
        n_frame=int((chance > 0).sum()),
        expected={name: float(one[drawn].sum()) for name, one in guess.items()},
    )


def write_to_label(drawn: DrawnAudit, path: Path, texts: Sequence[str | None] | None = None) -> None:
    """A .csv with a row per post and harm, its column y to be filled in by people; written whole or not.

    Args:
        drawn: what to label.
        path: where to.
        texts: of every row of the feed, to be written beside; None leaves texts out.
    """
    heads = [*COLUMNS, RATER, "request", "stratum", *(["text"] if texts is not None else [])]
    with (
        atomic(path) as temporary,
        temporary.open("w", encoding="utf-8", newline="") as file,
    ):
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(heads)
        for i, item in enumerate(drawn.item):
            said = [] if texts is None else [_cell(texts[int(drawn.row[i])])]
            for harm, strata in drawn.strata.items():
                known = [item, harm, "", repr(float(drawn.chance[i])), "", drawn.request[i], strata[i]]
                writer.writerow([*known, *said])


def _telling_rows(item: IntArray, moved: FloatArray, m: int) -> IntArray:
    """(m,) the row of each item on which the policies differ most; of equal ones the first."""
    order = np.lexsort((-np.arange(len(item)), moved))  # the last to be written is the largest
    found = np.zeros(m, dtype=np.int64)
    found[item[order]] = order
    return found


def _stratum(shift: float, score: float) -> str:
    side = "shown less" if shift < 0 else "shown more"
    if np.isnan(score):
        return f"{side}, no score"
    return f"{side}, {next(name for limit, name in BUCKETS if score < limit)}"


def _cell(text: str | None) -> str:
    """A text on one line, which no spreadsheet takes for a formula."""
    line = " ".join((text or "").split())
    return f"'{line}" if line.startswith(FORMULA) else line
