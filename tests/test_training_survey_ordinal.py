"""The ordinal model: statsmodels without people, quadrature of scipy with them, closed forms, differences."""

import numpy as np
import pytest
from scipy import integrate, special, stats

from training.survey_kernel import Answers
from training.survey_ordinal import Design, expected_answers, fit_ordinal, log_likelihood_at


def answers_of(cell, n_items):
    """Each person gave the same number of answers, one after another."""
    starts = np.arange(0, len(cell) + 1, n_items, dtype=np.int64)
    return Answers(starts, np.asarray(cell, dtype=np.int64), np.ones(len(cell), dtype=np.int64))


def drawn(rng, *, n=300, n_items=6, kind=(0.0, 0.8, -0.5), relation=(0.0, -0.7), spread=1.0):
    """Answers 0 to 3 of people, and the design that they come from."""
    design = Design(len(kind), len(relation), 4, 0, 0)
    kinds = rng.integers(0, len(kind), n * n_items)
    relations = rng.integers(0, len(relation), n * n_items)
    latent = np.array(kind)[kinds] + np.array(relation)[relations] + rng.logistic(size=n * n_items)
    latent += np.repeat(spread * rng.normal(size=n), n_items)
    answer = (latent[:, None] > np.array([-1.0, 0.2, 1.5])).sum(axis=1)
    return answers_of((kinds * len(relation) + relations) * 4 + answer, n_items), design


def test_without_levels_of_people_it_is_the_ordered_logit_of_statsmodels():
    from statsmodels.miscmodels.ordinal_model import OrderedModel

    answers, _ = drawn(np.random.default_rng(1), n_items=1, n=900)
    fixed = Design(3, 2, 4, 0, 0, random=False)
    found = fit_ordinal(answers, fixed)
    kind, relation, answer = np.unravel_index(answers.cell, (3, 2, 4))
    x = np.column_stack([kind == 1, kind == 2, relation == 1]).astype(float)
    oracle = OrderedModel(answer, x, distr="logit").fit(method="newton", disp=False)
    assert found.theta[:3] == pytest.approx(oracle.params[:3], abs=1e-5)
    cuts = oracle.model.transform_threshold_params(oracle.params)[1:-1]
    assert found.thresholds() == pytest.approx(cuts, abs=1e-5)
    assert found.log_likelihood == pytest.approx(oracle.llf, abs=1e-6)
    point = log_likelihood_at(answers, fixed, found.theta)
    model_errors = np.sqrt(np.diag(np.linalg.inv(point.information)))
    assert model_errors[:3] == pytest.approx(oracle.bse[:3], rel=1e-3)
    # White's errors of one answer each are those of statsmodels' own scores
    scores = oracle.model.score_obs(oracle.params)
    inverse = np.linalg.inv(-oracle.model.hessian(oracle.params))
    robust = np.sqrt(np.diag(inverse @ scores.T @ scores @ inverse) * 900 / 899)
    assert np.sqrt(np.diag(found.covariance))[:3] == pytest.approx(robust[:3], rel=1e-3)


def test_two_answers_and_one_kind_are_the_logit_of_the_share():
    # 30 of 40 above the threshold: the threshold is -logit(3/4) = -log 3, its robust error sqrt(1/(40 p q))
    answers = answers_of([1] * 30 + [0] * 10, 1)
    found = fit_ordinal(answers, Design(1, 1, 2, 0, 0, random=False))
    assert found.thresholds() == pytest.approx([-np.log(3)], abs=1e-8)
    assert found.covariance[0, 0] == pytest.approx(40 / 39 / (40 * 0.75 * 0.25), rel=1e-8)


def test_two_kinds_and_two_answers_are_the_log_of_the_odds_ratio():
    # odds 6/14 and 15/5: the effect is log(3 / (6/14)) = log 7
    answers = answers_of([1] * 6 + [0] * 14 + [3] * 15 + [2] * 5, 1)
    found = fit_ordinal(answers, Design(2, 1, 2, 0, 0, random=False))
    assert found.kinds() == pytest.approx([0.0, np.log(7)], abs=1e-5)


