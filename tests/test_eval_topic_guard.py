import numpy as np
import pytest

from eval.topic_guard import joint_bounds, topic_guard

NAN = np.nan


def world(n: int, drop_topic: float, drop_harm: float) -> dict[str, np.ndarray]:
    """n requests of 5 posts: one harmful and two harmless ones about the topic, two about something else."""
    rng = np.random.default_rng(1)
    offsets = np.arange(0, 5 * n + 1, 5)
    topic, harmful = np.tile([1.0, 1, 1, 0, 0], n), np.tile([1.0, 0, 0, 0, 0], n)
    first = rng.random(5 * n)
    second = first * (1 - drop_harm * harmful - drop_topic * (topic - harmful))
    second[topic == 0] += rng.random(2 * n) * 0.1
    return {"first": first, "second": second, "topic": topic, "harmful": harmful, "offsets": offsets}


def guard(data: dict[str, np.ndarray], margin: float = 0.05, **other: np.ndarray):
    data = data | other
    return topic_guard(
        (data["first"], data["second"]),
        data["topic"],
        data["harmful"],
        offsets=data["offsets"],
        cluster=np.arange(len(data["offsets"]) - 1),
        margin=margin,
    )


def test_less_harm_about_a_topic_and_as_much_about_it_passes():
    data = world(1500, 0.0, 0.9)
    data["second"][data["topic"] == 0] = data["first"][data["topic"] == 0]
    data["second"][1::5] += 0.9 * data["first"][::5]  # the room goes to harmless posts of the topic
    found = guard(data)
    assert found.passes
    assert found.harmful.value == pytest.approx(-0.9)
    assert found.topic.value == pytest.approx(0.0, abs=1e-9)
    assert found.harmless.low > 0


def test_a_demotion_of_the_whole_topic_is_caught_although_the_harm_is_down():
    found = guard(world(1500, 0.5, 0.9))
    assert not found.passes
    assert found.verdict.decision == "INFERIOR"
    assert found.harmful.high < 0
    assert found.harmless.high < -0.05


def test_the_margin_decides_and_noise_is_no_pass():
    data = world(1500, 0.08, 0.0)
    assert not guard(data, margin=0.05).passes
    assert guard(data, margin=0.5).passes
    few = world(3, 0.0, 0.9)
    few["second"] = np.random.default_rng(3).random(15)
    found = guard(few, margin=0.01)
    assert found.verdict.decision == "INCONCLUSIVE"
    assert not found.passes


def test_figures_are_ratios_of_sums_by_hand():
    data = {
        "first": np.array([1.0, 0.5, 0.5, 1.0]),
        "second": np.array([0.5, 1.0, 0.5, 1.0]),
        "topic": np.array([1.0, 0.8, 0.0, 1.0]),
        "harmful": np.array([1.0, 0.2, 0.0, 0.0]),
        "offsets": np.array([0, 2, 4]),
    }
    found = guard(data)
    assert found.topic.value == pytest.approx((0.5 + 0.8 + 1) / (1 + 0.4 + 1) - 1)
    assert found.harmful.value == pytest.approx((0.5 + 0.2) / (1 + 0.1) - 1)
    assert found.harmless.value == pytest.approx((0.6 + 1) / (0.3 + 1) - 1)


def test_unscored_views_are_never_harmless():
    data = world(200, 0.0, 0.9)
    harmful = data["harmful"].copy()
    harmful[::25] = NAN
    found = guard(data, harmful=harmful)
    assert found.status == "REFUSED"
    assert not found.passes
    assert "unscored views: expected at most 2% and alike" in found.reasons[0]
    assert guard(data, topic=np.zeros(1000), harmful=np.zeros(1000)).status == "REFUSED"


def test_a_topic_without_harm_has_no_change_of_harm():
    data = world(100, 0.0, 0.0)
    found = guard(data, harmful=np.zeros(500))
    assert found.harmful is None
    assert found.status == "IDENTIFIED"


def test_the_joint_probability_is_bounded_by_its_margins():
    low, high = joint_bounds(np.array([1.0, 0.5, 0.2, 0.0]), np.array([0.3, 0.8, 0.3, 0.9]))
    assert low.tolist() == pytest.approx([0.3, 0.3, 0.0, 0.0])
    assert high.tolist() == pytest.approx([0.3, 0.5, 0.2, 0.0])


def test_harm_beyond_the_topic_is_refused():
    data = world(10, 0.0, 0.0)
    with pytest.raises(ValueError, match="at most the probability of the topic"):
        guard(data, harmful=np.ones(50))
    with pytest.raises(ValueError, match="expected probabilities"):
        guard(data, topic=np.full(50, 1.5))
