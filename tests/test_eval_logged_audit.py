"""Labels on the posts of a log: harm under another policy, right where the logged scores are not."""

import dataclasses
import json

import numpy as np
import pytest
from statsmodels.stats.multitest import multipletests

from eval.audit_design import audit_sizes, draw_audit, inclusion_probabilities
from eval.audit_findings import AuditRow
from eval.audit_labels import HumanLabels, LabelSample
from eval.logged import compare_logged
from eval.logged_audit import item_ids
from eval.logged_comparison import LoggedComparison, LoggedContext, LoggedSettings
from eval.logged_plan import PartCounts, Plan
from eval.logged_policy import LogPolicy
from eval.logged_report import as_json, cells, write_logged
from eval.logged_request import joined_values
from eval.logged_response import fit_log_model, sample_of
from eval.logged_values import measure
from eval.logged_words import sentences
from eval.simulate.impressions import LABEL, impression_log
from eval.simulate.testbed import METRICS, WEIGHTS, angry_zero, logged, true_values
from reranker.columns import FeedError
from reranker.exploration import request_keys
from reranker.impressions import ImpressionLog
from reranker.policy import Curve

HEAT = 0.8
ORIGINAL = LogPolicy("angry at 5", WEIGHTS, scale="log")
TREATMENT = LogPolicy("angry at 0", angry_zero(), scale="log")
FEW = LoggedSettings(n_draws=4)


def small(n_users: int = 1_500, seed: int = 4) -> ImpressionLog:
    log = impression_log(logged(n_users, 2, HEAT, seed))
    return dataclasses.replace(log, action={"like": log.action["like"]})


LOG = small()


def told_of(label: str, item: np.ndarray, y: np.ndarray, chance: np.ndarray) -> HumanLabels:
    """Labels of posts by their ids."""
    names = item.astype(str)
    order = np.argsort(names)
    sample = LabelSample(
        tuple(names[order].tolist()), y[order].astype(float), chance[order].astype(float), False, 1, 0, None
    )
    return HumanLabels("labels.csv", {label: sample}, "digest")


def audit_row(found: LoggedComparison, method: str = "prediction-powered", metric: str = LABEL) -> AuditRow:
    return next(row for row in found.audits if (row.metric, row.method) == (metric, method))


def test_views_of_single_posts_add_up_to_the_estimates() -> None:
    log = dataclasses.replace(LOG, groups={"media": np.arange(LOG.n_candidates) % 3})
    counts = PartCounts(("media",))
    counts.add(log)
    # a switch low enough that it leaves corrections out
    plan = Plan(True, (LABEL,), ("like",), 1.2, 4, 0, parts=counts.parts(asked_for=True), posts=True)
    model = fit_log_model(sample_of(log, request_keys(log.request_id.values)), seed=0)
    values = joined_values([measure(log, (ORIGINAL, TREATMENT), model, plan)])
    assert (np.exp(values.log_target[1] - values.log_logging) > 1.2).any()
    for p in (0, 1):
        assert values.exposure[p].sum() == pytest.approx(values.main[p, 0].sum(), rel=1e-9)
        assert values.exposure[p] @ values.harm[0] == pytest.approx(values.main[p, 1].sum(), rel=1e-9)
    assert log.viewed is not None
    assert values.looked.sum() == log.viewed.sum()
    assert set(np.unique(values.group[0])) == {0, 1, 2}
    # and without labels and groups nothing of single posts is kept
    lean_plan = dataclasses.replace(plan, parts=(), posts=False)
    lean = joined_values([measure(LOG, (ORIGINAL, TREATMENT), model, lean_plan)])
    assert lean.exposure.shape == (2, 0)
    assert lean.main == pytest.approx(values.main)


def blind(log: ImpressionLog) -> ImpressionLog:
    """The log of a classifier that misses all harm of posts that anger: what the treatment demotes."""
    angers = log.p_action["angry"] > np.quantile(log.p_action["angry"], 0.9)
    return dataclasses.replace(log, harm={LABEL: np.where(angers, 0.01, log.harm[LABEL])})


