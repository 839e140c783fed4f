"""eval.launch_gate: what passes, what does not, and that neither many checks nor many strengths help."""

import json
from pathlib import Path

import numpy as np
import pytest

from eval.clustered import relative_change
from eval.launch_checks import Check, Checked, judged
from eval.launch_dose import dose_responses, largest_safe
from eval.launch_gate import run_gate
from eval.launch_plan import plan_of
from eval.launch_report import write_gate
from eval.launch_verdict import claims_of, passes
from eval.outcomes import standard_outcomes
from eval.study import Arm
from models.scores import HarmScores
from reranker.sample import make_sample
from reranker.value import Harms
from tests.comparisons import harm, swap_feed

ORIGINAL, TREATMENT = Arm("fb-2018-h1"), Arm("fb-2018-h1", ("weights.angry=0",))
UNSEEN = ["shares", "comments", "sessions", "daily_active_users", "time", "original_posts"]


def plan(**changes):
    table = {
        "schema": 1,
        "shown": ["1", "rbp:0.2"],
        "strengths": [0.5, 1.0],
        "harm": {"any": 0.02},
        "ineffective_per_1000": 10.0,
        "own_ruler_counts": False,
        "allow_not_measured": UNSEEN,
    }
    return plan_of(table | changes)


def gated(feed, *more, treatment=TREATMENT, rules=None, planned=None):
    outcomes = (*standard_outcomes(feed), *more)
    return run_gate(feed, None, (ORIGINAL, treatment), outcomes, rules or plan(), planned=planned)


def test_less_harm_and_more_activity_passes():
    feed = swap_feed(40)
    found = gated(feed, harm(feed, 0.5, np.linspace(0.1, 0.2, 40)))
    assert (found.passed, found.reasons, found.safe_strength) == (True, (), 1.0)
    said = {(claim.name, claim.strength): claim for claim in found.claims}
    assert said["thing", 1.0].finding == "decreased"
    assert said["thing", 1.0].counts
    assert said["thing", 0.5].finding == "identical"  # half of angry is still more than the likes
    assert (said["angry_share", 1.0].finding, said["angry_share", 1.0].counts) == ("decreased", False)


def test_more_harm_does_not_pass_and_says_where():
    feed = swap_feed(40)
    found = gated(feed, harm(feed, 0.5, np.linspace(0.6, 0.7, 40)))
    assert not found.passed
    # t(39) = 2.0227 times the standard error, 0.02998 / sqrt(40) / 0.5
    assert found.reasons == ("harm thing (top 1): +30.00% (+28.08% to +31.92%), beyond the margin +2%",)
    assert found.safe_strength == 0.5


def test_too_few_users_do_not_pass_and_how_many_would_is_told():
    rng = np.random.default_rng(3)
    feed = swap_feed(40)
    found = gated(feed, harm(feed, rng.uniform(0, 1, 40), rng.uniform(0, 1, 40)))
    assert not found.passed
    assert any("users would show it if nothing changed" in reason for reason in found.reasons)


def test_one_policy_twice_passes_with_differences_of_exactly_zero_and_says_so():
    feed = swap_feed(40)
    unscored = harm(feed, [np.nan] * 20 + [0.5] * 20, 0.2)
    found = gated(feed, unscored, treatment=ORIGINAL)
    assert found.passed
    assert found.warnings == ("the two policies rank every request alike: every difference is exactly 0",)
    ends = [end for check in found.checks for end in check.ends]
    assert {(end.value, end.standard_error) for end in ends} == {(0.0, 0.0)}


def test_another_plan_than_the_planned_one_does_not_pass():
    feed = swap_feed(40)
    assert gated(feed, planned=plan().digest).passed
    found = gated(feed, planned="0" * 64)
    assert not found.passed
    assert found.reasons[0].startswith("plan: expected the digest 000000000000 that was planned, got")


def test_what_was_not_measured_does_not_pass_unless_the_plan_lets_it_go():
    feed = swap_feed(40)
    found = gated(feed, rules=plan(allow_not_measured=UNSEEN[2:]))
    assert found.reasons == (
        "activity comments, shares: not measured: expected a count of it in the feed, got none",
    )
    named = gated(feed, rules=plan(harm={"any": 0.02, "toxicity": 0.02}))
    assert named.reasons == (
        "harm toxicity: not measured: expected the data to measure it, got nothing that does",
    )


