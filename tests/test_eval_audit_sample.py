import itertools

import numpy as np
import pytest

from eval.audit_balance import Balance, balance
from eval.audit_design import (
    audit_sizes,
    draw_audit,
    inclusion_probabilities,
    labels_needed,
    neyman_allocation,
)
from eval.audit_sample import (
    Audit,
    _effective_df,
    audited_change,
    audited_prevalence,
    audited_relative_change,
    hajek,
    hajek_change,
)
from eval.misclassification import rogan_gladen, rogan_gladen_change

NAN = np.nan


def test_hajek_meets_the_published_numbers():
    # D11
    label, chance = np.array([1.0, 0, 1, 0, 0, 1]), np.array([0.5, 0.5, 0.1, 0.1, 0.05, 0.05])
    found = hajek(label, chance, np.array([100.0, 200, 50, 80, 500, 10]))
    assert found.value == pytest.approx(0.07438016529)
    assert found.standard_error == pytest.approx(0.07259918)
    assert found.degrees_of_freedom == 5


def test_labelling_everything_leaves_no_doubt_about_these_views():
    found = hajek(np.array([1.0, 0, 0, 1]), np.ones(4), np.array([1.0, 2, 3, 4]))
    assert (found.value, found.standard_error) == (0.5, 0.0)


def test_rogan_gladen_meets_the_published_number_and_carries_its_warning():
    value, warning = rogan_gladen(0.04, 0.7, 0.98)
    assert value == pytest.approx(0.0294117647)  # D12
    assert "same" not in warning
    assert "a policy that selects by the score breaks this" in warning
    # forth and back
    for truth in (0.0, 0.1, 0.9):
        assert rogan_gladen(truth * 0.7 + (1 - truth) * 0.02, 0.7, 0.98)[0] == pytest.approx(truth)
    assert rogan_gladen_change(-0.0068, 0.7, 0.98)[0] == pytest.approx(-0.01)
    with pytest.raises(ValueError, match="expected more than 1, got"):
        rogan_gladen(0.04, 0.5, 0.5)


def test_chances_are_in_proportion_to_size_up_to_certainty():
    size = np.array([100.0, 4, 3, 2, 1, 0])
    chance = inclusion_probabilities(size, 3)
    assert chance.sum() == pytest.approx(3)
    np.testing.assert_allclose(chance, [1, 0.8, 0.6, 0.4, 0.2, 0])
    assert inclusion_probabilities(size, 5).tolist() == [1, 1, 1, 1, 1, 0]
    with pytest.raises(ValueError, match="at most 5 items, got 6"):
        inclusion_probabilities(size, 6)


def test_sizes_are_the_change_of_views_or_the_views_times_the_doubt():
    assert audit_sizes(np.array([-3.0, 0, 2])).tolist() == [3, 0, 2]
    # ten views of a post in the balance, twenty of one that the score is sure of
    np.testing.assert_allclose(audit_sizes(np.array([10.0, 20]), np.array([0.5, 0])), [10 * 0.26**0.5, 2.0])


def test_draws_meet_their_chances_and_repeat_with_their_seed():
    chance = np.tile([0.1, 0.5, 1.0], 4000)
    drawn = draw_audit(chance, seed=1)
    rates = drawn.reshape(-1, 3).mean(axis=0)
    assert (np.abs(rates - chance[:3]) <= 4 * np.sqrt(chance * (1 - chance) / 4000)[:3]).all()
    assert (drawn == draw_audit(chance, seed=1)).all()


def test_neymans_allocation_is_the_best_of_all():
    # the variance sum of (W S)^2 (1 / n_h - 1 / N_h), over every split of 12 labels
    weight, deviation, size = np.array([0.7, 0.25, 0.05]), np.array([0.1, 0.4, 0.5]), np.array([90, 20, 10])

    def variance(n: tuple[int, ...]) -> float:
        return float(((weight * deviation) ** 2 / np.array(n)).sum())

    best = min(
        (n for n in itertools.product(range(2, 9), repeat=3) if sum(n) == 12 and (n <= size).all()),
        key=variance,
    )
    assert tuple(neyman_allocation(weight, deviation, size, 12)) == best


