"""What answers identify, how countries are pooled, and whom against what, worked out by hand."""

import numpy as np
import pytest

from training.survey_identified import identify
from training.survey_ordinal import Design, OrdinalFit
from training.survey_pooling import pool
from training.survey_variance import RESIDUAL, decompose, parts_of

KINDS, RELATIONS = ("like", "love", "comment"), ("friend", "page", "stranger")


def told(counts, people=None):
    shape = counts.shape[:2]
    people = people or tuple(np.full(n, 100) for n in shape)
    return identify(counts, people, (KINDS[: shape[0]], RELATIONS[: shape[1]]), (0, 0))


def test_a_full_table_identifies_everything():
    found = told(np.full((3, 3, 4), 5))
    assert found.kinds.all()
    assert found.relations.all()
    assert found.why == {}


def test_a_kind_that_few_people_answered_about_is_left_out():
    found = told(np.full((3, 3, 4), 5), (np.array([100, 29, 30]), np.full(3, 100)))
    assert found.kinds.tolist() == [True, False, True]
    assert found.why == {"love": "29 people answered about it, at least 30 needed"}


@pytest.mark.parametrize(("level", "shown"), [(0, 1), (3, 4)])
def test_a_kind_or_a_relation_that_always_got_the_same_end_of_the_scale_is_separated(level, shown):
    counts = np.full((3, 3, 4), 5)
    counts[1] = 0
    counts[1, :, level] = 20
    assert told(counts).why == {"love": f"separation: every answer is {shown}"}
    assert told(counts.transpose(1, 0, 2)).why == {"page": f"separation: every answer is {shown}"}


def test_always_the_same_answer_in_the_middle_is_no_separation():
    counts = np.full((3, 3, 4), 5)
    counts[1] = 0
    counts[1, :, 2] = 20
    assert told(counts).why == {}


def test_a_kind_seen_with_one_relation_only_rests_on_that_relation():
    counts = np.full((3, 3, 4), 5)
    counts[2, :2] = 0
    assert told(counts).why == {"comment": "seen with one relation only"}
    assert told(counts.transpose(1, 0, 2)).why == {"stranger": "seen with one kind only"}


def test_with_one_relation_in_all_kinds_are_compared_within_it():
    assert told(np.full((3, 1, 4), 5)).why == {}
    assert told(np.full((1, 3, 4), 5)).why == {}


def test_what_no_chain_connects_to_the_unit_is_left_out():
    # love and comment are asked about page and stranger only, like about friend and two others only
    counts = np.zeros((3, 4, 4), dtype=int)
    counts[0, :2] = 5
    counts[1:, 2:] = 5
    people = np.full(3, 100), np.full(4, 100)
    found = identify(counts, people, (KINDS, (*RELATIONS, "follower")), (0, 0))
    assert found.kinds.tolist() == [True, False, False]
    assert found.relations[:2].tolist() == [True, True]
    assert found.why["love"] == "shares no relation with those that lead to the unit"


def test_leaving_one_out_can_leave_out_another():
    # comment is tied to the rest by stranger alone; stranger goes, so comment is seen with one relation
    counts = np.full((3, 3, 4), 5)
    counts[2, 0] = 0
    found = told(counts, (np.full(3, 100), np.array([100, 100, 3])))
    assert set(found.why) == {"stranger", "comment"}


def test_the_population_s_effect_is_the_mean_of_its_countries_own():
    effect = np.array([[0.0, 1.0], [0.0, 2.0]])
    error = np.array([[0.0, 0.1], [0.0, 0.2]])
    found = pool(effect, error, np.array([0.75, 0.25]))
    assert found.effect == pytest.approx([0.0, 1.25])
    assert found.error == pytest.approx([0.0, np.hypot(0.075, 0.05)])
    # DerSimonian and Laird by hand: weights 100 and 25, mean 1.2, Q = 100 * .04 + 25 * .64 = 20;
    # (20 - 1) / (125 - (10000 + 625) / 125) = 19 / 40
    assert found.between == pytest.approx(np.sqrt(19 / 40))
    # drawn towards the pooled mean, and the less certain one further
    pooled = (1.0 / (0.01 + 0.475) + 2.0 / (0.04 + 0.475)) / (1 / 0.485 + 1 / 0.515)
    assert found.country[:, 1] == pytest.approx(
        [pooled + 0.475 / 0.485 * (1 - pooled), pooled + 0.475 / 0.515 * (2 - pooled)]
    )


