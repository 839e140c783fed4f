"""The bundled presets: dated, sourced, reversible; and what each says of the documents' rows."""

import re
import tomllib
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pytest

from reranker.policy import Policy, PolicyError
from reranker.presets import (
    PRESETS,
    differences,
    list_presets,
    load_policy,
    numbers_without_source,
    preset_names,
    switch_overlay,
)

OVERLAYS = {"break-the-glass", "halving", "live-boost"}
POLICIES = sorted(set(preset_names()) - OVERLAYS)
REACTIONS = ("love", "care", "haha", "wow", "sad", "angry")


def reactions(policy: Policy) -> dict[str, float]:
    return {name: policy.weights[name] for name in REACTIONS}


def same(value: float) -> dict[str, float]:
    return dict.fromkeys(REACTIONS, value)


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_is_dated_titled_and_loads(name: str) -> None:
    """W34."""
    content = tomllib.loads((PRESETS / f"{name}.toml").read_text("utf-8"))
    assert content["name"] == name
    assert date.fromisoformat(content["date"])
    assert content["title"]
    policy = load_policy(f"fb-2018-h1+{name}" if name in OVERLAYS else name)
    assert policy.schema_ == 1
    assert policy.name == ("fb-2018-h1" if name in OVERLAYS else name)


def numbers(prefix: str, value: Any) -> list[str]:
    if isinstance(value, dict):
        return [path for key, inner in value.items() for path in numbers(f"{prefix}.{key}".strip("."), inner)]
    return [prefix] if isinstance(value, int | float) and not isinstance(value, bool) else []


@pytest.mark.parametrize("name", preset_names())
def test_every_number_of_a_preset_names_its_row_or_is_marked_as_an_assumption(name: str) -> None:
    """W34; read here with tomllib, apart from the function that says the same."""
    content = tomllib.loads((PRESETS / f"{name}.toml").read_text("utf-8"))
    sources = content.pop("sources", {})
    del content["schema"]
    for path in numbers("", content):
        parts = path.split(".")
        source = next(
            (sources[p] for i in range(len(parts)) if (p := ".".join(parts[: i + 1])) in sources), ""
        )
        assert re.search(r"\b[WEC]\d+\b|assumption|published code", source), path
    for key in sources:
        assert any(path == key or path.startswith(f"{key}.") for path in [*numbers("", content), key])
    assert numbers_without_source(name) == []


