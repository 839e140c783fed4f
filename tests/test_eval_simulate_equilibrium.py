"""Where publishers settle: closed forms of the fit, of the way there, of one or several equilibria."""

import numpy as np
import pytest
from scipy.special import expit, logit

from eval.simulate.equilibrium import (
    GRID,
    LEANINGS,
    Response,
    calibrate,
    first_week,
    fixed_points,
    settle,
    state_of,
    with_gain,
)
from eval.simulate.reach import Reach
from eval.simulate.two_parties import NODES, Rivalry, calibrate_pair, play

FULL = float(np.log(4.0))  # the reward gap whose best share is 80 % at a gain of 1


def reach_of(gap: float, name: str = "policy", slope: float = 0.0) -> Reach:
    """What a policy gives whose gap is this at a half and rises by `slope` per unit of the share."""
    shares = np.linspace(0.02, 0.98, 7)
    gaps = gap + slope * (shares - 0.5)
    return Reach(
        policy=name,
        digest=name,
        shares=shares,
        negative=1.0 + (1.0 - shares) * gaps,
        other=1.0 - shares * gaps,
        people=np.ones((7, 2)),
        mean=np.ones(7),
        batches=np.tile(gaps, (10, 1)),
    )


def many(gain: float, *, rate: float = 0.15, spread: float = 0.0, leaning: float = 0.0) -> Response:
    return Response("many", gain, leaning, rate, spread, 0.5)


@pytest.mark.parametrize("kind", ["many", "alone"])
def test_the_fit_puts_the_party_at_both_shares_whatever_the_others_do(kind) -> None:
    before, after = reach_of(0.0, "before"), reach_of(0.3, "after", slope=-0.1)
    response = calibrate(before, after, (0.5, 0.8), kind=kind, rate=0.15, spread=0.7)
    for reach, share in ((before, 0.5), (after, 0.8)):
        path = settle(response, reach.gap_at(GRID), 0.8, 1)
        assert path.settled == pytest.approx(share, abs=2e-4)  # of a grid of a thousand
    if kind == "many":  # those with a leaning of their own are not all at 80 %: the mean is below it
        assert path.settled_share == pytest.approx(expit(logit(0.8) + 0.7 * LEANINGS).mean(), abs=2e-4)
        assert path.settled_share < 0.8
    else:
        assert path.settled_share == pytest.approx(path.settled)


def test_half_and_a_quarter_of_the_reward_give_two_thirds_and_586() -> None:
    response = calibrate(
        reach_of(0.0, "before"), reach_of(FULL, "after"), (0.5, 0.8), kind="many", rate=0.15, spread=0.0
    )
    assert response.gain == pytest.approx(1.0)
    for part, share in ((0.5, 2 / 3), (0.25, 4**0.25 / (1 + 4**0.25))):
        (point,) = fixed_points(response, np.full(len(GRID), part * FULL))
        assert point.party == pytest.approx(share, abs=1e-6)
        assert point.stable


def test_the_way_back_is_geometric_and_its_weeks_are_counted() -> None:
    path = settle(many(1.0), np.zeros(len(GRID)), 0.8, 30)
    np.testing.assert_allclose(path.party, 0.5 + 0.3 * 0.85 ** np.arange(31), atol=1e-12)
    assert first_week(path.party, 0.65) == 5  # 0.85**4 = 0.522, 0.85**5 = 0.444
    assert first_week(path.party, 0.55) == 12  # ln 6 / -ln 0.85 = 11.03
    assert first_week(path.party, 0.4) is None


def test_a_reward_that_rises_with_the_share_has_three_equilibria_of_which_the_middle_is_unstable() -> None:
    gap = GRID - 0.5
    points = fixed_points(many(6.0), gap)
    assert [point.stable for point in points] == [True, False, True]
    for point in points:
        assert point.share == pytest.approx(expit(6.0 * (point.share - 0.5)), abs=1e-5)
    assert points[1].share == pytest.approx(0.5)
    assert points[1].slope == pytest.approx(1.5, abs=1e-3)  # gain / 4
    assert settle(many(6.0), gap, 0.8, 5).settled == pytest.approx(points[2].share, abs=1e-4)
    assert settle(many(6.0), gap, 0.2, 5).settled == pytest.approx(points[0].share, abs=1e-4)


def test_publishers_who_all_jump_at_once_to_what_nobody_else_does_never_settle() -> None:
    gap = 2.0 * (0.5 - GRID)
    (point,) = fixed_points(many(6.0, rate=1.0), gap)
    assert not point.stable
    with pytest.raises(ValueError, match=r"expected an equilibrium.*gain 6, adaptation rate 1"):
        settle(many(6.0, rate=1.0), gap, 0.8, 5)
    assert settle(many(6.0, rate=0.2), gap, 0.8, 5).settled == pytest.approx(0.5, abs=1e-4)