def test_a_country_that_cannot_tell_is_filled_in_with_the_spread_between_countries():
    effect = np.array([[1.0, 0.5], [1.2, 0.7], [np.nan, 0.3]])
    error = np.array([[0.01, 0.01], [0.01, 0.01], [np.nan, 0.01]])
    share = np.array([0.4, 0.4, 0.2])
    found = pool(effect, error, share)
    assert found.effect[0] == pytest.approx(1.1, abs=1e-9)  # equal weights: the mean of both fills in
    lost = found.between**2 * (0.2**2 * 0.5 + 0.2**2)
    assert found.error[0] == pytest.approx(np.sqrt(2 * 0.5**2 * 1e-4 + lost))
    assert found.country[2, 0] == pytest.approx(1.1)
    assert found.country_error[2, 0] > 10 * found.country_error[0, 0]


def test_filled_in_effects_cover_the_truth_of_countries_drawn_alike():
    rng = np.random.default_rng(0)
    share = np.full(5, 0.2)
    hit = 0
    for _ in range(400):
        truth = rng.normal(0.5, 0.3, (5, 12))
        effect = truth + rng.normal(0, 0.1, truth.shape)
        effect[4] = np.nan
        found = pool(effect, np.where(np.isnan(effect), np.nan, 0.1), share)
        hit += int((np.abs(found.effect - share @ truth) < 1.96 * found.error).sum())
    assert hit / 4_800 == pytest.approx(0.95, abs=0.015)  # terms of a run share the spread: about 4 errors


@pytest.mark.parametrize("missing", [(0,), (1, 2)])
def test_without_half_of_the_people_or_two_countries_a_term_is_not_told(missing):
    effect = np.full((3, 1), 0.4)
    effect[list(missing)] = np.nan
    found = pool(effect, np.where(np.isnan(effect), np.nan, 0.1), np.array([0.6, 0.2, 0.2]))
    assert np.isnan(found.effect).all()
    assert np.isnan(found.country).all()


def fit_of(theta, error, *, n_kinds=2, n_relations=2):
    design = Design(n_kinds, n_relations, 2, 0, 0)
    return OrdinalFit(design, np.array(theta), np.diag(np.square(error)), 0.0, ())


def test_shares_of_the_variance_are_those_worked_out_by_hand():
    # kinds 0 and 1, relations 0 and 2, each half the answers, crossed: 1/4 and 1; people 0.5; rest pi^2 / 3
    fit = fit_of([1.0, 2.0, 0.3, 0.5 * np.log(0.5)], [0.0] * 4)
    found = decompose([parts_of(fit, np.full((2, 2), 0.25))], np.ones(1), 1.96)
    total = 0.25 + 1 + 0.5 + RESIDUAL
    assert found["kind"].value == pytest.approx(0.25 / total)
    assert found["relation"].value == pytest.approx(1 / total)
    assert found["relation_with_kind"].value == pytest.approx(0.0)
    assert found["person"].value == pytest.approx(0.5 / total)
    assert found["relation_less_kind"].value == pytest.approx(0.75 / total)
    assert sum(found[name].value for name in found) == pytest.approx(1 + 0.75 / total)
    assert found["kind"].low == found["kind"].value


def test_kinds_asked_about_with_their_own_relations_share_variance_with_them():
    # only (0, 0) and (1, 1) are asked about: kinds 1/4, relations 1, together 2 * 1/2 * 1 * 2 / 2 = 1
    fit = fit_of([1.0, 2.0, 0.3, 0.0], [0.0] * 4)
    parts = parts_of(fit, np.array([[0.5, 0.0], [0.0, 0.5]]))
    assert parts.variance[:3] == pytest.approx([1.0, 0.25, 1.0])


def test_intervals_of_the_shares_are_those_of_draws_of_the_estimates():
    share = np.array([[0.3, 0.2], [0.1, 0.4]])
    theta, error = np.array([0.9, -1.2, 0.3, 0.1]), np.array([0.02, 0.03, 0.1, 0.02])
    weights = np.array([0.4, 0.6])
    found = decompose([parts_of(fit_of(theta, error), share)] * 2, weights, 1.0)
    rng = np.random.default_rng(0)
    draws = []
    for _ in range(4_000):
        both = [parts_of(fit_of(rng.normal(theta, error), np.zeros(4)), share) for _ in range(2)]
        draws.append([one.value for one in decompose(both, weights, 1.0).values()])
    spread = np.std(draws, axis=0)
    half = [(one.high - one.low) / 2 for one in found.values()]
    assert half == pytest.approx(spread, rel=0.05)


def test_variance_that_the_estimates_add_by_chance_is_taken_off():
    share = np.full((2, 2), 0.25)
    rng = np.random.default_rng(1)
    found = [
        parts_of(fit_of(rng.normal([0.5, 0.5, 0, 0], [0.4, 0.4, 0, 0]), [0.4, 0.4, 0, 0]), share).variance
        for _ in range(4_000)
    ]
    # each 0.5^2 / 4; the standard deviation of a draw is about 0.1, of the mean 0.0017
    assert np.mean(found, axis=0)[:2] == pytest.approx([0.0625, 0.0625], abs=0.007)
