"""The main job from one feed to a report."""

import json
from pathlib import Path

import numpy as np

from eval.outcomes import label_outcomes, standard_outcomes
from eval.study import Arm, run_study
from models.scores import HarmScores
from reranker.sample import make_sample
from reranker.value import Harms


def small():
    feed = make_sample(1, n_users=15, n_posts=250, n_requests=20)
    toxic = feed.attributes["is_toxic"].astype(np.float32)
    probability = np.column_stack([0.02 + 0.9 * toxic, np.full(feed.n, 0.1, dtype=np.float32)])
    scores = HarmScores(("toxicity", "respect"), probability, np.ones_like(probability), "truth")
    return feed, Harms(scores, np.full(feed.n, np.nan))


def test_a_study_demotes_what_is_toxic_and_writes_the_same_bytes_twice(tmp_path: Path):
    feed, harms = small()
    outcomes = standard_outcomes(feed, harms, attributes=["is_toxic"])
    arms = (Arm("fb-2018-h1"), Arm("harm-aware"))
    done = [run_study(feed, harms, arms, outcomes, tmp_path / name, data="small") for name in ("a", "b")]
    toxic = done[0].comparison.row("is_toxic")
    assert toxic.direction == "decreased"
    assert toxic.treatment == 0.0
    for first, second in zip(done[0].files, done[1].files, strict=True):
        assert first.read_bytes() == second.read_bytes()
    found = json.loads(done[0].files[0].read_text())
    assert found["ineffective_demotions_per_1000"]["treatment"] == 0.0
    assert found["explanations"]


def test_texts_are_on_the_page_only_where_they_are_asked_for(tmp_path: Path):
    feed, harms = small()
    outcomes = label_outcomes(harms)
    arms = (Arm("fb-2018-h1"), Arm("harm-aware", ("slate.author_decay=1",)))
    pages = [
        run_study(feed, harms, arms, outcomes, tmp_path / str(show), show_text=show).files[-1].read_text()
        for show in (False, True)
    ]
    shown = [sum(text[:40] in page for text in feed.text.values if len(text) > 40) for page in pages]
    assert shown[0] == 0
    assert shown[1] > 0


def test_bridging_is_context_and_toxicity_is_exposure():
    _, harms = small()
    assert [outcome.kind for outcome in label_outcomes(harms)] == ["exposure", "context"]
