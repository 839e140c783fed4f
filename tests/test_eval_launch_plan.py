"""eval.launch_plan: a closed file whose digest holds every number that decides."""

import tomllib
from pathlib import Path

import pytest

from eval.launch_plan import SHIPPED, load_plan, plan_of
from eval.margins import load_margins


def table(**changes):
    return tomllib.loads(SHIPPED.read_text()) | changes


def test_the_shipped_plan_takes_the_shipped_margins_and_ends_at_full_strength():
    plan = load_plan()
    assert plan.activity.digest == load_margins().digest
    assert plan.strengths == (0.25, 0.5, 1.0)
    assert plan.harm_margin("toxicity") == 0.02
    assert plan.margins.overall["civic"] == 0.1


def test_full_strength_is_always_among_the_strengths():
    assert plan_of(table(strengths=[0.5])).strengths == (0.5, 1.0)
    assert plan_of(table(strengths=[])).strengths == (1.0,)


def test_the_digest_knows_every_number_and_neither_order_nor_comments(tmp_path: Path):
    digest = load_plan().digest
    turned = dict(reversed(table().items()))
    assert plan_of(turned).digest == digest
    file = tmp_path / "gate.toml"
    file.write_text("# by us\n" + SHIPPED.read_text())
    assert load_plan(file).digest == digest
    changes = (
        {"shown": ["10%"]},
        {"strengths": [0.5, 1.0]},
        {"ineffective_per_1000": 11.0},
        {"own_ruler_counts": True},
        {"allow_not_measured": []},
        {"harm": {"any": 0.03}},
        {"topics": {"civic": 0.1}},
        {"groups": {"columns": ["language"], "margin": 0.2, "least_share": 0.02}},
        {"activity": {"comments": 0.02}},
    )
    assert len({digest, *(plan_of(table(**change)).digest for change in changes)}) == len(changes) + 1


def test_another_digest_than_the_planned_one_is_told():
    plan = load_plan()
    assert plan.banner(plan.digest) == plan.banner(None) == ""
    assert "expected the digest 0123 that was planned, got" in plan.banner("0123")


def test_a_harm_without_a_margin_of_its_own_has_that_of_any_or_none():
    plan = plan_of(table(harm={"any": 0.02, "toxicity": 0.01}))
    assert (plan.harm_margin("toxicity"), plan.harm_margin("angry_share")) == (0.01, 0.02)
    assert plan_of(table(harm={"toxicity": 0.01})).harm_margin("angry_share") is None


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"schema": 2}, "schema: expected 1, got 2"),
        ({"tests": 1}, "expected only schema, shown, .*, got tests"),
        ({"harm": {}}, "harm: expected at least one margin, got none"),
        ({"harm": {"toxicity": 2}}, r"harm.toxicity: expected a number in \(0, 1\), got 2"),
        ({"harm": ["toxicity"]}, r"harm: expected a table, got \['toxicity'\]"),
        ({"topics": {"civic": 0.0}}, r"topics.civic: expected a number in \(0, 1\), got 0.0"),
        ({"strengths": [0.5, 1.5]}, r"strengths: expected numbers in \(0, 1\], got 1.5"),
        ({"strengths": [0.0]}, r"strengths: expected numbers in \(0, 1\], got 0.0"),
        ({"strengths": "all"}, r"strengths: expected numbers in \(0, 1\], got all"),
        ({"strengths": [0.5, 0.5]}, r"strengths: expected each once, got \[0.5, 0.5\]"),
        ({"shown": []}, "shown: expected at least one browsing model, got none"),
        ({"shown": ["all of it"]}, "browsing: expected .* got 'all of it'"),
        ({"ineffective_per_1000": 0}, r"ineffective_per_1000: expected a number in \(0, 1000\), got 0"),
        ({"own_ruler_counts": 1}, "own_ruler_counts: expected true or false, got 1"),
        ({"allow_not_measured": "time"}, "allow_not_measured: expected a list of names, got 'time'"),
        ({"groups": {"column": "language"}}, "groups: expected only columns, .*, got column"),
        ({"groups": "language"}, "groups: expected a table, got 'language'"),
        ({"activity": {}}, "activity: expected at least one margin, got none"),
    ],
)
def test_what_cannot_be_a_plan_is_refused(changes, told):
    with pytest.raises(ValueError, match=told):
        plan_of(table(**changes))


def test_an_empty_file_and_one_that_is_no_toml_are_refused(tmp_path: Path):
    file = tmp_path / "gate.toml"
    file.write_text("")
    with pytest.raises(ValueError, match=r"gate.toml: schema: expected 1, got None"):
        load_plan(file)
    file.write_text("schema = 1\n")
    with pytest.raises(ValueError, match=r"gate.toml: shown: expected a value, got none"):
        load_plan(file)
    file.write_text("schema: 1")
    with pytest.raises(ValueError, match=r"gate.toml: expected TOML in UTF-8, got"):
        load_plan(file)
