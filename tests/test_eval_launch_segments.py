"""eval.launch_segments: a reversal in one country is seen, too little data is grey, few users are named."""

import numpy as np
import pytest

from eval.launch_checks import Check, Checked
from eval.launch_plan import load_plan, with_segments
from eval.launch_segments import segment_checks
from tests.comparisons import swap_feed

PLAN = with_segments(load_plan(), ["country"])


def countries(sizes, rises, noise=0.01, seed=0, family="harm"):
    """The checks of countries in which harm truly rises by a share each."""
    rng = np.random.default_rng(seed)
    n = sum(sizes.values())
    country = np.repeat(list(sizes), list(sizes.values()))
    feed = swap_feed(n, country=np.repeat(country, 2).tolist())
    base = rng.uniform(0.4, 0.6, n)
    change = np.array([rises[name] for name in country])
    after = base * (1 + change + rng.normal(0, noise, n))
    once = np.ones(n)
    check = Check(family, "thing", 1.0, "top 1", 0.02)
    columns = {(family, "thing"): ((base, once), (after, once))}
    return segment_checks(feed, Checked((check,), columns), np.arange(n), PLAN)


def colours(found):
    return {one.segment: one.colour for one in found.checks}


def test_a_harm_that_rises_in_one_small_country_is_red_there_and_green_elsewhere():
    sizes = {"DE": 800, "FR": 800, "IN": 800, "US": 800, "MM": 110}
    found = countries(sizes, {"DE": -0.1, "FR": -0.1, "IN": -0.1, "US": -0.1, "MM": 0.05})
    assert colours(found) == {"DE": "green", "FR": "green", "IN": "green", "US": "green", "MM": "red"}
    assert found.reasons == ("country MM: harm thing: worse than its margin allows",)
    raw = next(one for one in found.checks if one.segment == "MM")
    assert raw.screened
    assert raw.effect.value == pytest.approx(0.05, abs=0.005)
    assert raw.shrunk is not None
    assert -0.1 < raw.shrunk < raw.effect.value


def test_the_same_rise_of_an_activity_is_no_alarm():
    found = countries({"DE": 300, "FR": 300}, {"DE": -0.1, "FR": 0.1}, family="activity")
    assert colours(found) == {
        "DE": "red",
        "FR": "green",
    }


def test_too_little_data_is_grey_and_does_not_pass():
    found = countries({"DE": 300, "FR": 120}, {"DE": 0.0, "FR": 0.0}, noise=0.2)
    assert set(colours(found).values()) == {"grey"}
    assert found.reasons[0] == "country DE: harm thing: too little data to tell"


def test_few_users_are_named_and_not_judged():
    found = countries({"DE": 300, "FR": 99}, {"DE": -0.1, "FR": 0.5})
    assert colours(found) == {"DE": "green"}  # a single one, judged by itself
    assert found.not_judged == ("country FR",)


def test_where_no_segment_has_enough_users_nothing_passes():
    found = countries({"DE": 60, "FR": 40}, {"DE": -0.1, "FR": -0.1})
    assert found.reasons == ("country: expected a segment of at least 100 users, got none",)


def test_a_country_in_which_nothing_moves_is_green():
    found = countries({"DE": 200, "FR": 200}, {"DE": 0.0, "FR": 0.0}, noise=0.0)
    assert colours(found) == {"DE": "green", "FR": "green"}


def test_a_feed_without_countries_is_refused():
    feed = swap_feed(4)
    with pytest.raises(ValueError, match="by: expected the feed to hold country, got no value of it"):
        segment_checks(feed, Checked(()), np.arange(4), PLAN)


def test_segments_are_part_of_the_digest_and_only_those_of_requests():
    assert PLAN.digest != load_plan().digest
    with pytest.raises(ValueError, match="by: expected country or device, got language"):
        with_segments(load_plan(), ["language"])
