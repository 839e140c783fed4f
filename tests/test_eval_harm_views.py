import itertools

import numpy as np
import pytest

from eval.browsing import cascade_examination, rbp_examination
from eval.clustered import clustered_ratio_change
from eval.harm_views import (
    decompose_prevalence,
    harm_change,
    harm_per_user_day,
    harm_views,
    prevalence,
    unscored_change_bounds,
)
from eval.incidence import any_harm_bounds, incidence, session_incidence

NAN = np.nan


def offsets_of(*lengths: int) -> np.ndarray:
    return np.concatenate(([0], np.cumsum(lengths)))


def world(n: int, seed: int, unscored: float = 0.0) -> dict[str, np.ndarray]:
    """Two policies on the same n requests of 6 candidates: the second puts harm lower."""
    rng = np.random.default_rng(seed)
    offsets = np.arange(0, 6 * n + 1, 6)
    truth = rng.beta(0.3, 3, 6 * n)
    first = np.zeros(6 * n)
    second = np.zeros(6 * n)
    for r in range(n):
        rows, score = np.arange(6 * r, 6 * r + 6), rng.normal(size=6)
        gamma = 0.7 ** np.arange(6)
        first[rows[np.argsort(-score)]] = gamma
        second[rows[np.argsort(-(score - 2 * truth[rows]))]] = gamma
    harm = np.where(rng.random(6 * n) < unscored, NAN, truth)
    user = rng.integers(0, n // 3, n)
    return {
        "first": first,
        "second": second,
        "harm": harm,
        "truth": truth,
        "offsets": offsets,
        "cluster": user,
        "day": rng.integers(0, 2, n),
    }


def change_of(data: dict[str, np.ndarray], **other: np.ndarray):
    data = data | other
    first, second, harm = (data[name] for name in ("first", "second", "harm"))
    return harm_change(first, second, harm, offsets=data["offsets"], cluster=data["cluster"], day=data["day"])


def test_a_prevalence_is_the_ratio_of_sums_not_the_mean_of_ratios():
    # a large country with little harm, a small one with much
    views = harm_views(np.ones(103), np.repeat([0.01, 0.5], [100, 3]), offsets_of(60, 40, 2, 1))
    found = prevalence(views, np.array([0, 1, 2, 3]))
    assert found.value == pytest.approx(1000 * (1.0 + 1.5) / 103)
    per_request = 1000 * np.mean([0.01, 0.01, 0.5, 0.5])
    per_country = 1000 * np.mean([0.01, 0.5])
    assert found.value < 0.1 * min(per_request, per_country)


def test_the_error_is_by_user_and_users_without_a_view_are_left_out():
    # D10 as views: harm over views of clusters 0, 1, 2, 3, and a user who saw nothing
    harm = np.array([1, 0, 2, 1, 0, 3, 0, 1, 0], dtype=float)
    size = np.array([10, 5, 10, 10, 5, 20, 10, 10, 0], dtype=float)
    views = harm_views(size, np.where(size > 0, harm / np.maximum(size, 1), 0.5), offsets_of(*[1] * 9))
    found = prevalence(views, np.array([0, 0, 1, 1, 2, 2, 3, 3, 4]))
    assert found.value == pytest.approx(100)
    assert found.standard_error == pytest.approx(22.837726935)  # bias-reduced; the plain one is 22.8217732
    assert found.n_clusters == 4


def test_a_post_without_a_score_is_bounded_never_harmless():
    views = harm_views(np.array([1.0, 0.5, 0.25, 0.25]), np.array([0.4, NAN, 0.0, 0.4]), offsets_of(4))
    assert views.harm[0] == pytest.approx(0.5)
    assert views.scored[0] == 1.5
    assert views.unscored[0] == 0.5
    assert views.share_unscored == 0.25
    # all harmless 0.5 / 2; all harmful 1.0 / 2
    assert views.bounds == (250.0, 500.0)
    both = harm_views(np.ones(2), np.array([0.4, NAN]), offsets_of(1, 1))
    estimate = prevalence(
        harm_views(np.ones(4), np.array([0.4, NAN, 0.2, 0.6]), offsets_of(2, 2)), np.arange(2)
    )
    assert estimate.value == pytest.approx(400)  # of three scored views, not of four
    assert both.bounds == (200.0, 700.0)


def test_harm_is_weighed_by_severity_and_by_dwell():
    dwell = np.array([10.0, 2.0])
    views = harm_views(dwell, np.array([0.5, NAN]), offsets_of(2), severity=np.array([1.0, 3.0]))
    assert views.harm[0] == 5.0
    assert views.unscored_harm[0] == 6.0
    assert views.unscored[0] == 2.0


def test_the_change_of_the_rate_is_the_paired_ratio_change_and_its_reference_agrees():
    data = world(60, 1)
    found = change_of(data)
    assert found.status == "IDENTIFIED"
    first, second = (harm_views(data[name], data["harm"], data["offsets"]) for name in ("first", "second"))
    reference = clustered_ratio_change(
        (first.harm, first.views), (second.harm, second.views), data["cluster"]
    )
    assert found.difference.value == pytest.approx(1000 * reference.value)
    assert found.difference.standard_error == pytest.approx(1000 * reference.standard_error)
    assert found.difference.value == pytest.approx(found.second.value - found.first.value)
    assert found.relative.value == pytest.approx(found.second.value / found.first.value - 1)
    assert found.first_bounds == pytest.approx((found.first.value,) * 2)
    assert found.difference_bounds == pytest.approx((found.difference.value,) * 2)
    assert found.difference.high < 0


def test_a_safer_feed_that_is_read_further_lowers_the_rate_and_not_the_number():
    # 10 users: one harmful view in 4, against one in 8
    offsets = np.arange(0, 81, 8)
    first = np.tile([1.0] * 4 + [0.0] * 4, 10)
    harm = np.tile([1.0] + [0.0] * 7, 10)
    found = harm_change(
        first, np.ones(80), harm, offsets=offsets, cluster=np.arange(10), day=np.zeros(10, int)
    )
    assert found.difference.value == pytest.approx(125 - 250)
    assert found.per_day_difference.value == 0.0
    assert [day.value for day in found.per_day] == [1.0, 1.0]


def test_harm_per_user_day_counts_each_day_of_a_user_once_and_days_without_views():
    views = harm_views(np.array([1.0, 1, 1, 1]), np.array([0.5, 0.5, 1, 0]), offsets_of(1, 1, 2, 0))
    # user 0: two requests on day 0; user 1: one on day 0 and an empty one on day 1
    found = harm_per_user_day(views, np.array([0, 0, 1, 1]), np.array([0, 0, 0, 1]))
    assert found.value == pytest.approx(2.0 / 3)
    # user totals (1, 1) over (1, 2) days: influence (h - r d) / 3
    influence = np.array([1 - 2 / 3, 1 - 4 / 3]) / 3
    assert found.standard_error == pytest.approx(np.sqrt(2 * (influence**2).sum()))


def test_codes_of_users_and_days_may_be_any_numbers():
    data = world(60, 12)
    views = harm_views(data["first"], data["harm"], data["offsets"])
    plain = harm_per_user_day(views, data["cluster"], data["day"])
    hashed = harm_per_user_day(views, data["cluster"] * 10**15 - 7, 20_000 + data["day"])
    spread = harm_per_user_day(views, data["cluster"] + 900, data["day"] + 900)
    assert hashed == plain
    assert spread == plain
    pairs = set(zip(data["cluster"].tolist(), data["day"].tolist(), strict=True))
    assert plain.value == pytest.approx(views.harm.sum() / len(pairs))


def test_harm_per_user_day_takes_unscored_views_for_as_harmful_as_the_others():
    data = world(300, 2)
    rng = np.random.default_rng(0)
    lost = rng.random(len(data["harm"])) < 0.3
    full = harm_views(data["first"], data["harm"], data["offsets"])
    part = harm_views(data["first"], np.where(lost, NAN, data["harm"]), data["offsets"])
    whole, found = (harm_per_user_day(views, data["cluster"], data["day"]) for views in (full, part))
    assert abs(found.value - whole.value) < 4 * found.standard_error
    assert found.value > 1.2 * part.harm.sum() / 500  # the sum of what is scored would be 30 % short


def test_the_error_of_harm_per_user_day_is_that_of_leaving_one_user_out():
    data = world(200, 3)
    lost = np.repeat(data["cluster"] % 2 == 0, 6) & (np.arange(1200) % 6 > 0)  # all but one of half the users
    data["harm"] = np.where(lost, NAN, data["harm"])
    views = harm_views(data["first"], data["harm"], data["offsets"])
    found = harm_per_user_day(views, data["cluster"], data["day"])
    users = np.unique(data["cluster"])
    left = []
    for user in users:
        kept = data["cluster"] != user
        part = type(views)(*(getattr(views, name)[kept] for name in views.__dataclass_fields__))
        left.append(harm_per_user_day(part, data["cluster"][kept], data["day"][kept]).value)
    g = len(users)
    jackknife = np.sqrt((g - 1) / g * ((np.array(left) - np.mean(left)) ** 2).sum())
    assert found.standard_error == pytest.approx(jackknife, rel=0.05)


def test_identical_policies_change_nothing_at_all():
    data = world(30, 4)
    found = change_of(data, second=data["first"])
    for estimate in (found.difference, found.relative, found.per_day_difference):
        assert (estimate.value, estimate.standard_error) == (0.0, 0.0)
    assert found.status == "IDENTIFIED"


def test_too_many_unscored_views_are_refused_and_few_are_bounded():
    data = world(400, 5)
    rng = np.random.default_rng(1)
    few = change_of(data, harm=np.where(rng.random(2400) < 0.01, NAN, data["truth"]))
    assert few.status == "BOUNDED"
    many = change_of(data, harm=np.where(rng.random(2400) < 0.05, NAN, data["truth"]))
    assert many.status == "REFUSED"
    assert "unscored views: expected at most 2.0%, got" in many.reasons[0]
    assert many.difference_bounds[0] < many.difference_bounds[1]


def test_unscored_views_that_differ_between_policies_are_refused():
    # the unscored post is shown to 1 of 100 before, to 1.5 of 100 after
    first, second = np.zeros(400), np.zeros(400)
    first[::4] = second[::4] = 1.0
    first[1], second[1], second[5] = 1.0, 1.0, 0.5
    harm = np.full(400, 0.1)
    harm[[1, 5]] = NAN
    found = harm_change(
        first,
        second,
        harm,
        offsets=np.arange(0, 401, 4),
        cluster=np.arange(100),
        day=np.zeros(100, int),
    )
    assert found.status == "REFUSED"
    assert found.reasons == ("unscored views: expected policies that differ by at most 0.2 points, got 0.49",)


def test_the_bounds_of_a_change_are_those_of_every_possible_truth():
    rng = np.random.default_rng(6)
    harm = np.array([0.3, NAN, 0.1, NAN, NAN, 0.9])
    first, second = rng.random(6), rng.random(6)
    made = []
    for truth in itertools.product([0.0, 1.0], repeat=3):
        full = harm.copy()
        full[np.isnan(harm)] = truth
        made.append(1000 * (second @ full / second.sum() - first @ full / first.sum()))
    assert unscored_change_bounds(first, second, harm) == pytest.approx((min(made), max(made)))
    # a post that both show alike adds nothing to the bounds
    assert unscored_change_bounds(first, first, harm) == pytest.approx((0.0, 0.0))


def test_one_user_is_refused_and_still_bounded():
    data = world(9, 7)
    found = change_of(data, cluster=np.zeros(9, dtype=int))
    assert found.status == "REFUSED"
    assert found.reasons == ("users: expected at least 2, got 1",)
    assert found.difference is None
    assert found.difference_bounds[0] < 0


def test_no_harm_under_both_has_a_difference_and_no_ratio():
    data = world(20, 8)
    found = change_of(data, harm=np.zeros(120))
    assert found.difference.value == 0.0
    assert found.relative is None


def test_what_changed_within_segments_and_by_their_mix_adds_up():
    # D15: shares (.5, .5) -> (.4, .6), rates (.04, .02) -> (.05, .01)
    first = harm_views(np.array([50.0, 50.0]), np.array([0.04, 0.02]), offsets_of(1, 1))
    second = harm_views(np.array([40.0, 60.0]), np.array([0.05, 0.01]), offsets_of(1, 1))
    within, mix = decompose_prevalence(first, second, np.array([0, 1]))
    assert (within, mix) == pytest.approx((-1.0, -3.0))


def test_a_decomposition_of_requests_adds_up_to_the_change_of_the_ratio_of_sums():
    data = world(90, 9)
    first, second = (harm_views(data[name], data["harm"], data["offsets"]) for name in ("first", "second"))
    first = type(first)(first.harm * 2, first.scored * 2, first.unscored, first.unscored_harm)
    within, mix = decompose_prevalence(first, second, np.random.default_rng(0).integers(0, 4, 90))
    assert within + mix == pytest.approx(second.bounds[0] - first.bounds[0])


def test_incidence_by_enumeration_of_depths_and_harms():
    stop, harm = np.array([0.3, 0.2, 0.5]), np.array([0.1, 0.6, 0.3])
    examined = cascade_examination(stop, offsets_of(3))
    ends = [0.3, 0.7 * 0.2, 0.7 * 0.8]  # the last slot takes what is left
    exact = 0.0
    for labels in itertools.product([0, 1], repeat=3):
        chance = np.prod([p if y else 1 - p for p, y in zip(harm, labels, strict=True)])
        exact += sum(chance * end for m, end in enumerate(ends) if any(labels[: m + 1]))
    found = incidence(examined, harm, offsets_of(3))
    assert found.independent[0] == pytest.approx(exact)
    # largest probability, and the sum up to 1, of each prefix
    assert found.low[0] == pytest.approx(np.dot(ends, [0.1, 0.6, 0.6]))
    assert found.high[0] == pytest.approx(np.dot(ends, [0.1, 0.7, 1.0]))


def test_incidence_bounds_hold_what_independence_says_and_meet_it_for_known_labels():
    rng = np.random.default_rng(10)
    offsets = offsets_of(3, 0, 5, 1)
    examined = rbp_examination(offsets, 0.6)
    loose = incidence(examined, rng.random(9), offsets)
    assert (loose.low <= loose.independent).all()
    assert (loose.independent <= loose.high).all()
    assert loose.independent[1] == 0  # an empty slate counts as a request and shows nothing
    sure = incidence(examined, rng.integers(0, 2, 9).astype(float), offsets)
    np.testing.assert_allclose(sure.low, sure.high)


def test_a_session_of_requests_is_like_one_long_slate_for_independent_harms():
    harm, alone = np.array([0.1, 0.3, 0.2, 0.6]), np.ones(4)
    requests = incidence(alone, harm, offsets_of(1, 1, 2))
    found = session_incidence(requests, np.array([7, 7, 3]))
    whole = incidence(alone[[2, 3, 0, 1]], harm[[2, 3, 0, 1]], offsets_of(2, 2))
    for name in ("independent", "low", "high"):
        np.testing.assert_allclose(getattr(found, name), getattr(whole, name))


def test_an_unscored_slot_leaves_incidence_bounded_only():
    found = incidence(np.array([1.0, 0.5, 0.0]), np.array([0.2, NAN, NAN]), offsets_of(3))
    assert np.isnan(found.independent[0])
    assert (found.low[0], found.high[0]) == (0.2, pytest.approx(0.5 * 0.2 + 0.5 * 1.0))
    unseen = incidence(np.array([1.0, 0.0]), np.array([0.2, NAN]), offsets_of(2))
    assert unseen.independent[0] == pytest.approx(0.2)


def test_any_harm_is_bounded_by_its_largest_part_and_the_sum():
    low, high = any_harm_bounds(np.array([[0.3, 0.2], [0.8, 0.7], [0.4, NAN], [NAN, NAN]]))
    assert low.tolist() == [0.3, 0.8, 0.4, 0.0]
    assert high.tolist() == [0.5, 1.0, 1.0, 1.0]


@pytest.mark.parametrize(
    ("examination", "harm", "message"),
    [
        ([1.0, 0.5], [0.1, 1.2], r"row 1: expected .* got examination 0.5, harm 1.2"),
        ([1.0, NAN], [0.1, 0.2], r"row 1: expected .* got examination nan, harm 0.2"),
        ([-1.0, 0.5], [0.1, 0.2], r"row 0: expected .* got examination -1.0, harm 0.1"),
        ([np.inf, 0.5], [0.1, 0.2], r"row 0: expected .* got examination inf"),
        ([1.0], [0.1, 0.2], "examination: expected 2 values, got 1"),
    ],
)
def test_what_is_no_examination_or_probability_is_refused(examination, harm, message):
    with pytest.raises(ValueError, match=message):
        harm_views(np.array(examination), np.array(harm), offsets_of(2))


def test_a_severity_below_0_is_refused():
    with pytest.raises(ValueError, match=r"harm 0.2, severity -1.0"):
        harm_views(np.ones(2), np.array([0.1, 0.2]), offsets_of(2), severity=np.array([1.0, -1.0]))


def test_an_examination_that_rises_has_no_incidence():
    with pytest.raises(ValueError, match="fall down a slate, got"):
        incidence(np.array([0.5, 1.0]), np.zeros(2), offsets_of(2))
    assert incidence(np.array([0.5, 1.0]), np.zeros(2), offsets_of(1, 1)).low.tolist() == [0, 0]


def test_a_policy_that_shows_nothing_is_refused():
    data = world(9, 11)
    with pytest.raises(ValueError, match="at least one view under each policy"):
        change_of(data, second=np.zeros(54))
