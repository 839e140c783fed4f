from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from reranker.capacity import Traffic, log_bytes, plan_capacity
from reranker.capacity_rates import RATES, Rates, read_rates
from reranker.columns import FeedError, StringColumn
from reranker.impression_files import write_impressions
from reranker.impression_layout import ValueType
from reranker.impressions import ImpressionLog

DAY = Traffic(impressions=1e8, candidates=200, policies=8, posts=1e7)


@pytest.fixture(scope="module")
def rates() -> Rates:
    return read_rates()


def stage(name: str, traffic: Traffic, rates: Rates):
    found = [one for one in plan_capacity(traffic, rates).stages if one.name.startswith(name)]
    assert len(found) == 1
    return found[0]


def test_a_stage_is_its_amount_over_its_rate(rates: Rates) -> None:
    # 1e8 impressions in slates of 10 are 1e7 requests of 200 candidates; one in a hundred is evaluated
    found = stage("evaluate", DAY, rates)
    assert found.amount == pytest.approx(1e7 * 200 * 0.01 * 8)
    assert found.core_hours == pytest.approx(1.6e8 / rates.rates.evaluate.per_core / 3600)
    assert stage("rerank", DAY, rates).amount == pytest.approx(2e9)


def test_the_work_grows_in_proportion_to_the_traffic(rates: Rates) -> None:
    small, large = (
        plan_capacity(replace(DAY, impressions=n, posts=None), rates).core_hours for n in (1e6, 1e10)
    )
    assert large == pytest.approx(1e4 * small)


def test_what_people_wait_for_is_sized_for_the_peak_and_the_rest_for_its_hours(rates: Rates) -> None:
    assumed = rates.assumed
    text = stage("score", DAY, rates)
    expected = text.core_hours / 24 * assumed.peak_over_mean / assumed.utilisation
    assert expected <= text.cores < expected + 1
    whole = stage("evaluate", replace(DAY, impressions=1e12, sample=1.0), rates)
    expected = whole.core_hours / assumed.batch_hours / assumed.utilisation
    assert expected <= whole.cores < expected + 1


def test_longer_texts_and_the_exact_model_take_more(rates: Rates) -> None:
    longer = stage("score", replace(DAY, characters=400.0), rates).core_hours
    assert longer == pytest.approx(2 * stage("score", DAY, rates).core_hours)
    fast = stage("score", replace(DAY, speed="fast"), rates).core_hours
    assert fast < longer / 10


def test_a_day_larger_than_what_was_measured_says_that_it_extrapolates(rates: Rates) -> None:
    measured = rates.rates.evaluate.up_to
    policies, share = 8, 0.01
    impressions = measured / policies / share / 200 * 10
    within = replace(DAY, impressions=0.99 * impressions)
    assert stage("evaluate", within, rates).basis == "measured"
    assert stage("evaluate", replace(DAY, impressions=1.01 * impressions), rates).basis == "extrapolated"


def test_no_rate_of_a_gpu_is_invented(rates: Rates) -> None:
    assert "gpu" not in RATES.read_text("utf-8").replace("benchmarks/gpu.py", "")
    without = plan_capacity(DAY, rates).gpus
    assert (without.needed, without.posts_per_s) == (None, None)
    assert "not measured" in without.note


def test_gpus_are_those_of_the_peak_at_the_texts_own_length(rates: Rates) -> None:
    found = plan_capacity(replace(DAY, posts=1e9, characters=64 * 3.9), rates, 1000.0).gpus
    # 1e9 posts of 64 tokens at 1,000 a second take 11.57 GPU days
    expected = 1e9 / 1000 / 86_400 * rates.assumed.peak_over_mean / rates.assumed.utilisation
    assert found.needed == int(np.ceil(expected))


def test_no_texts_need_no_cores_and_no_gpus(rates: Rates) -> None:
    found = plan_capacity(replace(DAY, posts=0.0), rates, 1000.0)
    assert (found.stages[0].cores, found.gpus.needed) == (0, 0)


def test_logs_are_kept_for_the_retention(rates: Rates) -> None:
    found = plan_capacity(replace(DAY, retention_days=7.0), rates).volumes
    assert all(one.kept == pytest.approx(7 * one.per_day) for one in found)
    assert [one.bytes_each for one in found[:3]] == sorted(one.bytes_each for one in found[:3])