def test_a_number_without_a_source_is_found(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(
        'schema = 1\nname = "mine"\n[weights]\nlike = 1\nlove = 2\n[sources]\n"weights.like" = "W3"\n'
    )
    assert numbers_without_source(str(file)) == ["weights.love"]


def test_the_list_of_presets_is_by_date_and_overlays_have_no_digest() -> None:
    found = list_presets()
    assert [info.date for info in found] == sorted(info.date for info in found)
    assert {info.name for info in found} == set(preset_names())
    assert {info.name for info in found if info.digest is None} == OVERLAYS
    assert all(info.digest == load_policy(info.name).digest for info in found if info.digest)


def test_2017_every_reaction_is_worth_five_likes() -> None:
    """W1."""
    policy = load_policy("fb-2017")
    assert reactions(policy) == same(5)
    assert policy.weights["like"] == 1
    assert policy.relationship == {}


def test_2018_the_scale_is_that_of_the_documents() -> None:
    """W3, W4, W5, W6, W8, W9, W10, W11."""
    policy = load_policy("fb-2018-h1")
    assert reactions(policy) == same(5)
    assert (policy.weights["like"], policy.weights["reshare"], policy.weights["rsvp"]) == (1, 5, 15)
    for name in ("significant_comment", "significant_message", "significant_reshare"):
        assert policy.weights[name] == 30
    assert max(policy.weights.values()) == 30
    assert policy.weights["comment"] == 15
    assert (policy.relationship["group_member"], policy.relationship["stranger"]) == (0.5, 0.3)
    assert (policy.significance.min_unique_tokens, policy.significance.media_counts_for_comments) == (
        5,
        False,
    )
    assert not policy.filters.deleted


@pytest.mark.parametrize(
    ("name", "weights"),
    [
        pytest.param("fb-2018-late", same(4), id="W12"),
        pytest.param("proposal-2019-07-like", same(4) | {"angry": 1, "wow": 1, "haha": 1}, id="W14 like"),
        pytest.param("proposal-2019-07-zero", same(4) | {"angry": 0, "wow": 0, "haha": 0}, id="W14 zero"),
        pytest.param("proposal-2019-late", same(4) | {"angry": 1, "wow": 1, "haha": 1}, id="W15"),
        pytest.param("fb-2020-early", same(1.5), id="W17"),
        pytest.param("fb-2020-angry-half", same(1.5) | {"angry": 0.5}, id="W19"),
        pytest.param(
            "fb-2020-10", {"love": 2, "care": 2, "sad": 2, "haha": 1.5, "wow": 1.5, "angry": 0}, id="W20"
        ),
        pytest.param(
            "angry-negative",
            {"love": 2, "care": 2, "sad": 2, "haha": 1.5, "wow": 1.5, "angry": -1},
            id="W36",
        ),
    ],
)
def test_each_later_scale_changes_the_reactions_and_keeps_the_rest(
    name: str, weights: dict[str, float]
) -> None:
    """W12, W14, W15, W16, W17, W19, W20, W36."""
    policy, first = load_policy(name), load_policy("fb-2018-h1")
    assert reactions(policy) == weights
    assert {k: v for k, v in policy.weights.items() if k not in REACTIONS} == {
        k: v for k, v in first.weights.items() if k not in REACTIONS
    }
    assert policy.relationship == first.relationship


def test_autumn_2020_filters_deleted_and_single_character_comments() -> None:
    """W21, W22."""
    assert load_policy("fb-2020-early").filters.model_dump() == {
        "deleted": False,
        "single_character_comment": False,
    }
    assert load_policy("fb-2020-10").filters.model_dump() == {
        "deleted": True,
        "single_character_comment": True,
    }


def test_removing_angry_drops_the_signal_and_keeps_the_scale() -> None:
    """W16."""
    policy = load_policy("remove-angry")
    assert policy.drop == ("angry",)
    assert policy.weights == load_policy("fb-2018-late").weights


def test_the_presets_are_a_timeline() -> None:
    """W16, W34: the proposals stand between the scales that were in force."""
    dated = {info.name: info.date for info in list_presets()}
    line = ["fb-2017", "fb-2018-h1", "fb-2018-late", "proposal-2019-07-like", "proposal-2019-late"]
    line += ["fb-2020-early", "fb-2020-angry-half", "fb-2020-10", "break-the-glass"]
    assert [dated[name] for name in line] == sorted(dated[name] for name in line)


def test_harm_aware_holds_what_its_description_says() -> None:
    """W20, W26, W32, E24: angry nothing, bounded, full demotions to zero, a guard, no haha in Myanmar."""
    policy = load_policy("harm-aware")
    assert policy.weights["angry"] == 0
    assert policy.score.bounded
    assert {curve.floor for curve in policy.demotion.values()} == {0.0}
    assert policy.guard.max_signal_share == 0.7
    assert policy.override["country"]["MM"] == {"haha": 0}
    assert policy.anger is not None
    assert policy.anger.prior_rate == pytest.approx(0.429 / (63 + 11 + 0.429), abs=5e-5)  # W18


def test_the_prosocial_arm_spans_minus_one_to_one() -> None:
    weights = load_policy("prosocial-2024").labels.values()
    assert sum(w for w in weights if w > 0) == pytest.approx(1, abs=1e-12)
    assert sum(w for w in weights if w < 0) == pytest.approx(-1, abs=1e-12)


def test_overlays_are_laid_over_and_taken_off_again() -> None:
    """W23, W24: the digest after on and off is that of before, and each switch leaves a record."""
    start = "fb-2018-h1+live-boost"
    on, laid = switch_overlay(start, "break-the-glass", on=True, by="ana", reason="unrest")
    assert on == "fb-2018-h1+live-boost+break-the-glass"
    assert load_policy(on).media.boost_cap == 60
    assert load_policy(on).media.boost == {"live_video": 600}
    assert load_policy(on).overlays == ("live-boost", "break-the-glass")
    off, taken = switch_overlay(on, "break-the-glass", on=False, by="ana", reason="calm")
    assert off == start
    assert laid.digest_before == taken.digest_after == load_policy(start).digest
    assert laid.digest_after == taken.digest_before == load_policy(on).digest
    assert laid.digest_before != laid.digest_after
    record = taken.as_dict()
    assert (record["action"], record["overlay"], record["by"], record["reason"]) == (
        "off",
        "break-the-glass",
        "ana",
        "calm",
    )
    assert record["policy"] == on
    assert datetime.fromisoformat(record["time"]).tzinfo is not None


@pytest.mark.parametrize(
    ("spec", "on", "by", "message"),
    [
        ("fb-2017", False, "ana", "expected break-the-glass to be on before"),
        ("fb-2017+break-the-glass", True, "ana", "expected break-the-glass to be off before"),
        ("fb-2017", True, " ", "audit: expected who"),
    ],
)
def test_a_switch_that_would_do_nothing_or_has_no_name_is_refused(
    spec: str, on: bool, by: str, message: str
) -> None:
    """W24."""
    with pytest.raises(PolicyError, match=message):
        switch_overlay(spec, "break-the-glass", on=on, by=by, reason="unrest")


def test_differences_are_the_keys_that_differ() -> None:
    found = differences(load_policy("fb-2020-early"), load_policy("fb-2020-angry-half"))
    assert found == [("weights.angry", 1.5, 0.5)]
    assert differences(load_policy("fb-2017"), load_policy("fb-2017")) == []
    with_glass = differences(load_policy("fb-2017"), load_policy("fb-2017+break-the-glass"))
    assert ("media.boost_cap", None, 60.0) in with_glass
    added = {key: (a, b) for key, a, b in differences(load_policy("fb-2017"), load_policy("fb-2018-h1"))}
    assert added["weights.rsvp"] == (None, 15.0)
    assert "weights.comment" not in added
    assert added["weights.significant_comment"] == (15.0, 30.0)


@pytest.mark.parametrize(
    ("spec", "settings", "message"),
    [
        ("fb-2081-h1", [], 'policy "fb-2081-h1": expected a preset .* did you mean "fb-2018-h1"'),
        ("missing.toml", [], "expected a preset or a .toml file that exists"),
        ("break-the-glass", [], r"expected a policy, got an overlay; write BASE\+break-the-glass"),
        ("fb-2017+fb-2018-h1", [], r"fb-2018-h1: expected an overlay after \+, got a policy"),
        ("fb-2017", ["weights.angry"], "--set: expected key=value"),
        ("fb-2017", ["=1"], "--set: expected key=value"),
        ("fb-2017", ["weights.angry=lots"], "--set weights.angry: expected a TOML value"),
        (
            "fb-2017",
            ["weights.angyr=0"],
            r'fb-2017 with weights.angyr=0: weights: unknown signal "angyr"; did',
        ),
    ],
)
def test_a_policy_that_cannot_be_read_says_why(spec: str, settings: list[str], message: str) -> None:
    with pytest.raises(PolicyError, match=message):
        load_policy(spec, settings)


def test_a_file_may_stand_on_a_preset_or_on_a_file_beside_it(tmp_path: Path) -> None:
    (tmp_path / "low.toml").write_text('schema = 1\nname = "low"\nbase = "fb-2017"\n[weights]\nlove = 3\n')
    (tmp_path / "high.toml").write_text('schema = 1\nname = "high"\nbase = "low.toml"\n[weights]\nsad = 2\n')
    policy = load_policy(str(tmp_path / "high.toml"), ["weights.like=2"])
    assert (policy.name, policy.weights["love"], policy.weights["sad"], policy.weights["wow"]) == (
        "high",
        3,
        2,
        5,
    )
    assert policy.weights["like"] == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            b'schema = 1\nname = "loop"\nbase = "loop.toml"\n',
            "expected the name of a policy at most 5 levels up",
        ),
        (b"schema = 1\nname = 'x'\nbase = 3\n", "base: expected the name of a policy"),
        (b"schema = ", "expected TOML in UTF-8"),
        (b"name = '\xff'", "expected TOML in UTF-8"),
        (b"name = 'old'", "schema: expected 1, got None"),
        (b"schema = 2\nname = 'new'", "schema: expected 1, got 2"),
        (b"schema = 1", "name: expected a value, got none"),
        (b"schema = 1\nname = 'x'\n[blend]\nalpha = 0.5", "blend.old: expected a value, got none"),
    ],
)
def test_a_file_that_is_no_policy_is_refused(tmp_path: Path, text: bytes, message: str) -> None:
    (tmp_path / "loop.toml").write_bytes(text)
    with pytest.raises(PolicyError, match=message):
        load_policy(str(tmp_path / "loop.toml"))


def test_a_blend_holds_the_scale_it_names() -> None:
    """E14."""
    blend = load_policy("strength-scaled").blend
    old = load_policy("fb-2017")
    assert blend is not None
    assert (blend.scale.weights, blend.scale.relationship) == (old.weights, old.relationship)
