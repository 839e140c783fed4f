"""Logs without scores, of a policy that is known to have served them."""

import dataclasses

import numpy as np

from eval.logged import compare_logged
from eval.logged_comparison import LoggedComparison, LoggedSettings
from eval.logged_policy import LOGGER, LogPolicy
from eval.logged_report import as_json
from eval.logged_scores import with_scores
from eval.logged_values import expected_steps
from eval.simulate.impressions import impression_log
from eval.simulate.testbed import WEIGHTS, angry_zero, logged
from reranker.impressions import ImpressionLog

HEAT = 0.4
ORIGINAL = LogPolicy("angry at 5", WEIGHTS, scale="log", temperature=HEAT)
TREATMENT = LogPolicy("angry at 0", angry_zero(), scale="log", temperature=HEAT)
WHOLE = impression_log(logged(1_300, 2, HEAT, 4))
WHOLE = dataclasses.replace(WHOLE, action={"like": WHOLE.action["like"]})
BARE = dataclasses.replace(WHOLE, score=np.full(WHOLE.n_candidates, np.nan), temperature=None, from_rank=None)


def compared(log: ImpressionLog, original: LogPolicy = ORIGINAL) -> LoggedComparison:
    return compare_logged([log], original, TREATMENT, settings=LoggedSettings(n_draws=4))


def z_of_means(found: LoggedComparison) -> list[float]:
    checks = [check for check in found.gates[1].checks if check.code.startswith("MEAN_WEIGHT")]
    assert len(checks) == 2
    return [round(check.value, 6) for check in checks]


def test_a_log_without_scores_is_held_to_the_test_of_one_with_them_where_the_policy_is_known() -> None:
    whole, bare = compared(WHOLE), compared(BARE)
    assert z_of_means(bare) == z_of_means(whole)
    assert as_json(bare)["rows"] == as_json(whole)["rows"]
    blind = compared(BARE, LogPolicy(LOGGER, None))
    assert z_of_means(blind) != z_of_means(whole)


def test_scores_are_taken_from_the_policy_only_where_they_were_not_logged() -> None:
    assert with_scores(WHOLE, TREATMENT) is WHOLE
    found = with_scores(BARE, ORIGINAL)
    np.testing.assert_allclose(found.score, WHOLE.score, rtol=1e-12)
    np.testing.assert_allclose(expected_steps(found), expected_steps(WHOLE), rtol=1e-9)


def test_a_policy_that_did_not_serve_the_log_adds_nothing_to_it() -> None:
    # twice the logger's weight of a like: its scores would say how much another ranker draws
    other = LogPolicy("likes", WEIGHTS | {"like": 2.0}, scale="log", temperature=HEAT)
    assert z_of_means(compared(BARE, other)) == z_of_means(compared(BARE, LogPolicy(LOGGER, None)))
