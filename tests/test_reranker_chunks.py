"""Chunks: what a scorer is asked for, and that its answers find their posts."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from models.scores import Content, HarmScores
from reranker.chunks import in_chunks, one_by_one

POSTS = st.lists(
    st.tuples(
        st.none() | st.sampled_from(["a", "b", "c", ""]),
        st.sampled_from([None, "en"]),
        st.none() | st.lists(st.sampled_from(["x", "y"]), max_size=2),
    ),
    max_size=20,
)


def content_of(posts: list[tuple[str | None, str | None, list[str] | None]]) -> Content:
    return Content(*([post[i] for post in posts] for i in range(3)))


class Scorer:
    """Scores that depend on all that a post has; keeps what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[Content] = []

    def __call__(self, content: Content) -> HarmScores:
        self.asked.append(content)
        rows = [
            [np.nan if text is None else len(text) / 2, len(str((language, tuple(urls or ())))) / 100]
            for text, language, urls in zip(content.text, content.language, content.urls, strict=True)
        ]
        p = np.array(rows, dtype=np.float32).reshape(content.n, 2)
        return HarmScores(("toxicity", "threat"), p, 1 - p / 2, "toy@1")


@given(POSTS, st.integers(1, 6))
def test_chunks_give_what_the_whole_gives_and_equal_posts_are_asked_for_once(
    posts: list[tuple[str | None, str | None, list[str] | None]], size: int
) -> None:
    content, scorer, done = content_of(posts), Scorer(), list[int]()
    found = in_chunks(one_by_one(scorer), size, done.append)(content)
    asked = [chunk.n for chunk in scorer.asked]
    expected = Scorer()(content)
    assert (found.labels, found.model) == (expected.labels, expected.model)
    assert found.probability.tobytes() == expected.probability.tobytes()
    assert found.confidence.tobytes() == expected.confidence.tobytes()
    distinct = {(text, language, tuple(urls or ())) for text, language, urls in posts}
    assert sum(asked) == len(distinct) == done[-1]
    assert asked == [size] * (len(distinct) // size) + [len(distinct) % size] * (
        len(distinct) % size > 0 or not distinct
    )


def test_chunks_that_are_ready_in_another_order_find_their_place() -> None:
    content = Content.of_texts(["", "a", "bb", None, "a"])
    scorer = Scorer()
    backwards = in_chunks(
        lambda chunks: reversed(list(enumerate(map(scorer, chunks)))), 2, lambda _done: None
    )
    assert backwards(content).probability.tobytes() == scorer(content).probability.tobytes()