def test_a_gate_without_any_measured_harm_does_not_pass_whatever_the_plan_lets_go():
    feed = swap_feed(40)
    outcome = harm(feed, 0.5, [np.nan, *[0.1] * 39], "toxicity")
    rules = plan(harm={"toxicity": 0.02}, allow_not_measured=[*UNSEEN, "toxicity"])
    found = gated(feed, outcome, rules=rules)
    assert found.reasons == ("harm: expected at least one to be measured, got none",)


@pytest.mark.parametrize(
    ("feed", "rules", "told"),
    [
        (swap_feed(1, 5), plan(), "users: expected at least 2 to gate a launch, got 1"),
        (
            swap_feed(4, angry=None),
            plan(),
            "harm: expected at least one of the plan's outcomes to be measured",
        ),
        (
            swap_feed(4),
            plan(harm={"toxicty": 0.02}),
            r"harm: expected a name that is known, got 'toxicty'; did",
        ),
        (
            swap_feed(4),
            plan(harm={"reactions": 0.02}),
            r"harm: expected a name that is known, got 'reactions'",
        ),
        (swap_feed(4), plan(topics={"sports": 0.1}), r"topics: expected a name that is known, got 'sports'"),
        (
            swap_feed(4),
            plan(allow_not_measured=["tme"]),
            r"allow_not_measured: expected a name that is known",
        ),
        (swap_feed(4), plan(groups={"columns": ["language"]}), "expected the feed to hold language, got no"),
    ],
)
def test_what_cannot_be_gated_is_refused(feed, rules, told):
    with pytest.raises(ValueError, match=told):
        gated(feed, rules=rules)


def sample():
    feed = make_sample(1, n_users=15, n_posts=250, n_requests=20)
    toxic = feed.attributes["is_toxic"].astype(np.float32)
    probability = np.column_stack([0.02 + 0.9 * toxic, np.full(feed.n, 0.1, dtype=np.float32)])
    scores = HarmScores(("toxicity", "civic"), probability, np.ones_like(probability), "truth")
    return feed, Harms(scores, np.full(feed.n, np.nan))


def test_the_same_input_writes_the_same_bytes_and_the_demoters_own_ruler_is_marked(tmp_path: Path):
    feed, harms = sample()
    outcomes = standard_outcomes(feed, harms, attributes=["is_toxic"])
    rules = plan(
        shown=["10%", "rbp:0.8"], topics={"civic": 0.1}, groups={"columns": ["language", "publisher"]}
    )
    done = [
        write_gate(run_gate(feed, harms, (ORIGINAL, Arm("harm-aware")), outcomes, rules), tmp_path / name)
        for name in ("a", "b")
    ]
    for first, second in zip(*done, strict=True):
        assert first.read_bytes() == second.read_bytes()
    found = json.loads(done[0][0].read_text())
    assert found["passed"] is False
    claims = {(one["name"], one["strength"]): one for one in found["claims"]}
    assert claims["toxicity", 1.0]["own_ruler"] is True
    assert claims["toxicity", 1.0]["counts"] is False
    assert claims["is_toxic", 1.0]["own_ruler"] is False
    assert found["plan"]["digest"] == rules.digest
    assert {check["strength"] for check in found["checks"]} == {0.5, 1.0}
    page = done[0][1].read_text()
    assert "Does not pass: fb-2018-h1 → harm-aware" in page
    assert "intersection-union" in page


def test_an_effect_that_turns_back_is_warned_of():
    # requests where the middle strength is far worse than the last: harm by dose is not monotone
    rng = np.random.default_rng(4)
    cluster, base = np.arange(300), rng.uniform(0.4, 0.6, 300)
    once = np.ones(300)
    by_strength = {}
    for strength, rise in ((0.25, 0.05), (0.5, 0.4), (1.0, 0.1)):
        after = base * (1 + rise) + rng.normal(0, 0.05, 300)
        columns = ((base, once), (after, once))
        check = judged(Check("harm", "thing", strength, "top 1", 0.02), (relative_change(*columns, cluster),))
        by_strength[strength] = Checked((check,), {("harm", "thing"): columns})
    found = dose_responses(by_strength, cluster)[0]
    assert found.reversals == ((0.5, 1.0),)
    assert found.safe is None


