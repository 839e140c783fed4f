"""The topic guard in a comparison: less harm about a topic, or less of the topic?"""

import numpy as np
import pytest

from eval.margins import margins
from eval.outcomes import Outcome
from eval.page import render_page
from tests.comparisons import swap_feed, swapped, texts


def probability(feed, name, angry, calm, kind="exposure"):
    return Outcome(name, kind, np.tile([angry, calm], feed.n_requests).astype(float), name, "probability")


def guarded(health, antivax, **options):
    """One health topic; figures of the post shown before, and of the one shown after."""
    feed = swap_feed(40)
    outcomes = [probability(feed, "antivax", *antivax), probability(feed, "health", *health, "context")]
    return swapped(feed, outcomes, **options)


def test_a_policy_that_takes_the_harm_and_leaves_the_topic_passes():
    # before: health and antivax; after: health only. What is sure leaves one reading only
    found = guarded((1.0, 1.0), (0.5, 0.0))
    one = found.topics[0]
    assert (one.topic, one.harm, one.margin) == ("health", "antivax", 0.05)
    assert one.harmless[0].value == one.harmless[1].value == pytest.approx(1.0)  # from 0.5 to 1
    assert one.harmful[1].value == -1.0
    assert one.passes
    assert "Views about health without antivax on" not in texts(found)
    assert "Views about health without antivax: not lower by 5% or more" in texts(found)


def test_a_policy_that_takes_the_topic_with_the_harm_does_not():
    found = guarded((1.0, 0.2), (0.1, 0.0))
    assert not found.topics[0].passes
    assert found.topics[0].decisions == ("INFERIOR", "INFERIOR")
    assert "Views about health without antivax: lower by more than 5%" in texts(found)
    html = render_page(found, None, [])
    assert "The topic, or the harm about it?" in html
    assert "INFERIOR: lower by more than the margin" in html


def test_where_topic_and_harm_may_or_may_not_coincide_both_readings_are_given():
    # before 0.5 health and 0.5 antivax: harmless health is 0.5 or 0; after 0.5 health and 0.05 antivax
    found = guarded((0.5, 0.5), (0.4, 0.05))
    one = found.topics[0]
    assert [change.value for change in one.harmless] == pytest.approx([0.0, 0.45 / 0.1 - 1])
    assert one.decisions == ("EQUIVALENT", "NON-INFERIOR")
    assert one.status == "BOUNDED"
    assert "within the margin if topic and harm never coincide, not lower by the margin if" in texts(found)


def test_the_margin_is_that_of_the_file_where_it_names_the_topic():
    found = guarded((1.0, 0.8), (0.0, 0.0), margins=margins({"health": 0.3}))
    assert (found.topics[0].margin, found.topics[0].passes) == (0.3, True)
    assert not guarded((1.0, 0.8), (0.0, 0.0)).topics[0].passes


def test_labels_without_values_and_single_users_are_refused():
    found = guarded((1.0, 1.0), (np.nan, 0.0))
    assert found.topics[0].status == "REFUSED"
    assert found.topics[0].verdicts == ()
    assert "refused: unscored views" in render_page(found, None, [])
    feed = swap_feed(1, per_user=5)
    outcomes = [probability(feed, "antivax", 0.5, 0), probability(feed, "health", 1, 1, "context")]
    assert swapped(feed, outcomes).topics[0].reasons == ("users: expected at least 2, got 1",)
    assert swapped(feed, outcomes[:1]).topics == ()
