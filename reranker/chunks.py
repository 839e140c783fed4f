"""Posts to a scorer in chunks of fixed length, so that it makes no difference where a chunk is scored.

The last bits of a score depend on the texts that are read together. Chunks are cut alike for one process and
for several, which is why both give the same bytes.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from models.scores import Content, HarmScores, Scorer

ScoreChunks = Callable[[Sequence[Content]], Iterator[tuple[int, HarmScores]]]
"""The place of each chunk and its scores, in whatever order they are ready."""


def in_chunks(score_chunks: ScoreChunks, size: int, on_posts: Callable[[int], None]) -> Scorer:
    """A scorer that has equal posts scored once and the distinct ones in chunks of `size`.

    `on_posts` gets the number of distinct posts done so far of those in hand. No post at all is one chunk, as
    its scores carry the labels.
    """

    def score(content: Content) -> HarmScores:
        seen: dict[tuple[object, ...], int] = {}
        first: list[int] = []  # the row of each distinct post where it stands first
        row = np.empty(content.n, dtype=np.intp)  # of each post among the distinct ones
        for i, (text, language, urls) in enumerate(
            zip(content.text, content.language, content.urls, strict=True)
        ):
            row[i] = seen.setdefault((text, language, *(urls or ())), len(first))
            if row[i] == len(first):
                first.append(i)
        chunks = [content.take(first[start : start + size]) for start in range(0, max(1, len(first)), size)]
        found: dict[int, HarmScores] = {}
        done = 0
        for place, scores in score_chunks(chunks):
            found[place] = scores
            done += scores.n
            on_posts(done)
        return _stacked([found[place] for place in range(len(chunks))]).take(row)

    return score


def one_by_one(scorer: Scorer) -> ScoreChunks:
    """The chunks scored in this process, in their order."""
    return lambda chunks: enumerate(map(scorer, chunks))


def _stacked(parts: Sequence[HarmScores]) -> HarmScores:
    assert len({(part.model, part.labels) for part in parts}) == 1  # wherever they were made, by one scorer
    return HarmScores(
        parts[0].labels,
        np.vstack([part.probability for part in parts]),
        np.vstack([part.confidence for part in parts]),
        parts[0].model,
    )