def test_labels_find_the_true_fall_of_harm_that_a_blind_classifier_misses() -> None:
    known = true_values(60_000, HEAT, 5)
    value = dict(zip(METRICS, zip(known.logger, known.target, strict=True), strict=True))
    before, after = (1_000 * value["harm_views"][p] / value["views"][p] for p in (0, 1))
    log = blind(LOG)
    score = log.harm[LABEL].astype(float)
    chance = inclusion_probabilities(audit_sizes(np.ones(len(score)), score), 12_000)
    drawn = draw_audit(chance, seed=11)
    # people see the probability itself: the rest of a label is noise that needs more labels, not other sums
    truth = LOG.harm[LABEL].astype(float)
    labels = told_of(LABEL, log.item_id[drawn], truth[drawn], chance[drawn])
    found = compare_logged([log], ORIGINAL, TREATMENT, settings=FEW, context=LoggedContext(labels=labels))
    for method in ("prediction-powered", "Hájek"):
        row = audit_row(found, method)
        assert row.change is not None
        assert (row.status, row.level) == ("IDENTIFIED", "L1")
        assert abs(row.change.value - (after - before)) < 4 * row.change.standard_error + 0.03
        assert row.original == pytest.approx(before, rel=0.05)
    row = audit_row(found)
    assert row.classifier is not None
    assert row.change is not None
    own = found.row(f"harm_prevalence.{LABEL}").change
    assert own is not None
    assert row.classifier == pytest.approx(own.value, rel=1e-6)
    # the classifier is far off, and says so nowhere
    assert abs(own.value - (after - before)) > 4 * own.standard_error
    assert row.finding == "decreased"
    told = " ".join(sentences(found))
    assert "corrected by" in told
    assert "outside that interval" in told


def test_labels_of_everything_give_the_figures_of_a_log_with_true_scores() -> None:
    log = blind(LOG)
    truth = LOG.harm[LABEL].astype(float)
    labels = told_of(LABEL, log.item_id, truth, np.ones(len(truth)))
    found = compare_logged([log], ORIGINAL, TREATMENT, settings=FEW, context=LoggedContext(labels=labels))
    views = compare_logged([LOG], ORIGINAL, TREATMENT, settings=FEW)
    row, alone = audit_row(found), audit_row(found, "Hájek")
    known = views.row(f"harm_prevalence.{LABEL}")
    assert row.change is not None
    assert alone.change is not None
    assert known.change is not None
    # the response model reads the scores, so that the two logs are not estimated by quite the same one
    assert row.change.value == pytest.approx(known.change.value, abs=0.2 * known.change.standard_error)
    assert row.change.standard_error == pytest.approx(known.change.standard_error, rel=0.05)
    assert alone.change.value == pytest.approx(row.change.value, rel=1e-9)
    assert row.original == pytest.approx(known.original, rel=0.01)


def test_a_log_that_identifies_nothing_is_not_mended_by_labels() -> None:
    silent = dataclasses.replace(LOG, log_prefix_propensity=np.full(LOG.n_slots, np.nan))
    labels = told_of(LABEL, LOG.item_id[:500], np.ones(500), np.ones(500))
    found = compare_logged(
        [silent], LogPolicy("logger", None), TREATMENT, settings=FEW, context=LoggedContext(labels=labels)
    )
    for method in ("prediction-powered", "Hájek"):
        row = audit_row(found, method)
        assert (row.status, row.reasons) == ("REFUSED", ("PROPENSITY_MISSING",))
        assert row.change is row.classifier is row.original is None


def test_labels_whose_chances_are_wrong_are_refused_without_a_number() -> None:
    rng = np.random.default_rng(5)
    drawn = rng.random(LOG.n_candidates) < 0.2
    labels = told_of(LABEL, LOG.item_id[drawn], np.ones(drawn.sum()), np.full(drawn.sum(), 0.5))
    found = compare_logged([LOG], ORIGINAL, TREATMENT, settings=FEW, context=LoggedContext(labels=labels))
    assert audit_row(found, "Hájek").reasons[0].startswith("LABELS_UNREPRESENTATIVE")
    assert audit_row(found).status == "REFUSED"
    row = next(r for r in as_json(found)["audits"] if r["method"] == "prediction-powered")
    assert row["change"] is row["relative"] is row["p"] is None
    assert "LABELS_UNREPRESENTATIVE" in " ".join(sentences(found))


def test_ids_are_numbers_or_the_hashes_of_texts() -> None:
    ids = item_ids(("17", "-3", "post-a", "٣"))
    assert ids[:2].tolist() == [17, -3]
    assert ids[2:].tolist() == request_keys(["post-a", "٣"]).view(np.int64).tolist()
    too_large = str(2**63)
    assert item_ids((too_large,)).tolist() == request_keys([too_large]).view(np.int64).tolist()


def test_labels_of_other_posts_or_harms_are_refused() -> None:
    def compare(labels: HumanLabels) -> None:
        compare_logged([LOG], ORIGINAL, TREATMENT, settings=FEW, context=LoggedContext(labels=labels))

    with pytest.raises(ValueError, match=r"labels.csv: item: expected posts of the log, got none"):
        compare(told_of(LABEL, np.array([-5, -6]), np.ones(2), np.ones(2)))
    with pytest.raises(ValueError, match=rf"harm: expected one that is measured \({LABEL}\), got any_ham"):
        compare(told_of("any_ham", LOG.item_id[:2], np.ones(2), np.ones(2)))


