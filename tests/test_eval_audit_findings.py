"""Exposures corrected by labels: right however wrong the classifier, refused where the labels do not fit."""

import dataclasses
import json

import numpy as np
import pytest
from statsmodels.stats.multitest import multipletests

from eval.audit_design import draw_audit
from eval.audit_feed import check_labels
from eval.audit_findings import MISSED, Views, adjusted, audit_rows
from eval.audit_labels import HumanLabels, LabelSample
from eval.audit_sample import Audit
from eval.comparison import Comparison, Context
from eval.outcomes import Outcome
from eval.report import comparison_json, write_report
from tests.comparisons import harm, swap_feed, swapped, texts

N = 300


def labels(name: str, item: list[str], label: np.ndarray, chance: np.ndarray, **more: bool) -> HumanLabels:
    """One harm, labelled by one rater."""
    order = np.argsort(item)
    sample = LabelSample(
        tuple(np.array(item)[order].tolist()), label[order].astype(float), chance[order].astype(float),
        more.get("is_frame", False), 1, 0, None,
    )  # fmt: skip
    return HumanLabels("labels.csv", {name: sample}, "digest")


def by_model(feed, values, name="thing", model="m1") -> Outcome:
    return dataclasses.replace(harm(feed, *values, name=name), model=model)


FEED = swap_feed(N)
# the truth: angry posts are harmful in 4 of 10 requests, calm ones in 1; the classifier sees the reverse
TRUTH = np.stack([np.arange(N) % 10 < 4, np.arange(N) % 10 < 1], axis=1).astype(float).reshape(-1)
POSTS = [f"p{i:05d}" for i in range(2 * N)]
BLIND = by_model(FEED, (0.1, 0.3))


def audited(found: Comparison, method: str = "prediction-powered", metric: str = "thing"):
    main = found.browsing[0]
    return next(a for a in found.audits if (a.metric, a.browsing, a.method) == (metric, main, method))


def compared(told: HumanLabels, outcomes=None, **more) -> Comparison:
    context = Context("toy", labels=told, **more)
    return swapped(FEED, outcomes or [BLIND], context=context, also=("rbp:0.2", "log2"))


def census() -> HumanLabels:
    return labels("thing", POSTS, TRUTH, np.ones(2 * N))


def test_labels_of_all_posts_give_the_true_change_whatever_the_classifier_says() -> None:
    found = compared(census())
    row, alone = audited(found), audited(found, "Hájek")
    # one post is shown: the angry one before, the calm one after
    assert row.change is not None
    assert alone.change is not None
    assert row.change.value == pytest.approx(1_000 * (0.1 - 0.4))
    assert alone.change.value == pytest.approx(row.change.value)
    assert (row.original, row.treatment) == (pytest.approx(400), pytest.approx(100))
    assert row.relative is not None
    assert row.relative.value == pytest.approx(-0.75)
    assert row.classifier == pytest.approx(200)  # the wrong sign
    assert (row.finding, row.status, row.level) == ("decreased", "IDENTIFIED", "L0")
    # paired by user: 1 for one whose angry post alone is harmful, else 0; the posts were all labelled
    each = TRUTH.reshape(-1, 2) @ [-1, 1]
    error = each.std(ddof=1) / np.sqrt(N)
    assert row.change.standard_error == pytest.approx(1_000 * error)
    told = texts(found)
    assert "corrected by 600 labelled posts: fell" in told
    assert "The scores alone say +200.0, outside that interval" in told
    assert "and by people, labels.csv: thing on 600 posts" in told


def test_a_sample_of_labels_finds_the_truth_within_its_error() -> None:
    chance = np.where(np.random.default_rng(99).random(2 * N) < 0.5, 0.5, 0.9)
    hits = []
    for seed in range(60):
        drawn = draw_audit(chance, seed=seed)
        told = labels("thing", [POSTS[i] for i in np.flatnonzero(drawn)], TRUTH[drawn], chance[drawn])
        views = shown()
        for row in audit_rows("thing", audit_from(told, chance), views, level="L0"):
            if row.change is None:
                assert row.reasons[0].startswith(MISSED)
                continue
            assert abs(row.change.value + 300) < 4.5 * row.change.standard_error
            hits.append(row.change.low <= -300 <= row.change.high)
    # refused at 3 errors, which chance alone reaches in 1 of 370
    assert len(hits) >= 117
    assert np.mean(hits) > 0.9