@pytest.mark.parametrize(("spread", "n_items"), [(0.3, 4), (1.0, 4), (2.5, 4), (1.2, 60)])
def test_the_likelihood_of_a_person_is_the_integral_that_scipy_finds(spread, n_items):
    answers, design = drawn(np.random.default_rng(3), n=3, n_items=n_items, spread=spread)
    theta = np.array([0.8, -0.5, -0.7, -1.0, 0.2, 1.5, np.log(spread)])
    cut = np.array([-np.inf, -1.0, 0.2, 1.5, np.inf])
    effect = np.add.outer([0.0, 0.8, -0.5], [0.0, -0.7])
    total = 0.0
    for who in range(3):
        cell = answers.cell[answers.starts[who] : answers.starts[who + 1]]
        kind, relation, answer = np.unravel_index(cell, (3, 2, 4))

        def density(u, level=effect[kind, relation], answer=answer):
            p = special.expit(cut[answer + 1] - level - u) - special.expit(cut[answer] - level - u)
            return p.prod() * stats.norm.pdf(u, scale=spread)

        value, _ = integrate.quad(density, -8 * spread, 8 * spread, epsabs=0, epsrel=1e-10, limit=500)
        total += np.log(value)
    assert log_likelihood_at(answers, design, theta).log_likelihood == pytest.approx(total, abs=1e-5)


def test_slopes_and_curvature_are_those_of_differences():
    answers, design = drawn(np.random.default_rng(4), n=80)
    theta = np.array([0.6, -0.4, -0.5, -0.9, 0.1, 1.3, 0.2])
    point = log_likelihood_at(answers, design, theta)
    for at, unit in enumerate(1e-5 * np.eye(design.size)):
        up, down = (log_likelihood_at(answers, design, theta + sign * unit) for sign in (1, -1))
        slope = (up.log_likelihood - down.log_likelihood) / 2e-5
        assert point.score.sum(axis=0)[at] == pytest.approx(slope, abs=1e-4)
        curvature = (up.score.sum(axis=0) - down.score.sum(axis=0)) / 2e-5
        assert point.information[at] == pytest.approx(-curvature, abs=1e-3)


def test_a_count_of_two_is_two_rows():
    answers, design = drawn(np.random.default_rng(5), n=60)
    twice = Answers(answers.starts, answers.cell, 2 * answers.times)
    rows = Answers(2 * answers.starts, np.repeat(answers.cell, 2), np.repeat(answers.times, 2))
    theta = np.array([0.6, -0.4, -0.5, -0.9, 0.1, 1.3, 0.2])
    assert log_likelihood_at(twice, design, theta).log_likelihood == pytest.approx(
        log_likelihood_at(rows, design, theta).log_likelihood, abs=1e-9
    )


@pytest.mark.parametrize("seed", [9, 11, 12])
def test_people_who_do_not_differ_get_no_level_of_their_own(seed):
    # of samples without spread about half have their maximum at 0: these three
    answers, design = drawn(np.random.default_rng(seed), n=400, spread=0.0, n_items=2)
    found = fit_ordinal(answers, design)
    assert found.spread == 0.0
    assert not found.design.random
    fixed = fit_ordinal(answers, Design(3, 2, 4, 0, 0, random=False))
    assert found.log_likelihood == fixed.log_likelihood
    ends = [np.append(fixed.theta, np.log(spread)) for spread in (0.1, 0.2, 0.4)]
    assert max(log_likelihood_at(answers, design, theta).log_likelihood for theta in ends) < (
        fixed.log_likelihood + 1e-3
    )


def test_an_effect_that_runs_off_is_named():
    # the second kind is always above the first's answers, but not always at the top
    cell = [0, 1] * 60 + [6, 7] * 60
    found = fit_ordinal(answers_of(cell, 2), Design(2, 1, 4, 0, 0))
    assert found.separated == (0,)


def test_the_mean_answer_is_that_of_a_large_draw():
    answers, design = drawn(np.random.default_rng(9), n=2_000)
    found = fit_ordinal(answers, design)
    rng = np.random.default_rng(10)
    share = np.array([0.3, 0.7])
    relation = found.relations()[rng.choice(2, 400_000, p=share)]
    latent = relation + found.spread * rng.normal(size=400_000) + rng.logistic(size=400_000)
    means = expected_answers(found, share, np.array([0.0, 1.0, 2.0, 4.0]))
    for effect, mean in zip(found.kinds(), means, strict=True):
        answer = ((latent + effect)[:, None] > found.thresholds()).sum(axis=1)
        assert mean == pytest.approx(np.array([0.0, 1.0, 2.0, 4.0])[answer].mean(), abs=0.012)  # 4 errors