def test_an_allocation_never_asks_for_more_than_there_is_and_adds_up():
    rng = np.random.default_rng(2)
    for _ in range(50):
        size = rng.integers(0, 30, 6)
        least, most = np.minimum(size, 2).sum(), size.sum()
        n = int(rng.integers(least, most + 1))
        made = neyman_allocation(rng.random(6), rng.choice([0.0, 0.1, 0.5], 6), size, n)
        assert made.sum() == n
        assert (made <= size).all()
        assert (made >= np.minimum(size, 2)).all()
    with pytest.raises(ValueError, match="n_labels: expected 4 to 20, got 3"):
        neyman_allocation(np.ones(2), np.ones(2), np.array([10, 10]), 3)


def test_a_relative_error_of_a_fifth_needs_25_positives():
    # (1 - p) / (p * .04) labels
    assert labels_needed(0.001) == 24975
    assert labels_needed(0.001, design_effect=2) == 49950
    with pytest.raises(ValueError, match="prevalence: expected a number in"):
        labels_needed(0.0)


def full(score: np.ndarray, label: np.ndarray) -> Audit:
    return Audit(score, label, np.ones(len(score)))


def strata(truth: tuple[float, float]) -> tuple[float, float]:
    """(what the model says, the audited change) as angry goes to 0; high-angry posts, and others."""
    item = np.array([0, 1, 0, 1])
    first, second = np.tile([0.2, 0.8], 2), np.tile([0.1, 0.9], 2)
    audit = full(np.array([0.30, 0.02]), np.array(truth))
    found = audited_relative_change(first, second, item, audit, cluster=np.array([0, 0, 1, 1]))
    return found.model, found.estimate.value


def test_the_policy_itself_shifts_what_the_model_is_wrong_about():
    model, audited = strata((0.15, 0.05))
    assert model == pytest.approx(-0.368, abs=5e-4)
    assert audited == pytest.approx(-0.143, abs=5e-4)
    model, audited = strata((0.15, 0.16))  # and the sign of the truth may be the other one
    assert model == pytest.approx(-0.368, abs=5e-4)
    assert audited == pytest.approx(0.006, abs=5e-4)


