"""Policies compared on logged impressions: right where the truth is known, no number where a log is mute."""

import dataclasses
import itertools
import json
from typing import Any

import numpy as np
import pytest

from eval.logged import compare_logged
from eval.logged_comparison import LoggedComparison, LoggedContext, LoggedSettings
from eval.logged_policy import LogPolicy
from eval.logged_report import as_json, write_logged
from eval.logged_words import sentences
from eval.margins import load_margins
from eval.simulate.impressions import LABEL, impression_log
from eval.simulate.testbed import METRICS, WEIGHTS, angry_zero, logged, true_values, with_wrong_temperature
from reranker.columns import FeedError, StringColumn
from reranker.exploration import log_prefix_propensity, sample_rankings
from reranker.impressions import ImpressionLog

HEAT = 0.5
ACTIONS = ("like", "comment", "significant_comment", "angry")
ORIGINAL = LogPolicy("angry at 5", WEIGHTS, scale="log")
TREATMENT = LogPolicy("angry at 0", angry_zero(), scale="log")
FEW = LoggedSettings(n_draws=4)
NAMES = {
    "views": "views",
    f"harm_views.{LABEL}": "harm_views",
    "action.like": "like",
    "comments": "comment",
    "action.angry": "angry",
}


def changed(log: ImpressionLog, **changes: Any) -> ImpressionLog:
    return dataclasses.replace(log, **changes)


def with_actions(log: ImpressionLog, names: tuple[str, ...] = ACTIONS) -> ImpressionLog:
    return changed(log, action={name: log.action[name] for name in names})


FOUND = logged(2_000, 2, HEAT, 1)
LOG = with_actions(impression_log(FOUND))
SMALL = with_actions(impression_log(logged(1_300, 2, 0.8, 4)), ("like", "angry"))


def numbers_of(found: LoggedComparison, metric: str) -> list[Any]:
    """Whatever is a number in a row of the JSON, but for the counts of what was logged."""
    row = next(r for r in as_json(found)["rows"] if r["metric"] == metric and r["level"] == "L1")
    kept = {key: value for key, value in row.items() if key not in ("n_requests", "n_users")}
    flat = json.loads(json.dumps(kept), parse_float=float)
    return [value for value in _leaves(flat) if isinstance(value, int | float)]