def shown() -> Views:
    seen = np.tile([1.0, 0.0], N)
    return Views(seen, 1.0 - seen, np.arange(2 * N), np.repeat(np.arange(N), 2), N)


def audit_from(told: HumanLabels, chance: np.ndarray) -> Audit:
    sample = told.samples["thing"]
    label = np.full(2 * N, np.nan)
    label[[POSTS.index(one) for one in sample.item]] = sample.label
    return Audit(np.tile([0.1, 0.3], N), label, chance)


def test_lost_labels_and_wrong_chances_are_refused_without_a_number() -> None:
    chance = np.full(2 * N, 0.5)
    drawn = draw_audit(chance, seed=1) & (np.arange(2 * N) % 3 > 0)  # every third label was lost
    told = labels("thing", [POSTS[i] for i in np.flatnonzero(drawn)], TRUTH[drawn], chance[drawn])
    found = compared(told)
    for method in ("prediction-powered", "Hájek"):
        row = audited(found, method)
        assert row.status == "REFUSED"
        assert row.reasons[0].startswith(MISSED)
        assert row.change is row.p_adjusted is row.finding is row.classifier is None
    assert "refused: LABELS_UNREPRESENTATIVE: by their chances" in texts(found)


def test_posts_that_were_not_in_the_drawing_are_refused_where_the_file_says_which_were() -> None:
    half = np.arange(2 * N) < N
    listed = [POSTS[i] for i in np.flatnonzero(half)]
    told = labels("thing", listed, TRUTH[half], np.full(N, 1.0), is_frame=True)
    row = audited(compared(told))
    assert row.status == "REFUSED"
    assert MISSED in row.reasons[0]


def test_one_post_that_could_not_be_drawn_is_one_too_many() -> None:
    """Too few for the balance to show; known to be missing from a file that lists all that could be drawn."""
    drawn = draw_audit(np.full(2 * N, 0.7), seed=4)
    label = np.where(drawn, TRUTH, np.nan)
    listed = np.arange(2 * N) != 17
    told = labels("thing", [POSTS[i] for i in np.flatnonzero(listed)], label[listed], np.full(2 * N - 1, 0.7),
                  is_frame=True)  # fmt: skip
    row = audited(compared(told))
    assert row.status == "REFUSED"
    assert row.reasons == ("inclusion: expected chances above 0 for items that count, got 0 for 1 of them",)
    only = labels("thing", [POSTS[i] for i in np.flatnonzero(drawn)], TRUTH[drawn], np.full(drawn.sum(), 0.7))
    assert audited(compared(only)).status == "IDENTIFIED"


def test_few_harmful_labels_are_cautioned_and_fewer_than_two_refused() -> None:
    found = audited(compared(census()))
    assert found.n_positive == 150
    assert found.cautions == ()
    few = labels("thing", POSTS, np.where(np.arange(2 * N) < 100, TRUTH, 0.0), np.ones(2 * N))
    assert audited(compared(few)).cautions == ("FEW_POSITIVES",)
    assert "The change rests on what 25 harmful labels weigh, of 25" in texts(compared(few))
    # labels on posts that both policies show alike say nothing of the change
    views = shown()
    same = dataclasses.replace(views, second=np.where(np.arange(2 * N) < 100, views.first, views.second))
    audit = Audit(np.zeros(2 * N), np.where(np.arange(2 * N) < 100, TRUTH, 0.0), np.ones(2 * N))
    unmoved = audit_rows("thing", audit, same, level="L0")[0]
    assert (unmoved.n_positive, unmoved.n_effective) == (25, 0.0)
    assert unmoved.cautions == ("FEW_POSITIVES",)
    one = labels("thing", POSTS[:1], TRUTH[:1], np.ones(1))
    assert audited(compared(one)).reasons == ("labels: expected at least 2 on posts that are shown, got 1",)


