"""Weights from surveys: the truth of a made-up world comes back, and bad surveys do not pass."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import typer
from typer.testing import CliRunner

from reranker.columns import FeedError
from reranker.fit_survey_command import survey
from reranker.presets import load_policy
from training.fitted_weights import evidence_of, overlay_of
from training.survey import fit_survey
from training.survey_recovery import main as recovery_command
from training.survey_recovery import recover
from training.survey_responses import responses_from_arrow
from training.survey_sample import MULTIPLIERS, SHARES, WEIGHTS, sample, world
from training.survey_sample import main as sample_command

KINDS = ("like", "love", "comment")


def small(n=150, n_items=8, seed=0, countries=("IN", "US")):
    """Answers with the three kinds above and two relations, true weights 1, 2 and 3, multiplier 0.5."""
    rng = np.random.default_rng(seed)
    n *= len(countries)
    size = (n, n_items)
    kind, relation = rng.integers(0, 3, size), rng.integers(0, 2, size)
    latent = np.log([1, 2, 3])[kind] + np.log([1, 0.5])[relation] + rng.normal(size=(n, 1))
    answer = 1 + ((latent + rng.logistic(size=size))[..., None] > np.array([-1, 0.5, 1.5])).sum(axis=-1)
    rows = {
        "respondent": np.repeat(np.arange(n), n_items),
        "country": np.repeat(np.resize(countries, n), n_items),
        "kind": np.array(KINDS)[kind].ravel(),
        "relation": np.array(["friend", "stranger"])[relation].ravel(),
        "answer": answer.ravel(),
    }
    return {name: list(values.tolist()) for name, values in rows.items()}


def fitted(rows, shares=None, **options):
    shares = shares or {"IN": 0.7, "US": 0.3}
    return fit_survey(responses_from_arrow(pa.table(rows)), shares, **options)


def terms_of(found):
    return {term.name: term for term in found.weights.terms}


def test_intervals_hold_the_truth_as_often_as_they_say_and_estimates_are_not_off():
    # 40 samples of a small survey; errors over the samples, as terms of one share the like and the friend
    found = recover(1_500, range(40), n_items=10)
    held = (found.low <= found.truth) & (found.truth <= found.high)
    per_sample = held.mean(axis=1)
    error = per_sample.std(ddof=1) / np.sqrt(len(per_sample))
    assert error < 0.02
    assert abs(per_sample.mean() - 0.95) < 3 * error
    assert (np.abs(found.bias()) < 4 * found.bias_error() + 0.01).all()
    assert held.mean(axis=0).min() > 0.95 - 4 * np.sqrt(0.95 * 0.05 / 40)


def test_a_larger_sample_is_within_two_percent_and_says_whom_against_what():
    responses = responses_from_arrow(sample(12_000, seed=3))
    found = fit_survey(responses, SHARES)
    truth = {**WEIGHTS, **MULTIPLIERS}
    off = [abs(term.value / truth[term.name] - 1) for term in found.weights.terms]
    assert np.mean(off) < 0.02
    assert terms_of(found)["reshare"].high < 1 < terms_of(found)["love"].low  # a reshare below a like (E12)
    asked = responses.counts().sum(axis=3)
    parts = world().variance(asked / asked.sum(axis=(1, 2), keepdims=True))
    for name, value in parts.items():
        share = found.variance[name]
        assert abs(share.value - value) < (share.high - share.low)  # four standard errors
    assert found.sentences()[1].startswith("whom one interacts with matters more than how")
    mean = found.weights.facts["mean_answer_in_likes"]
    assert mean["like"] == 1.0
    assert mean["reshare"] < 1 < mean["love"] < mean["significant_message"] < WEIGHTS["significant_message"]


def test_countries_count_by_their_share_of_the_population_not_of_the_respondents():
    rows = small(n=400)
    at_home = {name: list(values) for name, values in rows.items()}
    for i, (country, kind) in enumerate(zip(rows["country"], rows["kind"], strict=True)):
        if country == "US" and kind == "love":  # in one country love means more
            at_home["answer"][i] = min(4, rows["answer"][i] + 1)
    values = [
        np.log(terms_of(fitted(at_home, {"IN": share, "US": 1 - share}))["love"].value)
        for share in (0.2, 0.5, 0.8)
    ]
    assert values[0] - values[1] == pytest.approx(values[1] - values[2], rel=1e-9)
    assert values[0] > values[2] + 0.5


def test_the_order_of_rows_and_counts_in_the_place_of_rows_change_no_byte():
    rows = small()
    table = pa.table(rows)
    whole = fitted(rows).weights
    turned = fit_survey(
        responses_from_arrow(table.take(np.random.default_rng(1).permutation(len(table)))),
        {"US": 0.3, "IN": 0.7},
    ).weights
    assert evidence_of(turned) == evidence_of(whole)
    assert overlay_of(turned, name="x", date="d") == overlay_of(whole, name="x", date="d")
    grouped = table.group_by(list(rows)).aggregate([([], "count_all")]).rename_columns([*rows, "count"])
    assert len(grouped) < len(table)
    counted = fit_survey(responses_from_arrow(grouped), {"US": 0.3, "IN": 0.7}).weights
    assert evidence_of(counted) == evidence_of(whole)


def test_another_reference_divides_the_multipliers_and_leaves_the_weights():
    rows = small()
    friend, stranger = terms_of(fitted(rows)), terms_of(fitted(rows, reference="stranger"))
    assert stranger["friend"].value == pytest.approx(1 / friend["stranger"].value, rel=1e-5)
    assert stranger["friend"].low == pytest.approx(1 / friend["stranger"].high, rel=1e-5)
    assert stranger["love"].value == pytest.approx(friend["love"].value, rel=1e-5)


def test_empty_levels_and_a_finer_scale_make_no_difference():
    rows = small()
    wide = {**rows, "answer": [2 * answer - 1 for answer in rows["answer"]]}
    found = fit_survey(responses_from_arrow(pa.table(wide), n_levels=9), {"IN": 0.7, "US": 0.3})
    assert terms_of(found)["love"].value == pytest.approx(terms_of(fitted(rows))["love"].value, rel=1e-9)


def with_wow(rows, answers, relations=("friend", "stranger"), countries=("IN", "US")):
    """The rows, and one more answer of each person in these countries, about wow."""
    rows = {name: list(values) for name, values in rows.items()}
    people = dict(zip(rows["respondent"], rows["country"], strict=True))
    for i, (who, country) in enumerate(people.items()):
        if country in countries:
            row = (who, country, "wow", relations[i // 2 % len(relations)], answers[i // 2 % len(answers)])
            for name, value in zip(rows, row, strict=True):
                rows[name].append(value)
    return rows


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"answers": (4,)}, "separation: every answer is 4"),
        ({"answers": (1,)}, "separation: every answer is 1"),
        ({"answers": (1, 3), "relations": ("stranger",)}, "seen with one relation only"),
    ],
)
def test_a_kind_that_cannot_be_told_is_left_out_with_the_reason_and_moves_nothing_else(options, reason):
    rows = small()
    found = fitted(with_wow(rows, **options))
    wow = terms_of(found)["wow"]
    assert (wow.value, wow.low, wow.high, wow.n) == (None, None, None, 300)
    assert reason in wow.warning
    assert "wow =" not in overlay_of(found.weights, name="x", date="d")
    assert terms_of(found)["love"].value == pytest.approx(terms_of(fitted(rows))["love"].value, rel=1e-9)


def test_a_kind_asked_about_in_one_country_only_is_not_told_and_in_most_is_filled_in():
    answers = (2, 3, 4, 3, 1)
    one = fitted(with_wow(small(), answers, countries=("IN",)))
    assert "not identified (US: 0 people" in terms_of(one)["wow"].warning
    three = small(countries=("DE", "IN", "US"))
    shares = {"DE": 0.2, "IN": 0.5, "US": 0.3}
    found = fitted(with_wow(three, answers, countries=("IN", "US")), shares)
    wow = terms_of(found)["wow"]
    assert wow.low < wow.value < wow.high
    assert wow.warning.startswith("from the other countries where one cannot tell (DE: 0 people")
    assert any("wow" in warning for warning in found.warnings)


def test_one_answer_each_is_fitted_without_levels_of_people():
    found = fitted(small(n=800, n_items=1))
    assert found.variance["person"].value == 0.0
    assert [warning for warning in found.warnings if "without a level of each person" in warning]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            lambda r: {**r, "kind": ["love" if k == "like" else k for k in r["kind"]]},
            "about 'like', the unit of",
        ),
        (lambda r: {**r, "relation": ["page"] * len(r["kind"])}, "about 'friend', the unit of"),
        (
            lambda r: {
                **r,
                "answer": [4 if k == "like" else a for k, a in zip(r["kind"], r["answer"], strict=True)],
            },
            r"country 'IN': expected answers that identify 'like', the unit, got none \(separation",
        ),
        (
            lambda r: {
                **r,
                "answer": [2 if c == "US" else a for c, a in zip(r["country"], r["answer"], strict=True)],
            },
            "country 'US'",
        ),
    ],
)
def test_a_survey_without_its_units_is_refused(spoil, message):
    with pytest.raises(FeedError, match=message):
        fitted(spoil(small()))


def test_too_few_respondents_in_a_country_are_refused():
    with pytest.raises(FeedError, match="country 'IN': expected at least 100 respondents, got 99; merge"):
        fitted(small(n=99))


app = typer.Typer()
app.command()(survey)


def written(tmp_path, rows, shares="country,share\nIN,0.7\nUS,0.3\n"):
    pq.write_table(pa.table(rows), tmp_path / "answers.parquet")
    (tmp_path / "shares.csv").write_text(shares)
    command = [str(tmp_path / "answers.parquet"), "--shares", str(tmp_path / "shares.csv")]
    return [*command, "-o", str(tmp_path / "own.toml"), "--date", "2026-11-22", "--levels", "4"]


def test_the_command_writes_an_overlay_that_ranks_and_its_evidence(tmp_path):
    rows = with_wow(small(), (4,))
    result = CliRunner().invoke(app, written(tmp_path, rows))
    assert result.exit_code == 0, result.output
    policy = load_policy(f"harm-aware+{tmp_path / 'own.toml'}")
    assert policy.weights["like"] == 1.0
    assert policy.weights["love"] == pytest.approx(2, rel=0.25)
    assert policy.relationship["stranger"] == pytest.approx(0.5, rel=0.2)
    assert policy.weights["wow"] == load_policy("harm-aware").weights["wow"]
    evidence = json.loads((tmp_path / "own.json").read_text())
    assert evidence["not_identified"] == ["wow"]
    assert evidence["facts"]["n_respondents"] == 300
    assert len(evidence["facts"]["digest"]) == 64
    assert "not identified" in result.output
    assert "stranger" in result.output
    before = (tmp_path / "own.json").read_bytes(), (tmp_path / "own.toml").read_bytes()
    assert CliRunner().invoke(app, written(tmp_path, rows)).exit_code == 0
    assert before == ((tmp_path / "own.json").read_bytes(), (tmp_path / "own.toml").read_bytes())


def test_bad_input_to_the_command_writes_nothing(tmp_path):
    only_likes = {name: [values[i] for i in range(len(values))] for name, values in small().items()}
    only_likes["kind"] = ["like"] * len(only_likes["kind"])
    only_likes["relation"] = ["friend"] * len(only_likes["kind"])
    spoiled = {
        "answer: expected a whole number from 1 to 4": ({**small(), "answer": [5] * 2400}, None),
        "add up to 1": (small(), "country,share\nIN,0.7\nUS,0.2\n"),
        "weights: expected at least one": (only_likes, None),
    }
    for message, (rows, shares) in spoiled.items():
        arguments = written(tmp_path, rows, *([] if shares is None else [shares]))
        result = CliRunner().invoke(app, arguments)
        assert isinstance(result.exception, FeedError)
        assert message in str(result.exception)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["answers.parquet", "shares.csv"]


def test_the_sample_has_the_shares_sizes_and_seeds_it_is_asked_for(tmp_path):
    first, again, other = sample(500, seed=1), sample(500, seed=1), sample(500, seed=2)
    assert first.equals(again)
    assert not first.equals(other)
    responses = responses_from_arrow(first)
    assert (responses.n_respondents, responses.n_answers) == (500, 15_000)
    assert responses.countries == tuple(SHARES)
    assert responses.kinds == tuple(WEIGHTS)
    truth = world()
    population = np.array(list(SHARES.values()))
    assert np.exp(population @ truth.kind) == pytest.approx(list(WEIGHTS.values()))
    assert np.exp(population @ truth.relation) == pytest.approx(list(MULTIPLIERS.values()))
    sample_command(["-o", str(tmp_path / "answers.parquet"), "--people", "300", "--items", "4"])
    assert len(pq.read_table(tmp_path / "answers.parquet")) == 1_200
    assert (tmp_path / "shares.csv").exists()
    with pytest.raises(SystemExit):
        sample_command(["-o", str(tmp_path / "answers.csv")])


def test_the_recovery_prints_every_term(capsys):
    recovery_command(["--people", "1200", "--runs", "2", "--items", "10"])
    printed = capsys.readouterr().out
    assert all(name in printed for name in (*set(WEIGHTS) - {"like"}, "relation_less_kind", "all terms"))