def _leaves(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(itertools.chain.from_iterable(_leaves(one) for one in value.values()))
    if isinstance(value, list):
        return list(itertools.chain.from_iterable(_leaves(one) for one in value))
    return [value]


@pytest.fixture(scope="module")
def compared() -> LoggedComparison:
    return compare_logged([LOG], ORIGINAL, TREATMENT)


@pytest.fixture(scope="module")
def small() -> LoggedComparison:
    return compare_logged([SMALL], ORIGINAL, TREATMENT, settings=FEW)


def test_the_change_is_that_of_a_world_whose_truth_is_known(compared: LoggedComparison) -> None:
    truth = true_values(30_000, HEAT, 5)
    assert (compared.status, compared.served_by) == ("IDENTIFIED", "original")
    for metric, name in NAMES.items():
        row, i = compared.row(metric), METRICS.index(name)
        assert (row.status, row.method) == ("IDENTIFIED", "switch_dr")
        assert row.change is not None
        error = np.hypot(row.change.standard_error, truth.standard_error[i])
        assert abs(row.change.value - truth.difference[i]) < 4 * error, metric
        assert row.original == pytest.approx(truth.logger[i], abs=4 * 0.03 * truth.logger[i] + 0.002)
        for check in row.checks.values():
            error = np.hypot(check.standard_error, truth.standard_error[i])
            assert abs(check.value - truth.difference[i]) < 4 * error, metric
    harm = compared.row(f"harm_views.{LABEL}").change
    assert harm is not None
    assert harm.high < 0
    # the same in views that are harmful per 1,000, at both levels, from the truth's own ratio
    value = dict(zip(METRICS, zip(truth.logger, truth.target, strict=True), strict=True))
    before, after = (1_000 * value["harm_views"][p] / value["views"][p] for p in (0, 1))
    rate = compared.row(f"harm_prevalence.{LABEL}").change
    shown = compared.row(f"harm_prevalence.{LABEL}", "L0").change
    assert rate is not None
    assert shown is not None
    assert abs(rate.value - (after - before)) < 4 * rate.standard_error + 0.03
    assert abs(shown.value - (after - before)) < 4 * shown.standard_error + 0.1


def test_the_model_makes_the_difference_more_exact_than_weights_alone(compared: LoggedComparison) -> None:
    views = compared.row("views")
    assert views.change is not None
    assert views.change.standard_error < 0.6 * views.checks["rips"].standard_error
    assert views.checks["rips"].standard_error < views.checks["sips"].standard_error


def test_policies_that_change_places_change_the_sign_and_nothing_else(small: LoggedComparison) -> None:
    turned = compare_logged([SMALL], TREATMENT, ORIGINAL, settings=FEW)
    assert turned.served_by == "treatment"
    for row in small.rows:
        other = turned.row(row.metric, row.level)
        assert row.change is not None
        assert other.change is not None
        assert other.change.value == pytest.approx(-row.change.value, abs=1e-12)
        assert other.change.standard_error == pytest.approx(row.change.standard_error, rel=1e-9)


def test_the_logger_against_itself_is_exactly_nothing_and_identified() -> None:
    named = LogPolicy("logger", None)
    for pair in ((ORIGINAL, dataclasses.replace(ORIGINAL, name="again")), (named, ORIGINAL), (named, named)):
        found = compare_logged([SMALL], *pair, settings=FEW)
        assert (found.status, found.served_by) == ("IDENTIFIED", "both")
        for row in found.rows:
            assert row.status == "IDENTIFIED"
            assert row.change is not None
            assert (row.change.value, row.low, row.high) == (0.0, 0.0, 0.0)
            assert row.change.standard_error == 0.0
            assert row.relative is not None
            assert row.relative.value == 0.0
        assert found.row("positive_activity").decision == "EQUIVALENT"


def test_a_deterministic_logger_against_itself_is_exactly_nothing_and_identified() -> None:
    found = compare_logged([deterministic(SMALL)], ORIGINAL, ORIGINAL, settings=FEW)
    assert (found.status, found.served_by) == ("IDENTIFIED", "both")
    assert {row.change.value for row in found.rows if row.change is not None} == {0.0}
    assert {row.status for row in found.rows} == {"IDENTIFIED"}


def deterministic(log: ImpressionLog) -> ImpressionLog:
    """The same requests served in the order of the scores."""
    keys = np.zeros(log.n, np.uint64)
    slate, slots = sample_rankings(log.score, log.offsets, 0.0, 4, seed=0, request_key=keys)
    zero = np.zeros(len(slate))
    return changed(
        log, slate=slate, slot_offsets=slots, log_prefix_propensity=zero, temperature=np.zeros(log.n)
    )


def test_the_order_of_requests_and_the_cut_into_batches_change_no_byte(
    small: LoggedComparison, tmp_path: Any
) -> None:
    first = [path.read_bytes() for path in write_logged(small, tmp_path / "a")]
    order = np.random.default_rng(3).permutation(SMALL.n)
    mixed = SMALL.take(order)
    batches = [mixed.take(np.arange(start, min(start + 900, SMALL.n))) for start in range(0, SMALL.n, 900)]
    for logs in ([mixed], batches, iter(batches[::-1])):
        found = compare_logged(logs, ORIGINAL, TREATMENT, settings=FEW)
        assert [path.read_bytes() for path in write_logged(found, tmp_path / "b")] == first


@pytest.mark.parametrize("factor", [1.2, 0.7])
def test_propensities_of_another_temperature_are_refused_without_a_number(factor: float) -> None:
    wrong = with_wrong_temperature(FOUND, factor)
    for heat in (HEAT, HEAT * factor):  # whether the logger says the right temperature beside them or not
        log = changed(
            LOG, log_prefix_propensity=wrong.log_prefix_propensity, temperature=np.full(LOG.n, heat)
        )
        found = compare_logged([log], ORIGINAL, TREATMENT, settings=FEW)
        assert found.status == "REFUSED"
        assert {"PROPENSITY_MISCALIBRATED", "MEAN_WEIGHT_HIGH", "MEAN_WEIGHT_LOW"} & set(found.reasons)
        assert "check temperature" in found.remedy
        for row in found.rows:
            if row.level == "L1":
                assert row.status == "REFUSED"
                assert numbers_of(found, row.metric) == []
        assert "cannot say what the treatment would have changed" in sentences(found)[0]


def test_a_log_without_propensities_leaves_a_model_without_an_interval() -> None:
    log = changed(SMALL, log_prefix_propensity=np.full(SMALL.n_slots, np.nan))
    found = compare_logged([log], LogPolicy("logger", None), TREATMENT, settings=FEW)
    assert (found.status, found.reasons) == ("MODEL_ONLY", ("PROPENSITY_MISSING",))
    for row in found.rows:
        if row.metric.startswith("harm_prevalence") or row.level == "L0":
            continue
        assert (row.status, row.method) == ("MODEL_ONLY", "direct")
        assert row.change is row.low is row.decision is None
        assert row.model is not None
        assert row.sensitivity is not None
    # without views there is no model either
    found = compare_logged([changed(log, viewed=None)], LogPolicy("logger", None), TREATMENT, settings=FEW)
    assert found.status == "REFUSED"
    assert found.row("action.like").model is None


def test_what_a_model_alone_says_is_what_its_predictions_add_up_to(small: LoggedComparison) -> None:
    """Without random draws nothing corrects the model: its value is near the truth only as far as it is."""
    log = changed(SMALL, log_prefix_propensity=np.full(SMALL.n_slots, np.nan))
    row = compare_logged([log], ORIGINAL, TREATMENT, settings=LoggedSettings(n_draws=32)).row(
        f"harm_views.{LABEL}"
    )
    change = small.row(f"harm_views.{LABEL}").change
    assert change is not None
    assert row.model == pytest.approx(change.value, abs=4 * change.standard_error)
    assert row.model is not None
    assert row.model < 0
    assert row.sensitivity is not None
    assert 0 < row.sensitivity < 1


def test_a_deterministic_log_identifies_nothing_of_another_policy() -> None:
    found = compare_logged([deterministic(SMALL)], ORIGINAL, TREATMENT, settings=FEW)
    assert found.status == "MODEL_ONLY"
    assert "LOGGER_DETERMINISTIC" in found.reasons
    assert "serve at random" in found.remedy
    assert all(row.low is None for row in found.rows if row.level == "L1")
    assert "only a response model can guess" in sentences(found)[0]
    shown = found.row(f"harm_prevalence.{LABEL}", "L0")
    assert shown.status == "IDENTIFIED"
    assert shown.change is not None
    assert shown.change.value < 0


def test_a_harm_with_too_many_unscored_views_is_refused_and_no_other() -> None:
    rng = np.random.default_rng(8)
    blind = np.where(rng.random(SMALL.n_candidates) < 0.06, np.nan, SMALL.harm[LABEL])
    found = compare_logged(
        [changed(SMALL, harm={"seen": SMALL.harm[LABEL], "blind": blind})], ORIGINAL, TREATMENT, settings=FEW
    )
    for metric in ("harm_views.blind", "harm_prevalence.blind"):
        row = found.row(metric)
        assert row.status == "REFUSED"
        assert "unscored views: expected at most 2.0%" in row.reasons[-1]
        assert numbers_of(found, metric) == []
    assert found.row("harm_prevalence.blind", "L0").status == "REFUSED"
    for row in found.rows:
        assert row.metric.endswith("blind") or row.status == "IDENTIFIED"


def test_few_unscored_views_are_bounded_by_what_they_may_be_and_never_taken_as_harmless() -> None:
    # one in a hundred candidates without a score, and all of them harmful: the truth is known here
    rng = np.random.default_rng(9)
    hidden = rng.random(SMALL.n_candidates) < 0.01
    whole = np.where(hidden, 1.0, SMALL.harm[LABEL])
    blind = np.where(hidden, np.nan, SMALL.harm[LABEL])
    found = compare_logged(
        [changed(SMALL, harm={"whole": whole, "blind": blind})], ORIGINAL, TREATMENT, settings=FEW
    )
    for kind in ("harm_views", "harm_prevalence"):
        known, row = found.row(f"{kind}.whole"), found.row(f"{kind}.blind")
        assert row.status == "BOUNDED"
        assert row.change is None
        assert row.bounds is not None
        assert row.low is not None
        assert row.high is not None
        checked = known.checks.get("rips", known.change)
        assert checked is not None
        assert known.change is not None
        assert row.bounds[0] - 1e-9 <= known.change.value + (row.bounds[1] - row.bounds[0])
        assert row.low < row.bounds[0] < row.bounds[1] < row.high
        assert row.low < known.change.value < row.high


def test_one_user_is_refused() -> None:
    log = changed(SMALL, user=StringColumn.from_values(["u"] * SMALL.n))
    found = compare_logged([log], ORIGINAL, TREATMENT, settings=FEW)
    assert found.status == "REFUSED"
    assert "ONE_USER" in found.reasons
    assert numbers_of(found, "action.like") == []
    assert {row.status for row in found.rows} == {"REFUSED"}


def test_requests_cut_short_give_bounds_that_hold_whatever_was_not_logged(small: LoggedComparison) -> None:
    cut = np.random.default_rng(2).random(SMALL.n) < 0.05
    log = changed(SMALL, n_total=np.diff(SMALL.offsets) + cut)
    found = compare_logged([log], LogPolicy("logger", None), TREATMENT, settings=FEW)
    assert (found.status, found.reasons) == ("BOUNDED", ("SUPPORT_DEFICIT",))
    assert found.n_unknown == cut.sum()
    row, whole = found.row("views"), small.row("views")
    assert row.bounds is not None
    assert whole.change is not None
    # where cut short the logger's views are known and the treatment's are 0 to 4, one for each slot
    assert row.bounds[1] - row.bounds[0] == pytest.approx(4 * cut.mean())
    assert row.bounds[0] < whole.change.value < row.bounds[1]
    assert row.change is None
    likes = found.row("positive_activity")
    assert likes.decision in {"INCONCLUSIVE", "INFERIOR", "NON-INFERIOR"}
    assert len(likes.verdicts) == 2
    assert not any("unaffected" in one for one in sentences(found))
    # one request in a thousand is within the limit of the gate, and bounded all the same
    few = changed(SMALL, n_total=np.diff(SMALL.offsets) + (np.arange(SMALL.n) % 1_000 == 0))
    row = compare_logged([few], LogPolicy("logger", None), TREATMENT, settings=FEW).row("views")
    assert row.status == "BOUNDED"
    assert row.bounds is not None
    assert row.bounds[1] - row.bounds[0] == pytest.approx(4 * 3 / SMALL.n)
    # a policy against itself is the same policy also where neither is known
    same = compare_logged([log], TREATMENT, dataclasses.replace(TREATMENT, name="again"), settings=FEW)
    assert same.status == "BOUNDED"
    assert same.row("views").bounds == (0.0, 0.0)


def test_the_interval_is_by_user_not_by_request(small: LoggedComparison) -> None:
    # every request twice, for the same user: nothing was learned, so errors by user do not shrink
    names = [str(name) for name in SMALL.request_id]
    twin = changed(SMALL, request_id=StringColumn.from_values(f"{name} again" for name in names))
    found = compare_logged([SMALL, twin], ORIGINAL, TREATMENT, settings=FEW)
    once, twice = small.row("action.like").checks["rips"], found.row("action.like").checks["rips"]
    assert twice.value == pytest.approx(once.value, rel=1e-9)
    assert twice.standard_error == pytest.approx(once.standard_error, rel=1e-9)
    assert (found.n_requests, found.n_users) == (2 * small.n_requests, small.n_users)


def test_angry_clicks_are_no_positive_activity(compared: LoggedComparison) -> None:
    def change(metric: str) -> float:
        found = compared.row(metric).change
        assert found is not None
        return found.value

    kinds = ("like", "comment", "significant_comment")
    assert change("positive_activity") == pytest.approx(sum(change(f"action.{kind}") for kind in kinds))
    assert change("all_activity") == pytest.approx(change("positive_activity") + change("action.angry"))
    assert change("action.angry") < 0
    assert compared.row("all_activity").decision is None
    assert compared.row("positive_activity").margin_of == "positive_interactions"
    assert compared.row("comments").margin_of == "comments"


def test_unaffected_is_said_of_an_equivalent_activity_only(compared: LoggedComparison) -> None:
    said = sentences(compared)
    for row in compared.rows:
        if row.decision is not None:
            mine = [one for one in said if one.lower().startswith(row.metric.replace("_", " ")[:8])]
            assert ("unaffected" in " ".join(mine)) == (row.decision == "EQUIVALENT")
    assert any("were not fixed in a plan" in one for one in said)
    planned = compare_logged(
        [SMALL],
        ORIGINAL,
        TREATMENT,
        settings=FEW,
        context=LoggedContext(planned_margins=load_margins().digest),
    )
    assert planned.banner == ""


def test_a_deterministic_target_is_weighed_like_any_other() -> None:
    """The order of the scores at a hot logger: the gate knows how little of it was served."""
    target = dataclasses.replace(ORIGINAL, name="sorted", temperature=0.0)
    found = compare_logged([SMALL], ORIGINAL, target, settings=FEW)
    served = log_prefix_propensity(SMALL.score, SMALL.offsets, SMALL.slate, SMALL.slot_offsets, 0.0)
    share = float((served[SMALL.slot_offsets[1:] - 1] == 0.0).mean())
    check = found.gates[1].check("ESS_SHARE_LOW")
    assert check.value is not None
    assert check.value < 2 * share + 0.05
    assert found.gates[0].status == "IDENTIFIED"


def test_bad_logs_are_refused_in_a_line() -> None:
    with pytest.raises(FeedError, match="logs: expected at least one request, got none"):
        compare_logged([], ORIGINAL, TREATMENT)
    with pytest.raises(FeedError, match="request_id: expected each request once, got 2600 again"):
        compare_logged([SMALL, SMALL], ORIGINAL, TREATMENT, settings=FEW)
    with pytest.raises(
        FeedError, match=r"weights.likes: expected a prediction that was logged .*did you mean"
    ):
        compare_logged([SMALL], ORIGINAL, LogPolicy("x", {"likes": 1.0}, scale="log"), settings=FEW)
    with pytest.raises(FeedError, match="logs: expected views or actions, got neither"):
        compare_logged([changed(SMALL, viewed=None, action={})], ORIGINAL, TREATMENT)
    with pytest.raises(ValueError, match="n_draws: expected at least 2, got 1"):
        LoggedSettings(n_draws=1)