@pytest.mark.parametrize(("values", "value_bytes"), [("uint8", 1), ("float16", 2), ("float32", 4)])
def test_the_bytes_of_a_candidate_are_those_of_a_log_that_is_written(
    values: ValueType, value_bytes: int, tmp_path: Path, rates: Rates
) -> None:
    n, candidates, slots = 500, 200, 10
    rng = np.random.default_rng(0)
    c, s = n * candidates, n * slots
    log = ImpressionLog(
        request_id=StringColumn.from_values(f"r{i}" for i in range(n)),
        user=StringColumn.from_values(f"u{i // 5}" for i in range(n)),
        offsets=np.arange(n + 1) * candidates,
        item_id=np.arange(c),
        score=rng.random(c),
        slot_offsets=np.arange(n + 1) * slots,
        slate=(np.arange(n)[:, None] * candidates + np.arange(slots)).ravel(),
        log_prefix_propensity=np.zeros(s),
        p_action={f"a{i}": rng.random(c, dtype=np.float32) for i in range(10)},
        harm={f"h{i}": rng.random(c, dtype=np.float32) for i in range(4)},
        groups={"publisher": rng.integers(0, 9, c)},
        viewed=np.ones(s, dtype=np.bool_),
        dwell_ms=rng.random(s, dtype=np.float32),
        action={f"a{i}": np.zeros(s, dtype=np.float32) for i in range(10)},
        time=np.datetime64("2020-10-01", "us") + np.arange(n),
    )
    path = tmp_path / "log.parquet"
    write_impressions([log], path, values=values)
    expected = log_bytes(
        candidates, slots, value_bytes=value_bytes, request_bytes=rates.measured.request_bytes
    )
    assert path.stat().st_size / c == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"impressions": 0.0}, "--impressions-per-day: expected a number above 0, got 0"),
        ({"impressions": float("nan")}, "--impressions-per-day: expected a number above 0, got nan"),
        ({"posts": -1.0}, "--posts-per-day: expected a number of at least 0, got -1"),
        ({"sample": 1.5}, r"--sample: expected a share in \(0, 1\], got 1.5"),
        ({"slots": 201}, r"--slots: expected 1 to 200 \(--candidates\), got 201"),
        ({"retention_days": 0.0}, "--retention-days: expected a number above 0, got 0"),
        ({"characters": 0.0}, "--characters: expected a number above 0, got 0"),
    ],
)
def test_traffic_that_cannot_be_is_refused(change: dict[str, float], message: str) -> None:
    with pytest.raises(FeedError, match=message):
        replace(DAY, **change)


def test_rates_that_cannot_be_are_refused_by_file_and_key(tmp_path: Path, rates: Rates) -> None:
    path, given = tmp_path / "rates.toml", RATES.read_text("utf-8")
    for old, new, message in (
        ("per_core = 11100.0", "per_core = -1.0", r"rates.toml: rates.score_default.per_core: .* got -1.0"),
        ("[rates.rerank]", "[rates.rerank]\nextra = 1", r"rates.toml: rates.rerank.extra: .* got 1"),
        ("schema = 1", "schema = 2", r"rates.toml: schema: .* got 2"),
        ("utilisation = 0.7", "", r"rates.toml: assumed.utilisation: .* got nothing"),
        ("schema = 1", "schema = ", r"rates.toml: expected TOML"),
    ):
        assert old in given
        path.write_text(given.replace(old, new), "utf-8")
        with pytest.raises(FeedError, match=message):
            read_rates(path)
    with pytest.raises(FeedError, match="--gpu-posts-per-s: expected a number above 0, got -5"):
        plan_capacity(DAY, rates, -5.0)


def test_every_rate_says_what_was_measured_where_when_and_by_which_command(rates: Rates) -> None:
    for name in type(rates.rates).model_fields:
        rate = getattr(rates.rates, name)
        assert min(len(rate.what), len(rate.on), len(rate.command)) > 10
        assert rate.basis != "measured" or rate.up_to > 0


def test_the_page_says_what_the_plan_says(rates: Rates) -> None:
    page = (Path(__file__).parent.parent / "docs" / "capacity.md").read_text("utf-8")
    day = Traffic(impressions=1e10, candidates=200, policies=8)
    found = [plan_capacity(replace(day, sample=sample), rates) for sample in (0.01, 1.0)]
    fast = plan_capacity(replace(day, speed="fast"), rates).stages
    few, whole = ([stage.core_hours for stage in one.stages] for one in found)
    row = f"| 10^10 | **{few[0]:,.0f}** | {fast[0].core_hours:.0f} | {few[1]:.0f} |"
    row += "".join(f" {few[i]:.2f} / {whole[i]:.0f} |" for i in (2, 3, 4))
    assert row in page
    few, whole = ([stage.cores for stage in one.stages] for one in found)
    row = f"| cores at 10^10 | **{few[0]}** | {fast[0].cores} | {few[1]} |"
    row += "".join(f" {few[i]} / {whole[i]} |" for i in (2, 3, 4))
    assert row in page
    for small, large in zip(found[0].volumes[:3], found[1].volumes[:3], strict=True):
        row = f"| {small.bytes_each:.1f} |"
        assert f"| {small.name.removeprefix('logs, ')} {row}" in page
        assert f"{large.per_day / 1e12:.2g} TB" in page or f"{large.per_day / 1e12:.3g} TB" in page
        assert f"{small.kept / 1e12:.1f} TB / {large.kept / 1e12:.0f} TB |" in page
