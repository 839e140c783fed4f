"""Policies of the playground: what an export keeps, and how far sliders go."""

import json
from pathlib import Path

import pytest

from reranker.policy import PolicyError, build_policy
from reranker.presets import list_presets, load_policy, numbers_without_source
from reranker.serving.playground_policies import Arm, arm_policy, highest_floor, list_policies, policy_toml

POLICIES = [info.name for info in list_presets() if info.kind == "policy"]


@pytest.mark.parametrize(
    "name", [*POLICIES, "harm-aware+break-the-glass", "fb-2018-h1+halving", "fb-2017+live-boost"]
)
def test_an_exported_policy_loads_to_the_same_digest(name: str, tmp_path: Path) -> None:
    arm = Arm(
        policy=name, settings={"weights.angry": -0.25, "weights.love": 1e-7, "slate.thread_order": False}
    )
    start = arm_policy(Arm(policy=name), "harm-aware")
    for policy in (start, arm_policy(arm, "harm-aware")):
        path = tmp_path / "mine.toml"
        path.write_text(policy_toml(policy, start), encoding="utf-8")
        loaded = load_policy(str(path))
        assert loaded.digest == policy.digest
        assert loaded.name == policy.name + "-changed" * (policy is not start)


def test_every_number_of_an_exported_policy_says_where_it_is_from(tmp_path: Path) -> None:
    start = load_policy("harm-aware")
    changed = {"weights.angry": 3, "demotion.insult.start": 0.2, "demotion.insult.line": 0.4}
    path = tmp_path / "mine.toml"
    path.write_text(policy_toml(arm_policy(Arm(policy="harm-aware", settings=changed), "harm-aware"), start))
    assert numbers_without_source(str(path)) == []
    assert 'set by hand in the playground, 0 before"' in path.read_text()


@pytest.mark.parametrize("name", POLICIES)
def test_a_demotion_may_be_as_weak_as_the_sliders_allow_and_no_weaker(name: str) -> None:
    policy = load_policy(name)
    limit = highest_floor(policy)

    def floor(value: float) -> None:
        content = policy.model_dump(mode="json", by_alias=True)
        curve = {"start": 0.2, "line": 0.5, "floor": value}
        build_policy(content | {"demotion": {"toxicity": curve}}, name)

    floor(limit)
    if limit < 1.0:
        with pytest.raises(PolicyError, match="floor"):
            floor(limit + 0.001)


def test_the_policy_of_the_server_is_offered_where_it_is_a_file(tmp_path: Path) -> None:
    own = tmp_path / "own.toml"
    own.write_text('schema = 1\nname = "own"\ntitle = "Ours"\n[weights]\nlike = 3\n')
    found = list_policies(str(own))
    assert found[0] == {"name": "server", "kind": "policy", "title": "Ours", "date": "", "expects": "either"}
    assert arm_policy(Arm(policy="server"), str(own)).weights == {"like": 3}
    assert str(tmp_path) not in json.dumps(found)
    assert "server" not in [one["name"] for one in list_policies("harm-aware")]
