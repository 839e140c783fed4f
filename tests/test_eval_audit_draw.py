"""Posts drawn for labelling: the chances are what they should be, and labels of them find the truth."""

import csv
from pathlib import Path

import numpy as np
import pytest

from eval.audit_draw import MODELS, DrawnAudit, draw_feed_audit, harms_to_label, write_to_label
from eval.audit_feed import feed_audit
from eval.audit_labels import HumanLabels, read_labels
from eval.exposure import browsing
from eval.outcomes import Outcome
from eval.provenance import clusters_of
from eval.rows import examinations
from reranker.assembly import feed_from_columns
from reranker.pipeline import Reranker
from reranker.presets import load_policy
from reranker.ranking import Ranking

N_REQUESTS, PER_REQUEST, N_POSTS = 150, 12, 500
RNG = np.random.default_rng(5)
POST = np.concatenate([RNG.choice(N_POSTS, PER_REQUEST, replace=False) for _ in range(N_REQUESTS)])
HARMFUL = RNG.random(N_POSTS) < 0.25
ANGRY = RNG.poisson(np.where(HARMFUL, 12, 1))
# the classifier finds half of the harm, and takes one in ten of the rest for it
SCORE = np.where(HARMFUL & (RNG.random(N_POSTS) < 0.5) | (RNG.random(N_POSTS) < 0.1), 0.7, 0.05)
FEED = feed_from_columns(
    {
        "request_id": [f"r{i}" for i in np.repeat(np.arange(N_REQUESTS), PER_REQUEST)],
        "user": [f"u{i // 3}" for i in np.repeat(np.arange(N_REQUESTS), PER_REQUEST)],
        "post_id": [f"p{i:03d}" for i in POST],
        "text": [f"=text {i}\nof two lines" for i in POST],
        "like": RNG.poisson(20, N_POSTS)[POST],
        "angry": ANGRY[POST],
    }
)
HARM = Outcome("toxicity", "exposure", SCORE[POST], "", "probability", model="m1")


def rank(*settings: str) -> Ranking:
    return Reranker(load_policy("fb-2018-h1", settings)).rank(FEED)


FIRST, SECOND = rank(), rank("weights.angry=0")


def draw(seed: int = 0, n: int = 120, harms: tuple[Outcome, ...] = (HARM,)) -> DrawnAudit:
    return draw_feed_audit(FIRST, SECOND, harms, n_labels=n, seed=seed, shown="3")


def truth_of(item: str) -> float:
    return float(HARMFUL[int(item[1:])])


def filled(drawn: DrawnAudit, path: Path) -> HumanLabels:
    """What comes back from a person who knows the truth."""
    write_to_label(drawn, path)
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        assert row["y"] == ""
        row["y"] = f"{truth_of(row['item']):g}"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return read_labels(path)


def audited(labels: HumanLabels):
    """The corrected row under each browsing model."""
    seen = examinations((FIRST, SECOND), [browsing(spec) for spec in ("3", *MODELS)])
    rows = feed_audit(FEED, seen, [HARM], labels, cluster=clusters_of(FEED)[0], same_order=False)
    return [row for row in rows if row.method == "prediction-powered"]


def census() -> list[float]:
    """The true change under each browsing model."""
    changes = []
    for first, second in examinations((FIRST, SECOND), [browsing(s) for s in ("3", *MODELS)]).values():
        harm = HARMFUL[POST].astype(float)
        changes.append(1_000 * float(second @ harm / second.sum() - first @ harm / first.sum()))
    return changes


def test_labels_of_drawn_posts_find_the_truth_that_the_classifier_misses(tmp_path):
    truth = census()
    rows = [audited(filled(draw(seed), tmp_path / "l.csv")) for seed in range(40)]
    found = np.array([[np.nan if row.change is None else row.change.value for row in one] for one in rows])
    assert np.isnan(found).sum() <= 4  # a right sample is refused at 3 standard errors: 1 in 370
    spread = np.nanstd(found, axis=0, ddof=1)
    assert (np.abs(np.nanmean(found, axis=0) - truth) < 4 * spread / np.sqrt(40)).all()
    held = [
        row.change.low <= true <= row.change.high
        for one in rows
        for row, true in zip(one, truth, strict=True)
        if row.change is not None
    ]
    assert np.mean(held) > 0.93
    scores_alone = rows[0][0]
    assert not scores_alone.change.low <= scores_alone.classifier <= scores_alone.change.high


