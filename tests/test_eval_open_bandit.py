"""The Open Bandit data, where the uniform policy was really served beside the one that logged.

The truth of both campaigns is 46 clicks in 10,000 and has an interval of its own.
"""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from eval.open_bandit import read_open_bandit, uniform_from_thompson
from eval.overlap import Limits

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "engagement"
PATH = DATA / "obd_small.parquet"
needs_data = pytest.mark.skipif(not PATH.exists(), reason=f"the Open Bandit data is not at {DATA}")
# half of what the gate asks of users, and a tail that need not surely have a variance
HALF = Limits(min_effective=500.0, min_effective_share=0.05, max_pareto_k=0.7)


@needs_data
def test_for_men_the_estimate_of_the_uniform_policy_covers_what_it_earned():
    found = uniform_from_thompson(PATH, "men", HALF)
    assert found.truth.value == pytest.approx(0.0046)
    assert found.covers
    assert found.gap[1] <= 0 <= found.gap[2]
    assert found.support.status == "IDENTIFIED"
    # without normalisation (weights average .94) only with the error of the truth as well
    plain = found.unweighted.target
    assert plain.high < found.truth.value
    assert found.truth.low < plain.high
    # clipping or ignoring the weights would say 0.0069, which the truth is not
    assert found.estimate.logging.value == pytest.approx(0.0069)
    assert found.estimate.difference.high < 0


@needs_data
def test_for_men_the_gate_finds_656_of_10000_which_is_short_of_its_default():
    report = uniform_from_thompson(PATH, "men").support
    assert report.check("ESS_LOW").value == pytest.approx(655.7, abs=0.1)
    assert report.reasons == ("ESS_LOW", "ESS_SHARE_LOW", "HEAVY_TAIL")


@needs_data
@pytest.mark.parametrize("limits", [None, HALF])
def test_for_women_the_gate_refuses(limits):
    report = uniform_from_thompson(PATH, "women", limits).support
    assert report.status == "REFUSED"
    assert {"ESS_LOW", "ESS_SHARE_LOW", "USER_DOMINATES"} <= set(report.reasons)
    assert report.check("ESS_LOW").value == pytest.approx(2.08, abs=0.01)
    assert report.check("USER_DOMINATES").value == pytest.approx(0.69, abs=0.01)


@pytest.fixture
def small(tmp_path):
    """10,000 impressions of 4 items; bts serves them with .4, .3, .2, .1; their clicks are .1, .2, .3, .4."""
    rng = np.random.default_rng(1)
    n, chance = 10_000, np.array([0.4, 0.3, 0.2, 0.1])
    item = np.concatenate([rng.choice(4, n, p=chance), rng.integers(0, 4, n)])
    made = {
        "item_id": item,
        "position": np.ones(2 * n, np.int64),
        "click": (rng.random(2 * n) < np.array([0.1, 0.2, 0.3, 0.4])[item]).astype(np.int64),
        "propensity_score": np.concatenate([chance[item[:n]], np.full(n, 0.25)]),
        "policy": ["bts"] * n + ["random"] * n,
        "campaign": ["men"] * 2 * n,
    }
    path = tmp_path / "small.parquet"
    pq.write_table(pa.table(made), path)
    return path


def test_a_made_up_file_of_the_same_form_gives_the_known_rates(small):
    # the mean of the four click rates is .25; weighted by what bts serves it is .2
    found = uniform_from_thompson(small, "men")
    assert abs(found.estimate.target.value - 0.25) < 4 * found.estimate.target.standard_error
    assert abs(found.unweighted.target.value - 0.25) < 4 * found.unweighted.target.standard_error
    assert abs(found.estimate.logging.value - 0.2) < 4 * found.estimate.logging.standard_error
    assert abs(found.truth.value - 0.25) < 4 * found.truth.standard_error
    # two independent errors add in squares
    width = (found.gap[2] - found.gap[1]) / 2
    each = [x.high - x.value for x in (found.truth, found.estimate.target)]
    assert width == pytest.approx(np.hypot(*each), rel=1e-3)
    assert found.support.status == "IDENTIFIED"


def test_what_is_not_there_is_named(small, tmp_path):
    with pytest.raises(ValueError, match='expected rows of campaign "women" and policy "bts", got none'):
        read_open_bandit(small, "women", "bts")
    bare = tmp_path / "bare.parquet"
    pq.write_table(pa.table({"item_id": [1]}), bare)
    with pytest.raises(ValueError, match="got none named position, click"):
        read_open_bandit(bare, "men", "bts")