def test_another_gain_leaves_the_share_before_where_it_is() -> None:
    before, after = reach_of(0.1, "before"), reach_of(0.4, "after")
    response = calibrate(before, after, (0.5, 0.8), kind="many", rate=0.15, spread=0.4)
    assert with_gain(response, 1.0, 0.5).leaning == pytest.approx(response.leaning)
    stronger = with_gain(response, 1.5, 0.5)
    assert settle(stronger, before.gap_at(GRID), 0.8, 1).settled == pytest.approx(0.5, abs=1e-4)
    assert settle(stronger, after.gap_at(GRID), 0.8, 1).settled == pytest.approx(expit(1.5 * FULL), abs=1e-4)


def test_leanings_average_to_none() -> None:
    assert state_of(0.5, 0.8).mean() == pytest.approx(0.5)
    assert LEANINGS.std() == pytest.approx(1.0, abs=0.05)


@pytest.mark.parametrize(
    ("gaps", "shares", "message"),
    [
        ((0.3, 0.3), (0.5, 0.8), "reward negative posts differently"),
        ((0.3, 0.1), (0.5, 0.8), "to reward them more"),
        ((0.0, 0.3), (0.5, 1.0), "share after: expected a number between 0 and 1, got 1.0"),
        ((0.0, 0.3), (0.0, 0.8), "share before"),
        ((0.0, 0.3), (0.5, 0.5), "two different ones"),
    ],
)
def test_a_fit_that_is_impossible_is_refused(gaps, shares, message) -> None:
    ends = reach_of(gaps[0], "before"), reach_of(gaps[1], "after")
    with pytest.raises(ValueError, match=message):
        calibrate(*ends, shares, kind="many", rate=0.15, spread=0.0)


def test_a_difference_within_the_error_of_the_pools_is_no_difference() -> None:
    rng = np.random.default_rng(0)
    before, after = reach_of(0.30, "before"), reach_of(0.31, "after")
    after.batches[:] += 0.02 * rng.standard_normal((10, 1))
    with pytest.raises(ValueError, match="standard error of the difference"):
        calibrate(before, after, (0.5, 0.8), kind="many", rate=0.15, spread=0.0)
    with pytest.raises(ValueError, match="weeks: expected at least 1"):
        settle(many(1.0), np.zeros(len(GRID)), 0.8, 0)


def rivalry(slope: float, level: float = 0.0, name: str = "policy") -> Rivalry:
    """Two parties whose reward gap depends on the rival alone."""
    nodes = np.array(NODES)
    return Rivalry(name, np.tile(level + slope * (nodes - 0.5), (len(nodes), 1)), np.ones((5, 5)))


def test_where_attack_calls_for_attack_both_extremes_are_stable_and_the_middle_is_not() -> None:
    game = play(rivalry(1.0), (6.0, 0.0), 0.15, (0.5, 0.8), 20)
    assert [point.stable for point in game.points] == [True, False, True]
    for point in game.points:
        own, other = point.shares
        assert own == pytest.approx(other, abs=1e-6)
        assert own == pytest.approx(expit(6.0 * (own - 0.5)), abs=1e-6)
    assert game.points[1].modulus == pytest.approx(1 + 0.15 * 0.5, abs=1e-4)  # gain / 4 - 1 = 1/2
    assert game.settled == pytest.approx(game.points[2].shares[0], abs=1e-4)
    assert game.answer == pytest.approx(6.0 * game.settled * (1 - game.settled), abs=1e-3)
    np.testing.assert_allclose(game.rival_alone, 0.5, atol=1e-6)  # held at a half, nothing is rewarded
    assert len(game.path) == 21


def test_where_attack_crowds_out_attack_one_party_attacks_and_the_other_does_not() -> None:
    game = play(rivalry(-1.0), (6.0, 0.0), 0.15, (0.5, 0.6), 5)
    assert [point.stable for point in game.points] == [True, False, True]
    low, high = game.points[0].shares
    assert low < 0.2 < 0.8 < high
    assert game.points[2].shares == pytest.approx((high, low), abs=1e-6)
    assert game.answer < 0


def test_a_weak_answer_has_one_equilibrium() -> None:
    game = play(rivalry(0.5, level=0.3), (3.0, 0.0), 0.15, (0.5, 0.8), 5)
    assert len(game.points) == 1
    assert game.points[0].stable
    assert (np.diff(game.curve) > 0).all()


def test_two_parties_are_fitted_to_the_same_figure() -> None:
    before, after = rivalry(0.0, 0.0, "before"), rivalry(0.2, 0.2, "after")
    pair = calibrate_pair(before, after, (0.5, 0.8), (reach_of(0.0, "before"), reach_of(0.2, "after")))
    assert pair[0] * (0.2 + 0.2 * 0.3) + pair[1] == pytest.approx(FULL)
    assert play(after, pair, 0.15, (0.5, 0.8), 3).settled == pytest.approx(0.8, abs=1e-4)
    assert play(before, pair, 0.15, (0.5, 0.8), 3).settled == pytest.approx(0.5, abs=1e-4)


def test_parties_that_jump_at_once_where_attack_crowds_out_attack_never_settle() -> None:
    with pytest.raises(ValueError, match="two parties: expected an equilibrium"):
        play(rivalry(-2.0), (6.0, 0.0), 1.0, (0.5, 0.8), 5)
    with pytest.raises(ValueError, match="weeks: expected at least 1"):
        play(rivalry(0.0), (1.0, 0.0), 0.15, (0.5, 0.8), 0)