def test_the_scores_that_demote_and_measure_are_named_and_labels_stand_in_for_them() -> None:
    demoting = dataclasses.replace(
        ORIGINAL, name="demoting", demotion={LABEL: Curve(start=0.05, line=0.2, floor=0.2)}, temperature=HEAT
    )
    plain = compare_logged([LOG], ORIGINAL, demoting, settings=FEW)
    assert (plain.demoted_by, plain.own_ruler) == ((LABEL,), (LABEL,))
    assert "give it to --audit-labels" in " ".join(sentences(plain))
    labels = told_of(LABEL, LOG.item_id, LOG.harm[LABEL], np.ones(LOG.n_candidates))
    found = compare_logged([LOG], ORIGINAL, demoting, settings=FEW, context=LoggedContext(labels=labels))
    told = " ".join(sentences(found))
    assert audit_row(found).change is not None
    assert "read those corrected by labels instead" in told
    assert as_json(found)["models"] == {"demoted_by": [LABEL], "measured_by_the_demoter": [LABEL]}
    # another score that no policy reads is no ruler of its own
    other = dataclasses.replace(LOG, harm={**LOG.harm, "other": LOG.harm[LABEL]})
    assert compare_logged([other], ORIGINAL, demoting, settings=FEW).own_ruler == (LABEL,)


def several_harms() -> ImpressionLog:
    """Four labels, two of which have nothing to do with anger."""
    rng = np.random.default_rng(8)
    harm = {"first": LOG.harm[LABEL], "second": np.sqrt(LOG.harm[LABEL])}
    harm |= {name: rng.random(LOG.n_candidates) for name in ("third", "fourth")}
    return dataclasses.replace(LOG, harm=harm)


def test_figures_of_harm_are_adjusted_as_a_family_as_statsmodels_does(tmp_path) -> None:
    found = compare_logged([several_harms()], ORIGINAL, TREATMENT, settings=FEW)
    for level, size in (("L1", 8), ("L0", 4)):
        rows = [row for row in found.rows if row.family.startswith(f"harm at {level}")]
        assert len(rows) == size
        raw = [row.p for row in rows]
        assert [row.p_adjusted for row in rows] == pytest.approx(multipletests(raw, method="holm")[1])
        for row in rows:
            assert row.p_adjusted is not None
            said = {True: "decreased", False: "not shown"}[row.p_adjusted <= 0.05]
            assert row.finding == said
            assert row.family == f"harm at {level}, {size} figures"
            assert cells(row)[6] != ""
    held = {row.metric: row.finding for row in found.rows if row.level == "L1" and row.finding}
    assert held["harm_prevalence.first"] == "decreased"
    assert held["harm_prevalence.third"] == held["harm_prevalence.fourth"] == "not shown"
    # activity is no part of the family: all guardrails must hold, so none is adjusted
    assert all(row.p is row.finding is None for row in found.rows if not row.metric.startswith("harm"))
    content = json.loads(write_logged(found, tmp_path)[0].read_text())
    rows = {(row["metric"], row["level"]): row for row in content["rows"]}
    assert rows["harm_views.first", "L1"]["family"] == "harm at L1, 8 figures"
    assert rows["views", "L1"]["family"] is None
    assert content["guardrails"]["measured"].keys() == {"positive_interactions"}
    assert content["guardrails"]["passed"] is False
    assert "sessions" in content["guardrails"]["not_measured"]


def test_all_guardrails_together_hold_only_if_each_of_them_does() -> None:
    found = compare_logged([LOG], ORIGINAL, TREATMENT, settings=FEW)
    row = found.row("positive_activity")
    assert found.guardrails.verdicts["positive_interactions"].decision == row.decision
    failing = dataclasses.replace(
        found, rows=tuple(_far_below(one) if one.metric == "positive_activity" else one for one in found.rows)
    )
    assert failing.guardrails.failing == ("positive_interactions",)
    assert not failing.guardrails.passed
    assert "Not shown to hold: positive interactions" in " ".join(sentences(failing))


def _far_below(row):
    from eval.clustered import clustered_mean
    from eval.decision import decide

    change = clustered_mean(np.random.default_rng(0).normal(-0.2, 0.1, 400), np.arange(400))
    return dataclasses.replace(row, verdicts=(decide(change, 0.01),))


def test_a_log_without_views_says_nothing_of_harm_and_refuses_labels_of_it() -> None:
    silent = dataclasses.replace(LOG, viewed=None)
    labels = told_of(LABEL, LOG.item_id[:5], np.ones(5), np.ones(5))
    with pytest.raises((ValueError, FeedError), match=r"expected one that is measured \(none\)"):
        compare_logged([silent], ORIGINAL, TREATMENT, settings=FEW, context=LoggedContext(labels=labels))