def own_ruler(n_labels: int) -> tuple[float, float, float]:
    """(measured by the classifier that demotes, audited, its standard error), recall .5 and FPR .01."""
    n = 100_000
    truth = (np.arange(n) < 0.02 * n).astype(float)
    flagged = np.zeros(n)
    flagged[: n // 100] = 1.0  # half of 2 %
    flagged[-round(0.01 * 0.98 * n) :] = 1.0
    first, second = np.ones(n), 1.0 - flagged
    score = 0.25 * flagged + 0.01
    chance = inclusion_probabilities(audit_sizes(np.ones(n), score), n_labels)
    drawn = draw_audit(chance, seed=5)
    audit = Audit(flagged, np.where(drawn, truth, NAN), chance)
    found = audited_relative_change(first, second, np.arange(n), audit, cluster=np.arange(n))
    return found.model, found.estimate.value, found.estimate.standard_error


def test_a_classifier_that_measures_its_own_work_sees_all_harm_gone():
    measured, audited, _ = own_ruler(100_000)
    assert measured == -1.0
    assert audited == pytest.approx(-0.490, abs=5e-4)
    measured, audited, error = own_ruler(8000)
    assert measured == -1.0
    assert abs(audited + 0.49) < 4 * error
    assert error < 0.1


def test_labels_of_all_make_the_score_irrelevant():
    rng = np.random.default_rng(6)
    label, item, user = rng.integers(0, 2, 30).astype(float), rng.integers(0, 30, 200), np.arange(200) // 10
    seen = rng.random(200)
    plain = audited_prevalence(seen, item, full(label, label), user)
    wrong = audited_prevalence(seen, item, full(1 - label, label), user)
    assert wrong.estimate.value == pytest.approx(seen @ label[item] / seen.sum())
    assert wrong.estimate.value == pytest.approx(plain.estimate.value)
    assert wrong.estimate.standard_error == pytest.approx(plain.estimate.standard_error)
    assert wrong.model == pytest.approx(seen @ (1 - label)[item] / seen.sum())
    assert plain.n_positive == int(label.sum())
    assert not plain.enough


def test_expectations_over_every_possible_draw_are_the_truth():
    # all 2^4 samples of 4 items with their chances: unbiased to the last digit, for level and change
    score, label, chance = (
        np.array([0.1, 0.9, 0.4, 0.2]),
        np.array([1.0, 0, 1, 0]),
        np.array([0.5, 0.9, 0.3, 1]),
    )
    item, user = np.array([0, 1, 2, 3, 0, 2, 1, 3]), np.array([0, 0, 0, 0, 1, 1, 1, 1])
    first, second = np.array([1.0, 0.5, 0.2, 0.1] * 2), np.array([0.1, 0.5, 0.6, 1.0] * 2)
    level = change = drawing = 0.0
    truth = first @ label[item] / first.sum()
    for picks in itertools.product([False, True], repeat=4):
        drawn = np.array(picks)
        p = np.prod(np.where(drawn, chance, 1 - chance))
        if drawn.sum() < 2:
            continue  # refused; made up for below
        audit = Audit(score, np.where(drawn, label, NAN), chance)
        level += p * audited_prevalence(first, item, audit, user).estimate.value
        found = audited_change(first, second, item, audit, cluster=user)
        change += p * found.estimate.value
        drawing += p
    few = [
        (np.prod(np.where(d, chance, 1 - chance)), score + np.where(d, (label - score) / chance, 0.0))
        for d in map(np.array, itertools.product([False, True], repeat=4))
        if d.sum() < 2
    ]
    level += sum(p * (first @ c[item]) / first.sum() for p, c in few)
    change += sum(p * (second @ c[item] / second.sum() - first @ c[item] / first.sum()) for p, c in few)
    assert level == pytest.approx(truth)
    assert change == pytest.approx(second @ label[item] / second.sum() - truth)
    assert drawing + sum(p for p, _ in few) == pytest.approx(1)


def test_intervals_cover_the_truth_over_users_and_draws():
    rng = np.random.default_rng(7)
    m, users, each = 400, 150, 12
    label = (rng.random(m) < 0.2).astype(float)
    score = np.clip(0.4 * label + 0.3 * rng.random(m), 0, 1)  # far from calibrated
    popularity = rng.dirichlet(np.full(m, 0.7))
    liking = rng.random(m)
    weights = 0.2 + 0.8 * liking, 0.2 + 0.8 * np.clip(liking - 0.3 * score, 0, 1)
    levels = [float(popularity * w @ label / (popularity @ w)) for w in weights]
    chance = inclusion_probabilities(audit_sizes(popularity, score), 120)
    user = np.repeat(np.arange(users), each)
    hits, replicates = np.zeros(3), 300
    for replicate in range(replicates):
        # seven views in ten of a user are of one item, so that the views of a user are alike
        item = rng.choice(m, users * each, p=popularity)
        item = np.where(rng.random(len(item)) < 0.3, item, item[np.repeat(np.arange(users) * each, each)])
        drawn = draw_audit(chance, seed=replicate)
        audit = Audit(score, np.where(drawn, label, NAN), chance)
        first, second = (w[item] for w in weights)
        made = (
            audited_prevalence(first, item, audit, user).estimate,
            audited_change(first, second, item, audit, cluster=user).estimate,
            hajek_change(first, second, item, audit, cluster=user).estimate,
        )
        for i, truth in enumerate((levels[0], levels[1] - levels[0], levels[1] - levels[0])):
            hits[i] += made[i].low <= truth <= made[i].high
    # 4 standard errors of a share of 300 at 95 %
    assert (np.abs(hits / replicates - 0.95) < 4 * np.sqrt(0.95 * 0.05 / replicates)).all()


def test_the_noise_of_drawing_counts_once_where_every_user_saw_something_else():
    rng = np.random.default_rng(10)
    n, chance, values, variances = 300, np.full(300, 0.15), [], []
    for replicate in range(600):
        label = (rng.random(n) < 0.3).astype(float)
        drawn = draw_audit(chance, seed=replicate)
        audit = Audit(np.full(n, 0.1), np.where(drawn, label, NAN), chance)
        found = audited_prevalence(np.ones(n), np.arange(n), audit, np.arange(n)).estimate
        values.append(found.value)
        variances.append(found.standard_error**2)
    # 4 standard errors of a variance from 600 values are 23 %; counted twice, it would be some 90 % too much
    assert np.mean(variances) == pytest.approx(np.var(values), rel=0.23)


def test_labels_on_what_changes_are_worth_many_labels_on_what_is_seen():
    rng = np.random.default_rng(8)
    m = 2000
    label = (rng.random(m) < 0.1).astype(float)
    score = np.full(m, 0.1)
    first = rng.gamma(1, 1, m)
    second = first.copy()
    moved = rng.choice(m, 200, replace=False)  # a tenth of the posts change places
    second[moved] = first[moved[::-1]]
    shift = second / second.sum() - first / first.sum()
    spread = []
    for weight in (first, shift):
        chance = inclusion_probabilities(audit_sizes(weight, score), 100)
        made = []
        for seed in range(100):
            audit = Audit(score, np.where(draw_audit(chance, seed=seed), label, NAN), chance)
            found = audited_change(first, second, np.arange(m), audit, cluster=np.arange(m))
            made.append(found.estimate.value)
        spread.append(np.std(made))
        assert abs(np.mean(made) - shift @ label) < 4 * spread[-1] / 10
    assert spread[0] > 3 * spread[1]  # some ten times the labels for the same error


def test_identical_policies_differ_by_exactly_nothing():
    rng = np.random.default_rng(9)
    chance = np.full(20, 0.5)
    audit = Audit(rng.random(20), np.where(rng.random(20) < 0.5, 1.0, NAN), chance)
    seen, item, user = rng.random(60), rng.integers(0, 20, 60), np.arange(60) // 3
    found = audited_change(seen, seen, item, audit, cluster=user).estimate
    assert (found.value, found.standard_error) == (0.0, 0.0)


def test_a_change_from_labels_alone_is_the_difference_of_two_ratios_by_hand():
    # 0.5 / 0.7 of the labelled views, by their chances, against 0.4 / 1.6; from item 0 alone, and so on
    chance, label = np.array([0.5, 0.25, 1.0]), np.array([1.0, 0.0, 0.0])
    audit = Audit(np.array([0.9, 0.1, 0.5]), label, chance)
    first, second = np.array([4.0, 1, 1]), np.array([1.0, 4, 1])
    found = hajek_change(first, second, np.arange(3), audit, cluster=np.arange(3))
    before, after = 8 / (8 + 4 + 1), 2 / (2 + 16 + 1)
    assert found.estimate.value == pytest.approx(after - before)
    assert found.model == pytest.approx((0.9 + 0.4 + 0.5) / 6 - (3.6 + 0.1 + 0.5) / 6)
    # each item is its own user, so that the drawing is in the spread of users and counts once
    z = second / 19 * (label - after) / chance - first / 13 * (label - before) / chance
    assert found.estimate.standard_error == pytest.approx(np.sqrt(3 / 2 * (z @ z)))


def test_a_change_from_labels_of_everything_is_the_change_of_the_labels_whatever_the_score():
    rng = np.random.default_rng(12)
    label, item, user = rng.integers(0, 2, 30).astype(float), rng.integers(0, 30, 200), np.arange(200) // 10
    first, second = rng.random(200), rng.random(200)
    plain = hajek_change(first, second, item, full(1 - label, label), cluster=user)
    known = audited_change(first, second, item, full(label, label), cluster=user)
    assert plain.estimate.value == pytest.approx(known.estimate.value)
    assert plain.estimate.standard_error == pytest.approx(known.estimate.standard_error)
    assert hajek_change(first, first, item, full(label, label), cluster=user).estimate.value == 0.0
    with pytest.raises(ValueError, match="labels: expected some on items that are viewed"):
        hajek_change(first, second, item, full(label, np.full(30, NAN)), cluster=user)


def test_degrees_of_freedom_are_as_few_as_the_labels_that_decide() -> None:
    rng = np.random.default_rng(14)
    m = 2_000
    label = (rng.random(m) < 0.5).astype(float)
    audit = full(np.full(m, 0.5), label)
    even, seen = np.ones(m), np.ones(m)
    found = audited_prevalence(even, np.arange(m), audit, np.arange(m)).estimate
    assert found.degrees_of_freedom == pytest.approx(m - 1, rel=0.1)
    seen[:5] = 1_000.0  # five posts have most of the views
    few = audited_prevalence(seen, np.arange(m), audit, np.arange(m)).estimate
    assert 1 <= few.degrees_of_freedom < 12
    half = 0.5 * (few.high - few.low)
    assert half > 2.1 * few.standard_error
    # and of normal parts it is the number of users, less 1
    values = rng.normal(size=m)
    assert _effective_df(values - values.mean(), m) == pytest.approx(m - 1, rel=0.2)


def test_right_chances_balance_and_wrong_ones_or_lost_labels_do_not():
    rng = np.random.default_rng(13)
    m = 4_000
    views = rng.gamma(1, 1, m)
    chance = inclusion_probabilities(audit_sizes(views, np.full(m, 0.1)), 600)
    z = []
    for seed in range(200):
        drawn = draw_audit(chance, seed=seed)
        found = balance(views, np.arange(m), Audit(np.zeros(m), np.where(drawn, 0.0, NAN), chance))
        z.append(found.z)
        if seed == 0:
            assert found.share == pytest.approx((views / chance)[drawn].sum() / views.sum())
            # a third of the labels never came back
            kept = drawn & (rng.random(m) > 1 / 3)
            lost = balance(views, np.arange(m), Audit(np.zeros(m), np.where(kept, 0.0, NAN), chance))
            assert lost.share == pytest.approx(2 / 3, abs=0.1)
            assert lost.z < -3
            # chances written down as half of what they were
            half = balance(views, np.arange(m), Audit(np.zeros(m), np.where(drawn, 0.0, NAN), chance / 2))
            assert half.share == pytest.approx(2 * found.share)
            assert half.z > 3
    assert np.std(z) == pytest.approx(1.0, abs=4 / np.sqrt(2 * 200))
    assert abs(np.mean(z)) < 4 / np.sqrt(200)


def test_a_census_balances_exactly_and_one_that_left_items_out_does_not():
    views = np.array([3.0, 2, 1])
    assert balance(views, np.arange(3), full(np.zeros(3), np.zeros(3))) == Balance(1.0, 0.0)
    missing = Audit(np.zeros(3), np.array([0.0, 1.0, NAN]), np.ones(3))
    found = balance(views, np.arange(3), missing)
    assert (found.share, found.z) == (5 / 6, -np.inf)
    assert balance(np.zeros(3), np.arange(3), missing) == Balance(1.0, 0.0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Audit(np.array([0.1]), np.array([1.0]), np.array([0.0])), r"chances in \(0, 1\]"),
        (lambda: Audit(np.array([NAN]), np.array([1.0]), np.array([0.5])), "none missing"),
        (lambda: Audit(np.ones(2), np.ones(1), np.ones(2)), "expected equal lengths, got 2, 1 and 2"),
        (
            lambda: hajek(np.array([1.0]), np.array([0.5]), np.ones(1)),
            "at least 2 on items with views, got 1",
        ),
        (
            lambda: audited_prevalence(
                np.ones(3),
                np.arange(3),
                Audit(np.zeros(3), np.array([1.0, 0, NAN]), np.array([1.0, 1, 0])),
                np.arange(3),
            ),
            "got 0 for 1 of them",
        ),
        (
            lambda: audited_prevalence(
                np.ones(3), np.arange(3), full(np.zeros(3), np.ones(3)), np.zeros(3, int)
            ),
            "at least 2 users and 2 labels, got 1 and 3",
        ),
        (
            lambda: audited_prevalence(
                np.zeros(3), np.arange(3), full(np.zeros(3), np.ones(3)), np.arange(3)
            ),
            "a sum above 0",
        ),
    ],
)
def test_what_no_audit_can_say_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
