import numpy as np
import pytest

from eval.comparison import Comparison, Context, compare
from eval.outcomes import Outcome, standard_outcomes
from eval.provenance import clusters_of, feed_digest
from eval.rows import change_rows
from eval.segments import decompose, segments_of
from eval.sweep import sweep_angry
from eval.verdict import MINUS, number, percent, verdict
from models.scores import HarmScores
from reranker.assembly import feed_from_columns
from reranker.feed import Feed
from reranker.pipeline import Reranker
from reranker.policy import PolicyError
from reranker.presets import load_policy
from reranker.value import Harms

N_USERS, PER_REQUEST = 60, 12


def columns(n_users=N_USERS, seed=0):
    """Two requests per user; harmful posts draw anger, posts with little anger are good."""
    rng = np.random.default_rng(seed)
    n = 2 * n_users * PER_REQUEST
    request = np.repeat(np.arange(2 * n_users), PER_REQUEST)
    toxic = rng.random(n) < 0.3
    return {
        "request_id": [f"r{i:03d}" for i in request],
        "user": [f"u{i // 2:03d}" for i in request],
        "country": [("IN", "US")[(i // 2) % 2] for i in request],
        "post_id": [f"p{i:05d}" for i in range(n)],
        "media": [("link", "photo")[i % 2] for i in range(n)],
        "like": rng.poisson(20, n),
        "love": rng.poisson(2, n),
        "angry": rng.poisson(np.where(toxic, 12, 1)),
        "comment": rng.poisson(3, n),
        "attr_is_toxic": toxic.astype(float),
        "attr_coin": (rng.random(n) < 0.5).astype(float),
    }


def rank(feed: Feed, *settings: str, harms=None, policy="fb-2018-h1"):
    return Reranker(load_policy(policy, settings)).rank(feed, harms)


def run(feed=None, settings=("weights.angry=0",), outcomes=None, **options) -> Comparison:
    feed = feed_from_columns(columns()) if feed is None else feed
    if outcomes is None:
        outcomes = standard_outcomes(feed, attributes=["is_toxic", "coin"])
    settings_of = {"n_resamples": 300, "shown": "3"} | options
    return compare(rank(feed), rank(feed, *settings), outcomes, **settings_of)


def texts(comparison: Comparison) -> str:
    return " ".join(sentence.text for sentence in verdict(comparison))


def toy(values, *, users=True, n=40, **options):
    """Two posts per request; angry 0 swaps them; `values` are those of the angry and the calm post."""
    posts = {
        "request_id": [f"r{i}" for i in range(n) for _ in range(2)],
        "post_id": [f"p{i}" for i in range(2 * n)],
        "like": [1, 9] * n,
        "angry": [9, 0] * n,
    }
    posts |= {"user": [f"u{i}" for i in range(n) for _ in range(2)]} if users else {}
    feed = feed_from_columns(posts)
    unit = options.pop("unit", "share")
    kind = options.pop("kind", "exposure")
    outcome = Outcome("thing", kind, np.tile(np.array(values, float), n), "a thing", unit)
    return run(feed, outcomes=[outcome], shown="1", also=options.pop("also", ()), **options)


def test_removing_the_weight_of_anger_lowers_the_harm_that_draws_it():
    found = run()
    toxic = found.row("is_toxic")
    assert toxic.direction == "decreased"
    assert toxic.relative_low < toxic.relative < toxic.relative_high < 0
    assert (toxic.n_requests, toxic.n_clusters, found.cluster) == (120, 60, "users")
    assert found.row("angry_share").direction == "decreased"
    assert found.row("coin").direction == "not measurable"
    assert found.original.digest != found.treatment.digest
    assert found.differences == (("weights.angry", 5.0, 0.0),)
    assert {row.level for row in found.rows} == {"L0"}


def test_each_metric_is_given_under_every_browsing_model_and_segment():
    found = run(also=("rbp:0.8", "log2"))
    assert found.browsing == ("top 3", "RBP 0.8", "log2 discount")
    rows = [row for row in found.rows if row.metric == "is_toxic"]
    assert [(row.browsing, row.segment_by, row.segment) for row in rows] == [
        ("top 3", "all", ""),
        ("RBP 0.8", "all", ""),
        ("log2 discount", "all", ""),
        ("top 3", "country", "IN"),
        ("top 3", "country", "US"),
        ("top 3", "media", "link"),
        ("top 3", "media", "photo"),
    ]
    india, us = rows[3:5]
    assert (india.n_requests, us.n_requests, india.n_left_out) == (60, 60, 0)
    assert (india.original + us.original) / 2 == pytest.approx(rows[0].original)


def test_within_and_mix_add_up_to_the_change():
    found = run()
    for mix in found.mixes:
        assert mix.dimension == "media"
        assert mix.within + mix.mix == pytest.approx(found.row(mix.metric).absolute, abs=1e-12)
    assert {mix.metric for mix in found.mixes} == {"is_toxic", "coin", "angry_share"}


def test_a_segment_that_one_policy_does_not_show_takes_the_rate_of_the_other():
    nan = float("nan")
    before = np.array([1.0, 0.0, 0.0]), np.array([0.2, nan, nan])
    after = np.array([0.5, 0.5, 0.0]), np.array([0.2, 0.6, nan])
    within, mix = decompose(before, after)
    assert (within, mix) == (0.0, pytest.approx(0.2))


def test_only_the_largest_segments_are_kept_and_the_rest_counted():
    posts = columns(4) | {"publisher": [f"s{i % 20:02d}" if i % 3 else None for i in range(96)]}
    feed = feed_from_columns(posts)
    found, n_more = segments_of(feed, "publisher", most=3)
    assert (found[0].name, int(found[0].rows.sum())) == ("", 32)
    assert n_more == 18
    assert segments_of(feed, "language") == ((), 0)
    comparison = run(feed, segments=("publisher",))
    assert comparison.segments_left_out == {"publisher": 9}
    assert comparison.mixes == ()


def test_identical_policies_are_identical_and_not_merely_unmeasurable():
    found = run(settings=())
    assert {row.direction for row in found.rows} == {"identical"}
    assert {row.absolute for row in found.rows} == {0.0}
    assert "exactly the same under both policies in every request" in texts(found)
    assert found.differences == ()


def test_posts_without_a_value_are_counted_and_bounded():
    found = toy([float("nan"), 1.0], n=30)
    row = found.row("thing")
    assert (row.direction, row.n_left_out, row.n_unscored_original) == ("not measured", 30, 30)
    assert "not measured; no shown post has a value" in texts(found)
    half = toy([0.5, float("nan")], n=30, also=("2",))
    row = half.row("thing", "top 2")
    assert (row.original_low, row.original_high) == (0.25, 0.75)


def test_a_count_without_values_has_no_bounds():
    values = np.array([3.0, 1.0, np.nan, 2.0] * 20)
    posts = {"request_id": [f"r{i // 4}" for i in range(80)], "post_id": [f"p{i}" for i in range(80)]}
    feed = feed_from_columns(posts | {"like": [9, 5, 3, 1] * 20, "angry": [0, 0, 0, 4] * 20})
    found = run(feed, outcomes=[Outcome("words", "exposure", values, "words", "count")], shown="3", also=())
    assert found.row("words").original_low is None
    assert "have no value for words; they are left out." in texts(found)
    share = Outcome("thing", "exposure", values / 3, "a thing", "share")
    found = run(feed, outcomes=[share], shown="3", also=())
    assert "With all of them at 0 or all at 1 the mean would lie between" in texts(found)


def test_without_users_the_requests_are_the_clusters_and_one_alone_is_refused():
    found = toy([1.0, 0.5], users=False, n=1)
    row = found.row("thing")
    assert (found.cluster, row.direction) == ("requests", "refused")
    assert f"{MINUS}50.0%" in texts(found)
    assert "an interval needs at least 2 independent clusters, got 1" in texts(found)
    assert "an observation, not a finding" in texts(found)
    assert toy([0.5, 0.5], users=False, n=1).row("thing").direction == "identical"


def test_few_clusters_are_warned_of():
    assert "There are only 5 independent users: the intervals are too narrow." in texts(toy([1.0, 0.5], n=5))
    assert "There are only" not in texts(toy([1.0, 0.5], n=40))


def test_the_verdict_says_plainly_when_exposure_rose_or_activity_fell():
    text = texts(toy([0.1, 0.2]))
    assert (
        "Exposure to thing rose (+100.0%, 95% interval +100.0% to +100.0%; 0.1000 before, 0.2000 after; "
        "p below 0.0001, adjusted over 1 exposure)." in text
    )
    assert "The treatment shows more of it, not less." in text
    assert "Exposure, 1 outcome: 1 rose." in text
    loss = verdict(toy([2.0, 1.0], kind="activity", unit="count"))
    assert [sentence.tone for sentence in loss][:2] == ["note", "worse"]
    assert loss[1].text.startswith(f"Thing fell ({MINUS}50.0%")
    gain = verdict(toy([1.0, 2.0], kind="activity", unit="count"))
    assert gain[1].tone == "better"


def test_a_baseline_of_zero_is_told_in_absolute_terms():
    assert "Exposure to thing rose (+0.2000 in absolute terms, 95% interval +0.2000 to +0.2000" in texts(
        toy([0, 0.2])
    )


def test_an_interval_that_holds_zero_is_never_called_unaffected():
    found = run()
    text = texts(found)
    assert found.row("coin").direction == "not measurable"
    assert "Exposure to coin did not change measurably (" in text
    assert "this comparison does not show that it fell" in text
    assert "unaffected" not in text
    assert "no effect" not in text


def test_a_finding_that_depends_on_the_browsing_model_says_so():
    n = 40
    posts = {
        "request_id": [f"r{i}" for i in range(n) for _ in range(3)],
        "post_id": [f"p{i}" for i in range(3 * n)],
    }
    feed = feed_from_columns(posts | {"like": [1, 9, 5] * n, "angry": [9, 0, 0] * n})
    # before: a b c; after: b c a. The top post gets better, the top two get worse
    outcome = Outcome("thing", "exposure", np.tile([0.5, 0.4, 0.9], n), "a thing", "share")
    found = run(feed, outcomes=[outcome], shown="1", also=("2", "3"))
    text = texts(found)
    assert "No direction can be claimed for thing" in text
    assert "under top 2 it rose (+44.4%); under top 3 it is the same in every request (0%)." in text


def harms_of(feed, model):
    p = np.where(feed.attributes["is_toxic"] > 0, 0.9, 0.1).astype(np.float32)[:, None]
    return Harms(HarmScores(("toxicity",), p, np.ones_like(p), model), np.full(feed.n, np.nan))


def test_a_classifier_that_demotes_and_measures_is_warned_of():
    feed = feed_from_columns(columns())
    harms = harms_of(feed, "model-a")
    original = rank(feed, harms=harms)
    settings = ("demotion.toxicity.start=0.4", "demotion.toxicity.line=0.8", "score.bounded=true")
    treatment = rank(feed, *settings, harms=harms)
    outcomes = standard_outcomes(feed, harms, attributes=["is_toxic"])
    found = compare(original, treatment, outcomes, shown="3", n_resamples=100)
    assert found.own_ruler == ("toxicity",)
    assert "The classifier or ratings that demoted also measure toxicity" in texts(found)
    assert found.row("is_toxic").direction == "decreased"
    other = Context(demoted_with="model-b")
    assert compare(original, treatment, outcomes, shown="3", n_resamples=100, context=other).own_ruler == ()
    same = Context(measured_with="model-c", demoted_with="model-c+model-d")
    assert compare(original, treatment, outcomes, shown="3", n_resamples=100, context=same).own_ruler
    assert compare(original, original, outcomes, shown="3", n_resamples=100).own_ruler == ()


def test_changing_the_weight_of_anger_warns_against_anger_as_a_measure_of_harm():
    assert "it does not show by itself that harm fell" in texts(run())
    assert "it does not show by itself" not in texts(run(settings=("weights.comment=0",)))


def test_ineffective_demotions_and_terms_without_data_are_told():
    found = run(context=Context(ineffective={"original": 12.0, "treatment": 0.0, "other": None}))
    sentences = verdict(found)
    told = [(s.tone, s.text) for s in sentences if "full demotions" in s.text]
    assert told == [
        ("warning", "Of 1,000 full demotions of the original policy, 12.00 did not work."),
        ("note", "Of 1,000 full demotions of the treatment policy, 0 did not work."),
    ]
    assert "Both policies have terms that this data cannot score: care, haha" in texts(found)
    feed = feed_from_columns(columns())
    unlike = compare(rank(feed), rank(feed, policy="uniform"), standard_outcomes(feed), n_resamples=50)
    assert "The original policy has terms" in texts(unlike)


def test_rankings_of_different_feeds_and_wrong_outcomes_are_refused():
    feed, other = feed_from_columns(columns()), feed_from_columns(columns(3))
    good = standard_outcomes(feed)
    with pytest.raises(ValueError, match="two rankings of one feed, got another request_id"):
        compare(rank(feed), rank(other), good)
    renamed = feed_from_columns(columns() | {"post_id": [f"q{i}" for i in range(feed.n)]})
    with pytest.raises(ValueError, match="got another post_id"):
        compare(rank(feed), rank(renamed), good)
    with pytest.raises(ValueError, match="expected at least one, got none"):
        run(feed, outcomes=[])
    with pytest.raises(ValueError, match="expected each once, got 'angry_share' 2 times"):
        run(feed, outcomes=[good[0], good[0]])
    with pytest.raises(ValueError, match=r"x: expected 1440 values, got 1"):
        run(feed, outcomes=[Outcome("x", "exposure", np.zeros(1), "", "share")])
    again = feed_from_columns(columns())
    assert compare(rank(feed), rank(again), good, n_resamples=20).row("angry_share").direction == "identical"


def test_rows_in_another_order_give_the_same_figures_and_digest():
    posts = columns()
    shuffled = np.random.default_rng(9).permutation(len(posts["post_id"]))
    # one order for both, whatever comes first
    posts["like"] = [int(v) + i / 2**20 for i, v in enumerate(posts["like"])]
    other = {name: [values[i] for i in shuffled] for name, values in posts.items()}
    first, second = feed_from_columns(posts), feed_from_columns(other)
    assert feed_digest(first) == feed_digest(second)
    assert feed_digest(first) != feed_digest(feed_from_columns(columns(seed=1)))
    for a, b in zip(run(first).rows, run(second).rows, strict=True):
        assert (a.metric, a.segment, a.direction) == (b.metric, b.segment, b.direction)
        if a.relative is not None:
            assert a.relative == pytest.approx(b.relative, rel=1e-9)
            assert a.relative_low == pytest.approx(b.relative_low, rel=1e-9)


def test_a_request_without_a_user_is_a_cluster_of_its_own():
    feed = feed_from_columns(
        {
            "request_id": list("abcd"),
            "post_id": list("wxyz"),
            "user": ["u", None, "u", None],
            "like": [1, None, 2, 3],
        }
    )
    codes, kind = clusters_of(feed)
    assert kind == "users"
    assert len(set(codes.tolist())) == 3
    assert codes[0] == codes[2]
    assert len(feed_digest(feed)) == 64


def test_the_sweep_is_zero_at_the_original_weight_and_lower_below_it():
    feed = feed_from_columns(columns())
    outcomes = standard_outcomes(feed, attributes=["is_toxic"])
    sweep = sweep_angry(feed, "fb-2018-h1", outcomes, shown="3", n_resamples=100)
    assert [point.weight for point in sweep.points] == [0.0, 0.5, 1.0, 1.5, 4.0, 5.0]
    assert (sweep.policy, sweep.original_weight) == ("fb-2018-h1", 5.0)
    toxic = [next(r for r in point.rows if r.metric == "is_toxic").relative for point in sweep.points]
    assert toxic[-1] == 0.0
    assert toxic[0] < toxic[4] < 0.0
    assert sweep.points[-1].digest == sweep.digest
    assert "media_link" not in {row.metric for row in sweep.points[0].rows}
    again = change_rows(rank(feed), rank(feed, "weights.angry=0"), outcomes, "3", seed=0, n_resamples=100)
    assert again[0].relative_low == pytest.approx(sweep.points[0].rows[0].relative_low)
    with pytest.raises(PolicyError):
        sweep_angry(feed, "fb-2018-h2", outcomes)


def test_numbers_read_well():
    assert (percent(-0.1234), percent(0.5, 0), percent(1e-9)) == (f"{MINUS}12.3%", "+50%", "+0.0000%")
    assert (percent(None), percent(0.0), number(None)) == ("n/a", "0%", "n/a")
    assert (number(-0.5), number(0.0)) == (f"{MINUS}0.5000", "0")