def test_unscored_posts_are_no_trouble_to_labels_of_them() -> None:
    blind = Outcome("thing", "exposure", np.where(np.arange(2 * N) % 3, 0.2, np.nan), "a thing", "share")
    row = audited(compared(census(), [blind]))
    assert row.change is not None
    assert row.change.value == pytest.approx(-300)


def test_p_values_are_adjusted_over_the_harms_of_a_model_as_statsmodels_does() -> None:
    rng = np.random.default_rng(2)
    rows = []
    for h in range(5):
        truth = (rng.random(2 * N) < np.tile([0.25 + 0.02 * h, 0.25], N)).astype(float)
        rows += audit_rows(f"h{h}", Audit(np.zeros(2 * N), truth, np.ones(2 * N)), shown(), level="L0")
    held = [row for row in adjusted(rows) if row.method == "prediction-powered"]
    raw = np.array([row.p for row in held])
    assert [row.p_adjusted for row in held] == pytest.approx(multipletests(raw, method="holm")[1])
    assert all(row.p is None for row in adjusted(rows) if row.method == "Hájek")
    assert {row.finding for row in held} <= {"decreased", "not shown"}


def test_the_warning_of_an_own_ruler_points_to_the_corrected_figure() -> None:
    plain = swapped(FEED, [BLIND], context=Context(demoted_with="m1"))
    assert "give it to --audit-labels" in texts(plain)
    found = compared(census(), demoted_with="m1")
    assert found.own_ruler == ("thing",)
    assert "read the figures corrected by labels instead" in texts(found)
    both = compared(census(), [BLIND, by_model(FEED, (0.2, 0.1), name="other")], demoted_with="m1")
    assert "for thing read the figure corrected by labels instead; for the others an" in texts(both)


def test_a_direction_needs_two_browsing_models_that_agree_on_it() -> None:
    alone = swapped(FEED, [BLIND], also=(), context=Context(labels=census()))
    row = audited(alone)
    assert row.status == "MODEL_ONLY"
    assert row.reasons == ("browsing models: expected at least 2, got 1",)
    assert "The sign depends on how far people read" in texts(alone)
    found = compared(census())
    assert {a.browsing for a in found.audits} == set(found.browsing)
    assert {a.status for a in found.audits} == {"IDENTIFIED"}


def test_the_same_order_is_exactly_no_change() -> None:
    found = swapped(FEED, [BLIND], settings=(), context=Context(labels=census()))
    row = audited(found)
    assert row.change is not None
    assert (row.change.value, row.change.standard_error, row.finding) == (0.0, 0.0, "identical")


def test_labels_of_other_posts_or_harms_are_refused() -> None:
    with pytest.raises(ValueError, match=r"item: expected posts that are compared, got none of 2"):
        check_labels(labels("thing", ["x", "y"], np.ones(2), np.ones(2)), FEED, [BLIND])
    with pytest.raises(ValueError, match=r'harm: expected one that is measured \(thing\), got thin.*"thing"'):
        check_labels(labels("thin", POSTS, TRUTH, np.ones(2 * N)), FEED, [BLIND])


def test_every_audited_number_stands_with_what_it_rests_on_in_the_files(tmp_path) -> None:
    found = compared(census())
    content = json.loads(comparison_json(found, None))
    assert content["labels"]["samples"]["thing"]["n_labels"] == 2 * N
    row = next(r for r in content["audits"] if r["browsing"] == found.browsing[0])
    assert row["change"]["value"] == pytest.approx(-300)
    assert row["config_digest"] == content["config_digest"]
    needed = {"status", "level", "method", "policy", "baseline", "n_users", "n_labels", "p_adjusted"}
    assert needed <= set(row)
    without = json.loads(comparison_json(swapped(FEED, [BLIND]), None))
    assert without["labels"] is None
    assert without["audits"] == []
    assert without["config_digest"] != content["config_digest"]
    files = write_report(found, None, (), tmp_path)
    page = next(path for path in files if path.suffix == ".html").read_text()
    assert "Harm among views, corrected by people" in page
    assert "corrected by people" not in write_page(swapped(FEED, [BLIND]), tmp_path / "plain")


def write_page(found: Comparison, folder) -> str:
    return next(p for p in write_report(found, None, (), folder) if p.suffix == ".html").read_text()
