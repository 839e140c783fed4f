"""Parts of a log: the figures of their own requests, alarms where one part breaks, none where too small."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import pytest
from scipy import special, stats
from statsmodels.stats.multitest import multipletests

from eval.clustered import clustered_mean
from eval.differing import compare_effects, wald
from eval.logged import compare_logged
from eval.logged_comparison import LoggedComparison, LoggedSettings
from eval.logged_parts import MIN_USERS
from eval.logged_plan import MOST_PARTS, PartCounts
from eval.logged_policy import LogPolicy
from eval.logged_report import as_json, write_logged
from eval.logged_segments import SegmentRow
from eval.logged_words import sentences
from eval.mix_change import mixed_change
from eval.overlap import Limits
from eval.segments import decompose
from eval.shrinkage import random_effects
from eval.simulate.impressions import LABEL, impression_log
from eval.simulate.testbed import WEIGHTS, angry_zero, logged
from reranker.columns import FeedError, StringColumn
from reranker.impressions import ImpressionLog

ORIGINAL = LogPolicy("angry at 5", WEIGHTS, scale="log")
TREATMENT = LogPolicy("angry at 0", angry_zero(), scale="log")
FEW = LoggedSettings(n_draws=4)
RATE = f"harm_prevalence.{LABEL}"


def with_parts(log: ImpressionLog) -> ImpressionLog:
    """A country of each user, a device of each request, a publisher and media of each post."""
    rng = np.random.default_rng(7)
    user = np.array([int(str(one)[1:]) for one in log.user])
    country = np.where(user % 4 == 0, "IN", np.where(user % 31 == 0, "MT", "US")).tolist()
    device = rng.choice(["ios", "android"], log.n).tolist()
    device[0] = None
    parts = {"country": country, "device": device}
    return dataclasses.replace(
        log,
        segments={name: StringColumn.from_values(of) for name, of in parts.items()},
        groups={
            "publisher": rng.integers(-1, 30, log.n_candidates),
            "media": rng.integers(0, 3, log.n_candidates),
        },
        action={"like": log.action["like"], "angry": log.action["angry"]},
    )  # fmt: skip


LOG = with_parts(impression_log(logged(1_300, 2, 0.8, 4)))


@pytest.fixture(scope="module")
def found() -> LoggedComparison:
    return compare_logged([LOG], ORIGINAL, TREATMENT, settings=FEW)


def rows_of(found: LoggedComparison, dimension: str, metric: str) -> list[SegmentRow]:
    return [row for row in found.segments.rows if (row.dimension, row.metric) == (dimension, metric)]


def one(found: LoggedComparison, dimension: str, segment: str, metric: str) -> SegmentRow:
    return next(row for row in rows_of(found, dimension, metric) if row.segment == segment)


def test_the_parts_of_a_dimension_are_the_whole_log(found: LoggedComparison) -> None:
    for dimension in ("country", "device"):
        rows = rows_of(found, dimension, RATE)
        assert sum(row.n_requests for row in rows) == LOG.n
    assert [row.segment for row in rows_of(found, "device", RATE)][-1] == "unknown"
    names = [row.segment for row in rows_of(found, "publisher", RATE)]
    assert len(names) == MOST_PARTS + 2
    assert names[-2:] == ["18 others", "unknown"]


def test_views_of_groups_of_posts_add_up_to_all_views(found: LoggedComparison) -> None:
    for dimension in ("publisher", "media"):
        rows = rows_of(found, dimension, "views")
        for policy in ("original", "treatment"):
            parts = sum(getattr(row.row, policy) for row in rows)
            assert parts == pytest.approx(getattr(found.row("views"), policy), rel=1e-9)


def test_a_part_of_the_requests_has_the_figures_of_its_own_log(found: LoggedComparison) -> None:
    """By weights alone: the response model is fitted on the whole log, so that on the part it is another."""
    chosen = np.flatnonzero(LOG.segments["country"].codes == LOG.segments["country"].code_of("IN"))
    lenient = dataclasses.replace(FEW, limits=Limits(min_effective=MIN_USERS))
    alone = compare_logged([LOG.take(chosen)], ORIGINAL, TREATMENT, settings=lenient)
    for metric in ("views", "positive_activity"):
        row, whole = one(found, "country", "IN", metric), alone.row(metric)
        for name in ("rips", "sips"):
            assert row.row.checks[name].value == pytest.approx(whole.checks[name].value, rel=1e-9)
            assert row.row.checks[name].standard_error == pytest.approx(whole.checks[name].standard_error)
        assert row.estimate is not None
        assert whole.relative is not None
        assert row.estimate.value == pytest.approx(
            whole.relative.value, abs=3 * whole.relative.standard_error
        )


def test_a_part_with_too_few_users_is_insufficient_and_says_the_rule(found: LoggedComparison) -> None:
    rows = [row for row in found.segments.rows if row.segment == "MT"]
    n_users = rows[0].n_users
    assert 0 < n_users < MIN_USERS
    for row in rows:
        assert row.insufficient
        assert row.row.reasons == (f"INSUFFICIENT: expected at least 100 users, got {n_users}",)
        assert row.estimate is row.low is row.shrunk is row.q is row.colour is None
    assert any("Too little data to say anything of: country MT" in text for text in sentences(found))
    content = as_json(found)["segments"]
    assert content["least_users"] == MIN_USERS
    few = [row for row in content["rows"] if row["insufficient"]]
    assert {row["status"] for row in few} == {"REFUSED"}
    assert all(row["estimate"] is row["interval"] is row["shrunk"] is None for row in few)


def test_p_values_of_parts_are_screened_together_as_statsmodels_does(found: LoggedComparison) -> None:
    asked = [row for row in found.segments.rows if row.p_worse is not None]
    assert len(asked) > 20
    adjusted = multipletests([row.p_worse for row in asked], method="fdr_bh")[1]
    assert [row.q for row in asked] == pytest.approx(adjusted)
    assert [row.alarm for row in asked] == (adjusted <= 0.10).tolist()
    # one-sided: of harm that rises and activity that falls; views of a part and its own activity are no loss
    harm = one(found, "country", "IN", RATE).row.change
    assert harm is not None
    tail = stats.t.sf(harm.value / harm.standard_error, harm.n_clusters - 1)
    assert one(found, "country", "IN", RATE).p_worse == pytest.approx(tail)
    assert {row.p_worse for row in rows_of(found, "publisher", "views")} == {None}


def test_what_stands_out_by_chance_in_one_of_many_parts_is_no_alarm() -> None:
    noise = np.random.default_rng(21).random((3, LOG.n_candidates))
    log = dataclasses.replace(LOG, harm=dict(zip("abc", noise, strict=True)))
    rows = [row for row in compare_logged([log], ORIGINAL, TREATMENT, settings=FEW).segments.rows if row.q]
    single = [row for row in rows if row.p_worse is not None and row.p_worse <= 0.10]
    assert len(single) >= 3
    assert sum(row.alarm for row in single) == 0


def test_sizes_are_drawn_together_and_only_activity_has_the_colour_of_a_margin(
    found: LoggedComparison,
) -> None:
    rows = [row for row in rows_of(found, "country", "positive_activity") if row.estimate is not None]
    effects = [row.estimate for row in rows if row.estimate is not None]
    wanted = random_effects(
        np.array([e.value for e in effects]), np.array([e.standard_error for e in effects])
    )
    assert [row.shrunk[0] for row in rows if row.shrunk] == pytest.approx(wanted.shrunk)
    assert {row.colour for row in rows} <= {"green", "grey", "red"}
    assert {row.colour for row in rows_of(found, "country", RATE)} == {None}
    assert {row.colour for row in rows_of(found, "publisher", RATE)} == {None}


def broken_in_one_country() -> ImpressionLog:
    """In India posts that anger are good and the others harmful: the treatment shows more harm there."""
    country = LOG.segments["country"]
    there = (country.codes == country.code_of("IN"))[LOG.request_of_row]
    harm = np.where(there, 0.6 - 0.5 * np.minimum(20 * LOG.p_action["angry"], 1.0), LOG.harm[LABEL])
    return dataclasses.replace(LOG, harm={LABEL: harm})


def test_a_country_where_the_change_does_harm_is_an_alarm_while_the_whole_gets_better() -> None:
    found = compare_logged([broken_in_one_country()], ORIGINAL, TREATMENT, settings=FEW)
    there, other = one(found, "country", "IN", RATE), one(found, "country", "US", RATE)
    assert there.alarm
    assert not other.alarm
    assert there.estimate is not None
    assert other.estimate is not None
    assert there.estimate.low > 0 > other.estimate.high
    difference = next(d for d in found.segments.differences if (d.dimension, d.metric) == ("country", RATE))
    assert difference.differs
    assert difference.both_signs
    assert (difference.lowest, difference.highest) == ("US", "IN")
    told = " ".join(sentences(found))
    assert "country IN, any harm per 1,000 views: more harm" in told
    assert "does not change alike in every country" in told
    assert "No change for the worse stands out" not in told


def test_propensities_that_are_wrong_in_parts_and_cancel_in_the_whole_are_refused_in_the_parts() -> None:
    big = impression_log(logged(3_000, 2, 0.8, 5))
    user = np.array([int(str(one)[1:]) for one in big.user])
    country = np.where(user % 2 == 0, "MM", "US")
    factor = np.where((country == "MM")[big.request_of_slot], 1.02, 0.98)
    log = dataclasses.replace(
        big,
        temperature=None,  # so that only the weights can tell
        segments={"country": StringColumn.from_values(country.tolist())},
        log_prefix_propensity=factor * big.log_prefix_propensity,
        action={"like": big.action["like"]},
    )
    target = dataclasses.replace(TREATMENT, temperature=0.8)
    found = compare_logged([log], LogPolicy("logger", None), target, settings=FEW)
    assert found.status == "IDENTIFIED"
    there, other = (one(found, "country", name, "views") for name in ("MM", "US"))
    assert there.row.status == other.row.status == "REFUSED"
    assert "MEAN_WEIGHT_HIGH" in there.row.reasons
    assert "MEAN_WEIGHT_LOW" in other.row.reasons
    assert not there.insufficient
    assert there.estimate is None
    told = " ".join(sentences(found))
    assert "Refused in country US, country MM" in told or "Refused in country MM, country US" in told
    assert "so are those of the whole" in told


def test_identical_policies_raise_no_alarm_in_any_part() -> None:
    found = compare_logged([LOG], ORIGINAL, dataclasses.replace(ORIGINAL, name="again"), settings=FEW)
    told = [row for row in found.segments.rows if not row.insufficient]
    assert told
    for row in told:
        assert row.row.status == "IDENTIFIED"
        assert row.estimate is not None
        assert (row.estimate.value, row.low, row.high, row.alarm) == (0.0, 0.0, 0.0, False)
    assert {d.p for d in found.segments.differences} == {1.0}


def test_a_log_that_identifies_nothing_has_no_parts() -> None:
    silent = dataclasses.replace(LOG, log_prefix_propensity=np.full(LOG.n_slots, np.nan))
    found = compare_logged([silent], LogPolicy("logger", None), TREATMENT, settings=FEW)
    assert found.segments.rows == ()
    assert found.segments.mixes == ()


def test_a_group_with_unscored_views_is_bounded_or_refused_and_the_others_stand() -> None:
    media = LOG.groups["media"]
    rng = np.random.default_rng(3)
    lacks = np.where(media == 1, 0.01, np.where(media == 2, 0.2, 0.0))
    harm = np.where(rng.random(LOG.n_candidates) < lacks, np.nan, LOG.harm[LABEL])
    log = dataclasses.replace(LOG, harm={LABEL: harm})
    # the whole has too many unscored views for a rate, and the parts that have none keep theirs
    found = compare_logged([log], ORIGINAL, TREATMENT, settings=FEW)
    assert found.row(RATE).status == "REFUSED"
    statuses = {row.segment: row.row.status for row in rows_of(found, "media", RATE)}
    assert statuses == {"0": "IDENTIFIED", "1": "BOUNDED", "2": "REFUSED"}
    bounded = one(found, "media", "1", RATE)
    assert bounded.estimate is None
    assert bounded.low is not None
    assert bounded.high is not None
    assert bounded.low < bounded.high
    assert found.segments.mixes == ()


def test_the_order_of_requests_and_the_cut_into_batches_change_no_byte(
    found: LoggedComparison, tmp_path
) -> None:
    first = [path.read_bytes() for path in write_logged(found, tmp_path / "a")]
    mixed = LOG.take(np.random.default_rng(3).permutation(LOG.n))
    batches = [mixed.take(np.arange(start, min(start + 700, LOG.n))) for start in range(0, LOG.n, 700)]
    again = compare_logged(batches, ORIGINAL, TREATMENT, settings=FEW)
    assert [path.read_bytes() for path in write_logged(again, tmp_path / "b")] == first
    assert b"insufficient" in first[1]
    assert b"<script" not in first[1]


def test_a_dimension_that_was_not_logged_is_refused_where_it_was_asked_for() -> None:
    asked = dataclasses.replace(FEW, segments=("contry",))
    with pytest.raises(
        FeedError, match=r"segment contry: expected a segment or group .*did you mean .country"
    ):
        compare_logged([LOG], ORIGINAL, TREATMENT, settings=asked)
    only = compare_logged([LOG], ORIGINAL, TREATMENT, settings=dataclasses.replace(FEW, segments=("media",)))
    assert {row.dimension for row in only.segments.rows} == {"media"}


def test_the_most_frequent_values_are_told_apart_whatever_the_cut() -> None:
    names = ["b", "b", "a", "a", *(f"x{i:02d}" for i in range(20)), None]
    log = dataclasses.replace(
        LOG.take(np.arange(len(names))), segments={"country": StringColumn.from_values(names)}
    )
    counts = [PartCounts(("country",)), PartCounts(("country",))]
    counts[0].add(log)
    for part in (log.take(np.arange(9, log.n)), log.take(np.arange(9))):
        counts[1].add(part)
    first, second = (one.parts(asked_for=False) for one in counts)
    assert first == second
    assert first[0].values == ("a", "b", *(f"x{i:02d}" for i in range(10)))
    assert (first[0].n_others, first[0].has_unknown) == (10, True)
    codes = first[0].codes(log)
    assert codes[:4].tolist() == [1, 1, 0, 0]
    assert codes[-2:].tolist() == [12, -1]
    # a dimension with one value tells nothing apart
    same = dataclasses.replace(log, segments={"country": StringColumn.from_values(["a"] * log.n)})
    alone = PartCounts(("country",))
    alone.add(same)
    assert alone.parts(asked_for=False) == ()


def influence_of(values: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """(n,) of the mean of the rows inside."""
    return np.where(inside, values - values[inside].mean(), 0.0) / inside.sum()


def test_where_parts_share_no_user_the_test_is_that_of_cochran() -> None:
    rng = np.random.default_rng(1)
    part = rng.integers(0, 4, 800)
    values = rng.normal(0.1 * part, 1.0 + part)
    inside = [part == g for g in range(4)]
    effect = np.array([values[at].mean() for at in inside])
    influence = np.array([influence_of(values, at) for at in inside])
    p, n_users = wald(effect, influence, np.arange(800))
    variance = 800 / 799 * (influence**2).sum(axis=1)
    q = random_effects(effect, np.sqrt(variance)).q
    assert n_users == 800
    assert p == pytest.approx(special.fdtrc(3, 797, q * 797 / (3 * 799)))
    assert p == pytest.approx(special.chdtrc(3, q), rel=0.1)


def rejections(values_of: Sequence[np.ndarray], n_users: int) -> tuple[float, float]:
    """Shares of p-values of at most 5 %: of the test by users, and of Cochran's."""
    own = cochran = 0
    for values in values_of:  # (users, parts): every user is in every part
        user = np.arange(n_users)
        effects = [clustered_mean(column, user) for column in values.T]
        influence = (values - values.mean(axis=0)).T / n_users
        found = compare_effects(("device", "views"), ["a", "b", "c"], effects, list(influence), user)
        own += found.p <= 0.05
        errors = np.array([one.standard_error for one in effects])
        cochran += random_effects(np.array([one.value for one in effects]), errors).q_p <= 0.05
    return own / len(values_of), cochran / len(values_of)