def test_a_chance_is_in_proportion_to_the_difference_times_how_unsure_the_score_is():
    drawn = draw(n=60)
    apart = np.zeros(N_POSTS)
    for first, second in examinations((FIRST, SECOND), [browsing(s) for s in ("3", *MODELS)]).values():
        apart += np.abs(np.bincount(POST, second / second.sum() - first / first.sum(), N_POSTS))
    size = apart * np.sqrt(SCORE * (1 - SCORE) + 0.01)
    index = np.array([int(item[1:]) for item in drawn.item])
    part = drawn.chance < 1
    ratio = drawn.chance[part] / size[index[part]]
    assert ratio == pytest.approx(np.full(len(ratio), ratio[0]))
    assert np.mean([len(draw(seed, 60).item) for seed in range(200)]) == pytest.approx(60, abs=2.5)


def test_a_request_is_one_in_which_the_post_stands_and_moves_most():
    drawn = draw()
    seen = examinations((FIRST, SECOND), [browsing(s) for s in ("3", *MODELS)]).values()
    moved = sum(np.abs(b / b.sum() - a / a.sum()) for a, b in seen)
    for item, request, row in zip(drawn.item, drawn.request, drawn.row, strict=True):
        rows = np.flatnonzero(int(item[1:]) == POST)
        assert row == rows[np.argmax(moved[rows])]
        assert request == f"r{row // PER_REQUEST}"


def test_the_same_seed_gives_the_same_file_and_texts_only_where_asked(tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        write_to_label(draw(seed), tmp_path / name)
    first, again, other = ((tmp_path / name).read_bytes() for name in "abc")
    assert first == again != other
    assert b"two lines" not in first
    write_to_label(draw(), tmp_path / "d", FEED.text.to_list())
    with (tmp_path / "d").open(newline="") as file:
        row = next(csv.DictReader(file))
    # on one line, and no formula to a spreadsheet
    assert row["text"] == f"'=text {int(row['item'][1:])} of two lines"


def test_strata_say_which_way_a_post_moved_and_how_it_was_scored():
    scores = np.where(POST % 7 == 0, np.nan, SCORE[POST])
    drawn = draw(n=200, harms=(Outcome("toxicity", "exposure", scores, "", "probability"),))
    told = dict(zip(drawn.item, drawn.strata["toxicity"], strict=True))
    less = [np.mean([truth_of(item) for item, one in told.items() if one.startswith(side)])
            for side in ("shown less", "shown more")]  # fmt: skip
    assert less[0] > less[1]  # what drew anger is shown less
    for item, one in told.items():
        kind = (
            "no score"
            if int(item[1:]) % 7 == 0
            else "below 0.1"
            if SCORE[int(item[1:])] < 0.1
            else "0.5 or more"
        )
        assert one.endswith(kind)


def test_harms_are_those_asked_for_or_demoted_or_all():
    outcomes = [HARM, Outcome("insult", "exposure", SCORE[POST], "", "probability")]
    outcomes.append(Outcome("likes", "activity", SCORE[POST], "", "count"))
    names = [[one.name for one in harms_to_label(outcomes, *by)] for by in ((["insult"], []), ([], []))]
    assert names == [["insult"], ["toxicity", "insult"]]
    assert [one.name for one in harms_to_label(outcomes, ["insult"], ["toxicity"])] == ["toxicity"]
    with pytest.raises(ValueError, match="got 'insults'; did you mean \"insult\""):
        harms_to_label(outcomes, [], ["insults"])
    with pytest.raises(ValueError, match="expected scores of at least one, got none"):
        harms_to_label(outcomes[2:], [], [])


def test_what_cannot_be_drawn_is_refused():
    with pytest.raises(ValueError, match="expected some post that they show differently, got none"):
        draw_feed_audit(FIRST, rank(), [HARM], n_labels=5, seed=0)
    with pytest.raises(ValueError, match="n_labels: expected more than 0 and at most"):
        draw(n=N_POSTS + 1)
