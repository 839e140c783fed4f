"""The score cache: what comes out is what a scorer gave, whoever else writes and whatever goes wrong."""

import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import models.cache
from models.cache import ScoreCache, cached
from models.scores import Content, HarmScores

LABELS = ("toxicity", "threat", "insult")
POSTS = st.lists(
    st.tuples(
        st.none() | st.text(st.characters(), max_size=6),
        st.sampled_from([None, "en", "de"]),
        st.none() | st.lists(st.text(max_size=3), max_size=3),
    ),
    max_size=12,
)
WRITER = """
import sys
from pathlib import Path
from models.cache import ScoreCache
first, stop = int(sys.argv[2]), int(sys.argv[3])
cache = ScoreCache(Path(sys.argv[1]))
for start in range(first, stop, 50):
    keys = [b"%032d" % i for i in range(start, min(start + 50, stop))]
    cache.put({key: key * 2 for key in keys})
    assert cache.get(keys) == {key: key * 2 for key in keys}
"""


def content_of(posts: list[tuple[str | None, str | None, list[str] | None]]) -> Content:
    return Content(*([post[i] for post in posts] for i in range(3)))


class Scorer:
    """Scores that depend on all that a post has; counts the posts it was asked for."""

    def __init__(self, model: str = "toy@1", labels: tuple[str, ...] = LABELS) -> None:
        self.model, self.labels, self.asked = model, labels, 0

    def __call__(self, content: Content) -> HarmScores:
        self.asked += content.n
        rows = []
        for text, language, urls in zip(content.text, content.language, content.urls, strict=True):
            seed = abs(hash((text, language, tuple(urls or ()))))
            values = np.random.default_rng(seed).random(len(self.labels))
            values[1:][values[1:] < 0.2] = np.nan
            rows.append(values if text else np.full(len(self.labels), np.nan))
        p = np.array(rows, dtype=np.float32).reshape(content.n, len(self.labels))
        return HarmScores(self.labels, p, 1 - p / 2, self.model)


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[ScoreCache]:
    opened = ScoreCache(tmp_path / "scores.sqlite")
    yield opened
    opened.close()


@settings(max_examples=60, deadline=None)
@given(calls=st.lists(POSTS, min_size=1, max_size=4), max_rows=st.sampled_from([1, 5, 1000]))
def test_cached_scores_are_those_without_a_cache(
    calls: list[list[tuple[str | None, str | None, list[str] | None]]],
    max_rows: int,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    kept = ScoreCache(tmp_path_factory.mktemp("c") / "scores.sqlite", max_rows=max_rows)
    scorer = Scorer()
    with_cache = cached(scorer, kept)
    for posts in calls:
        got, expected = with_cache(content_of(posts)), scorer(content_of(posts))
        assert (got.labels, got.model) == (expected.labels, expected.model)
        assert got.probability.tobytes() == expected.probability.tobytes()
        assert got.confidence.tobytes() == expected.confidence.tobytes()
        assert len(kept) <= max_rows
    kept.close()


def test_a_post_is_asked_for_once_and_an_unscored_one_again(cache: ScoreCache) -> None:
    scorer = Scorer()
    posts = content_of([("a", None, None), ("a", None, None), ("b", None, None), (None, "en", None)])
    cached(scorer, cache)(posts)
    assert scorer.asked == 3
    assert len(cache) == 2
    cached(scorer, cache)(posts)
    assert scorer.asked == 4


def test_scores_are_not_mixed_up_between_posts_links_languages_models_or_ratings(cache: ScoreCache) -> None:
    kinds = [
        ("ab", None, None),
        ("a", "b", None),
        ("a", None, ["b"]),
        ("a", None, ["b", ""]),
        ("a", None, ["b0:"]),
        ("a", "", ["b"]),
    ]
    for kind in kinds:
        cached(Scorer(), cache)(content_of([kind]))
    for other in (Scorer("toy@2"), Scorer(labels=("toxicity", "threat"))):
        cached(other, cache)(content_of(kinds[:1]))
        assert other.asked == 1
    rated = Scorer()
    cached(rated, cache, decided_by="other ratings")(content_of(kinds[:1]))
    assert rated.asked == 1
    assert len(cache) == len(kinds) + 3


def test_scores_that_other_code_read_are_not_found(
    cache: ScoreCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    scorer = Scorer()
    posts = content_of([("a", None, None)])
    cached(scorer, cache)(posts)
    monkeypatch.setattr(models.cache, "READING_VERSION", models.cache.READING_VERSION + 1)
    cached(scorer, cache)(posts)
    assert scorer.asked == 2


def test_the_oldest_rows_go_first(tmp_path: Path) -> None:
    cache = ScoreCache(tmp_path / "scores.sqlite", max_rows=3)
    for name in (b"a", b"b", b"c", b"b", b"d"):
        cache.put({name: name})
    assert cache.get([b"a", b"b", b"c", b"d"]) == {b"b": b"b", b"c": b"c", b"d": b"d"}
    cache.put({b"%d" % i: b"" for i in range(10)})
    assert sorted(cache.get([b"%d" % i for i in range(10)])) == [b"7", b"8", b"9"]
    cache.close()
    with pytest.raises(ValueError, match="max_rows: expected at least 1, got 0"):
        ScoreCache(tmp_path / "scores.sqlite", max_rows=0)


def test_a_file_that_another_opens_at_the_same_time_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "scores.sqlite"
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    ends = threading.Timer(0.2, lambda: other.execute("COMMIT"))
    ends.start()
    cache = ScoreCache(path)
    assert not other.in_transaction
    assert len(cache) == 0
    cache.close()
    ends.join()
    other.close()


def test_two_processes_write_at_once_and_nothing_is_lost(tmp_path: Path) -> None:
    path = tmp_path / "scores.sqlite"
    ranges = ((0, 1500), (1000, 2500))
    running = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(path), str(first), str(stop)], cwd=Path.cwd())
        for first, stop in ranges
    ]
    assert [process.wait(timeout=300) for process in running] == [0, 0]
    cache = ScoreCache(path)
    keys = [b"%032d" % i for i in range(2500)]
    assert cache.get(keys) == {key: key * 2 for key in keys}
    assert len(cache) == 2500
    cache.close()
    checked = sqlite3.connect(path)
    assert checked.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    checked.close()