def test_where_parts_share_their_users_the_test_holds_its_level_and_cochrans_does_not() -> None:
    rng = np.random.default_rng(2)
    # what one part of a user gains another loses: parts of one total, as groups of posts are
    spread = np.eye(3) - 0.49 * (1 - np.eye(3))
    drawn = [rng.multivariate_normal(np.zeros(3), spread, 120) for _ in range(600)]
    own, cochran = rejections(drawn, 120)
    assert own == pytest.approx(0.05, abs=4 * np.sqrt(0.05 * 0.95 / 600))
    assert cochran > 0.1
    shifted = [values + np.array([0.0, 0.0, 0.5]) for values in drawn[:100]]
    assert rejections(shifted, 120)[0] > 0.9


def test_effects_without_any_error_are_one_or_surely_several() -> None:
    none = np.zeros((2, 5))
    assert wald(np.array([1.0, 1.0]), none, np.arange(5)) == (1.0, 5)
    assert wald(np.array([1.0, 2.0]), none, np.arange(5)) == (0.0, 5)


def test_within_and_mix_are_those_of_kitagawa_and_their_influence_is_the_derivative() -> None:
    rng = np.random.default_rng(3)
    views = rng.gamma(1, 1, (2, 3, 40))
    harmful = views * rng.random((2, 3, 40)) * np.array([0.1, 0.3, 0.5])[:, None]

    def values(weight: np.ndarray) -> np.ndarray:
        seen, harm = (views * weight).sum(axis=2), (harmful * weight).sum(axis=2)
        pairs = [(seen[p] / seen[p].sum(), harm[p] / seen[p]) for p in (0, 1)]
        return np.array(decompose(*pairs))

    (within, z_within), (mix, z_mix) = mixed_change(views, harmful)
    assert (within, mix) == (pytest.approx(values(np.ones(40))[0]), pytest.approx(values(np.ones(40))[1]))
    rate = harmful.sum(axis=(1, 2)) / views.sum(axis=(1, 2))
    assert within + mix == pytest.approx(rate[1] - rate[0])
    for i in range(40):
        more, less = np.ones(40), np.ones(40)
        more[i], less[i] = 1 + 1e-6, 1 - 1e-6
        slope = (values(more) - values(less)) / 2e-6
        assert z_within[i] / 40 == pytest.approx(slope[0], abs=1e-9)
        assert z_mix[i] / 40 == pytest.approx(slope[1], abs=1e-9)


def test_within_and_mix_of_groups_of_posts_add_up_to_the_change_of_harm(found: LoggedComparison) -> None:
    change = found.row(RATE).change
    assert change is not None
    assert {mix.dimension for mix in found.segments.mixes} == {"media", "publisher"}
    for mix in found.segments.mixes:
        assert mix.within.value + mix.mix.value == pytest.approx(change.value, rel=1e-6)
        assert mix.within.standard_error > 0