def test_a_straight_dose_response_has_its_slope_and_its_safe_strength_by_a_line():
    rng = np.random.default_rng(5)
    cluster, base, noise = np.arange(400), rng.uniform(0.4, 0.6, 400), rng.normal(0, 0.02, 400)
    once = np.ones(400)
    by_strength = {}
    for strength in (0.25, 0.5, 1.0):  # harm rises by 10 % at full strength
        after = base * (1 + 0.1 * strength) + strength * noise + rng.normal(0, 0.002, 400)
        columns = ((base, once), (after, once))
        check = judged(Check("harm", "thing", strength, "top 1", 0.06), (relative_change(*columns, cluster),))
        by_strength[strength] = Checked((check,), {("harm", "thing"): columns})
    found = dose_responses(by_strength, cluster)[0]
    assert found.slope == pytest.approx(0.1, abs=0.01)
    assert found.reversals == ()
    assert found.safe == 0.5
    assert found.safe_by_line is not None
    assert 0.5 < found.safe_by_line < 0.6  # 0.06 / 0.1, less what the interval takes


N_STRENGTHS, N_USERS = 12, 60


def launches(n, rise, harms=("a",), seed=0):
    """Checks of `n` launches at many strengths, each truly raising harm by `rise` with noise of its own."""
    rng = np.random.default_rng(seed)
    cluster, once = np.arange(N_USERS), np.ones(N_USERS)
    strengths = np.arange(1, N_STRENGTHS + 1) / N_STRENGTHS
    for _ in range(n):
        made = {}
        for strength in strengths.tolist():
            checks = []
            for name in harms:
                base = rng.gamma(20.0, 0.05, N_USERS)
                after = base * (1 + rise) + rng.normal(0, 0.05, N_USERS)
                end = relative_change((base, once), (after, once), cluster)
                checks.append(judged(Check("harm", name, strength, "top 1", 0.02), (end,)))
            made[strength] = Checked(tuple(checks))
        yield made


def test_a_harmful_policy_passes_in_2_5_percent_of_cases_however_many_strengths_are_hunted_through():
    full = hunted = named_safe = n = 0
    for made in launches(800, rise=0.02):  # at the margin: the hardest harm to tell
        held = {strength: passes(checked.checks) for strength, checked in made.items()}
        n += 1
        full += held[1.0]
        hunted += any(held.values())
        named_safe += largest_safe(held) is not None
    allowed = 0.025 + 4 * (0.025 * 0.975 / n) ** 0.5
    assert 0 < full / n <= allowed
    assert 0 < named_safe / n <= allowed
    assert hunted / n > 0.15  # the best of many strengths, taken as it comes, would


def test_one_broken_guardrail_among_nine_that_hold_is_overlooked_in_2_5_percent_of_cases():
    rng = np.random.default_rng(6)
    n, cluster, once, overlooked = 600, np.arange(N_USERS), np.ones(N_USERS), 0
    for _ in range(n):
        checks = []
        for rise in (0.02, *[-0.5] * 9):
            base = rng.gamma(20.0, 0.05, N_USERS)
            after = base * (1 + rise) + rng.normal(0, 0.05, N_USERS)
            end = relative_change((base, once), (after, once), cluster)
            checks.append(judged(Check("harm", "a", 1.0, "top 1", 0.02), (end,)))
        overlooked += passes(checks)
    assert 0 < overlooked / n <= 0.025 + 4 * (0.025 * 0.975 / n) ** 0.5


def test_claims_over_harms_and_strengths_are_rarely_wrong_together_and_often_one_by_one():
    n, wrong, alone = 100, 0, 0
    for made in launches(n, rise=0.0, harms=("a", "b", "c"), seed=7):
        claims = claims_of(made, (), own_ruler_counts=True)
        assert len(claims) == 3 * N_STRENGTHS
        wrong += any(claim.finding in ("decreased", "increased") for claim in claims)
        alone += any(claim.p <= 0.05 for claim in claims)
    assert wrong / n <= 0.05 + 4 * (0.05 * 0.95 / n) ** 0.5
    assert alone / n > 0.5