def test_a_file_that_is_no_cache_is_refused_and_left_alone(tmp_path: Path) -> None:
    text = tmp_path / "text.sqlite"
    text.write_text("no database, but long enough to have a header of its own\n" * 20)
    with pytest.raises(
        ValueError, match=r"text\.sqlite: expected a score cache, got: file is not a database"
    ):
        ScoreCache(text)
    other = tmp_path / "other.sqlite"
    file = sqlite3.connect(other)
    file.execute("CREATE TABLE mine (x)")
    file.commit()
    file.close()
    before = other.read_bytes()
    with pytest.raises(ValueError, match="expected a score cache, got another SQLite file"):
        ScoreCache(other)
    assert other.read_bytes() == before
    with pytest.raises(OSError, match="unable to open"):
        ScoreCache(tmp_path / "no" / "folder.sqlite")


def test_a_damaged_cache_is_told(tmp_path: Path) -> None:
    path = tmp_path / "scores.sqlite"
    cache = ScoreCache(path)
    keys = [b"%032d" % i for i in range(3000)]
    cache.put({key: key for key in keys})
    cache.close()
    whole = path.read_bytes()
    path.write_bytes(whole[:4096] + b"\xa5" * (len(whole) - 4096))
    damaged = ScoreCache(path)
    with pytest.raises(ValueError, match="delete it to start a new one"):
        damaged.get(keys)
    damaged.close()


@pytest.mark.parametrize(
    ("change", "told"), [("x'00'", "24 bytes per post"), ("zeroblob(24) || 1", "24 bytes")]
)
def test_values_of_another_length_are_told(cache: ScoreCache, change: str, told: str) -> None:
    posts = content_of([("a", None, None)])
    cached(Scorer(), cache)(posts)
    file = sqlite3.connect(cache.path, isolation_level=None)
    file.execute(f"UPDATE scores SET value = {change}")
    file.close()
    with pytest.raises(ValueError, match=told):
        cached(Scorer(), cache)(posts)


def test_values_that_are_no_probabilities_are_told(cache: ScoreCache) -> None:
    posts = content_of([("a", None, None)])
    cached(Scorer(), cache)(posts)
    file = sqlite3.connect(cache.path, isolation_level=None)
    file.execute("UPDATE scores SET value = ?", (np.full(6, 7, dtype="<f4").tobytes(),))
    file.close()
    with pytest.raises(ValueError, match=r"scores\.sqlite: probability: expected numbers in \[0, 1\]"):
        cached(Scorer(), cache)(posts)


def test_a_write_that_fails_keeps_nothing_of_itself(cache: ScoreCache) -> None:
    with pytest.raises(ValueError, match="expected a score cache, got: NOT NULL"):
        cache.put({b"a": b"a", b"b": None})  # type: ignore[dict-item]
    assert len(cache) == 0
    cache.put({b"a": b"a"})
    assert cache.get([b"a"]) == {b"a": b"a"}


def test_a_scorer_without_labels_is_cached_too(cache: ScoreCache) -> None:
    assert cached(Scorer(labels=()), cache)(content_of([("a", None, None)])).probability.shape == (1, 0)
