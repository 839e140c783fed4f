"""The Upworthy archive: headlines of one story shown to random readers, with impressions and clicks.

Which headline a reader met was random; whether a headline has a negative word was an editor's choice, as
was the picture beside it. The effect is that of the headlines that were written, not of a word put in.
Only tests with headlines of both kinds say anything, and each is compared with itself alone.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy import special

from eval.clustered import LEVEL, Estimate, clustered_mean, clustered_ratio, from_cluster_influence
from eval.lexicon import Lexicon
from reranker.columns import BoolArray, FloatArray, IntArray, StringColumn, first_row, freeze_arrays

COLUMNS = ("clickability_test_id", "headline", "eyecatcher_id", "impressions", "clicks")
SMALLEST_EXPECTED = 5.0  # impressions of an arm, below which chi-square says nothing
_STEPS = 50


@dataclass(frozen=True, eq=False)
class HeadlineArms:
    """Arms of headline tests, one row each.

    Attributes:
        test: (n,) code of the test.
        image: (n,) code of the picture, -1 where not recorded.
        headline: (n,) the text.
        impressions: (n,) readers who were shown it.
        clicks: (n,) of them, at most as many.

    Raises:
        ValueError: lengths that differ, numbers below 0 or not finite, or more clicks than impressions.
    """

    test: IntArray
    image: IntArray
    headline: StringColumn
    impressions: FloatArray
    clicks: FloatArray

    def __post_init__(self) -> None:
        n = len(self.test)
        for name in ("image", "headline", "impressions", "clicks"):
            if len(getattr(self, name)) != n:
                raise ValueError(f"{name}: expected {n} rows, got {len(getattr(self, name))}")
        wrong = ~((self.clicks >= 0) & (self.clicks <= self.impressions) & np.isfinite(self.impressions))
        if wrong.any():
            row = first_row(wrong)
            got = f"{self.clicks[row]:g} of {self.impressions[row]:g}"
            raise ValueError(f"clicks: expected 0 to the impressions, got {got} at row {row}")
        freeze_arrays(self)

    def __len__(self) -> int:
        return len(self.test)

    def where(self, rows: BoolArray) -> "HeadlineArms":
        """Some of the arms."""
        return HeadlineArms(
            self.test[rows],
            self.image[rows],
            self.headline.take(np.flatnonzero(rows)),
            self.impressions[rows],
            self.clicks[rows],
        )


@dataclass(frozen=True)
class WithinTests:
    """Headlines of one kind against the others of the same tests.

    Attributes:
        relative: click-through of the kind over that of the others, minus 1 (Mantel-Haenszel), by test.
        wins: share of the tests that the kind wins, a tie half, each test counting once.
        n_tests, n_informative: tests, and those with impressions of both.
        n_without_text: arms left out because they have no headline.
    """

    relative: Estimate
    wins: Estimate
    n_tests: int
    n_informative: int
    n_without_text: int


def read_upworthy(path: str | Path) -> HeadlineArms:
    """The arms of the archive's parquet file.

    Raises:
        ValueError: a column is missing, or a test, impressions or clicks are null.
    """
    import pyarrow.parquet as pq  # noqa: PLC0415

    found = set(pq.read_schema(path).names)
    if missing := [name for name in COLUMNS if name not in found]:
        raise ValueError(
            f"{path}: expected columns {', '.join(COLUMNS)}, got none named {', '.join(missing)}"
        )
    table = pq.read_table(path, columns=list(COLUMNS))
    for name in ("clickability_test_id", "impressions", "clicks"):
        if table[name].null_count:
            raise ValueError(
                f"{path}: {name}: expected a value in every row, got {table[name].null_count} nulls"
            )
    test, headline, image = (
        StringColumn.from_values(table[name].to_pylist())
        for name in ("clickability_test_id", "headline", "eyecatcher_id")
    )
    return HeadlineArms(
        test=test.codes.astype(np.int64),
        image=image.codes.astype(np.int64),
        headline=headline,
        impressions=table["impressions"].to_numpy().astype(np.float64),
        clicks=table["clicks"].to_numpy().astype(np.float64),
    )


def effect_within_tests(
    arms: HeadlineArms, words: FloatArray, *, same_image: bool = False, level: float = LEVEL
) -> WithinTests:
    """How much more often headlines with a word of a list are clicked than others of the same test.

    The Mantel-Haenszel ratio: per stratum i with clicks a of n1 with a word and b of n0 without,
    sum(a n0 / (n1 + n0)) / sum(b n1 / (n1 + n0)). Valid for any number of strata however small, for a ratio
    that is alike in all; where it differs, a mean that leans to tests with many clicks. The interval lets
    arms of a test depend on each other and headlines differ beyond chance.

    Args:
        arms: of any tests.
        words: (n,) how many words of the list each headline has, as `Lexicon.count` gives; NaN is left out.
        same_image: compare only arms of a test with the same picture, where it was recorded.
        level: of the intervals.

    Raises:
        ValueError: another length, or fewer than 2 tests with headlines of both kinds.

    Source: Rothman, Greenland and Lash, Modern Epidemiology, 3rd edition, 2008, chapter 15 (pooled risk
    ratio); Robertson and others, Negativity drives online news consumption, 2023 (the question).
    """
    _check_words(arms, words)
    known = ~np.isnan(words)
    used = arms.where(known & (arms.image >= 0) if same_image else known)
    exposed = words[known & (arms.image >= 0) if same_image else known] > 0
    test, exposed_arms, others = _strata(used, exposed, same_image)
    shown = exposed_arms[0] + others[0]
    relative = clustered_ratio(
        exposed_arms[1] * others[0] / shown, others[1] * exposed_arms[0] / shown, test, level=level
    )
    margin = exposed_arms[1] * others[0] - others[1] * exposed_arms[0]  # above 0: the higher rate
    return WithinTests(
        relative=replace(relative, value=relative.value - 1, low=relative.low - 1, high=relative.high - 1),
        wins=clustered_mean((np.sign(margin) + 1) / 2, test, level=level),
        n_tests=len(np.unique(arms.test)),
        n_informative=len(np.unique(test)),
        n_without_text=int((~known).sum()),
    )


def rate_per_word(arms: HeadlineArms, words: FloatArray, *, level: float = LEVEL) -> Estimate:
    """The log of the ratio of click-through per further word, from within tests (conditional Poisson).

    Given the clicks of a test, an arm's share of them is in proportion to impressions times exp(b words);
    each test's own level drops out. With 0 and 1 for words it is another estimate of what
    `effect_within_tests` gives. Clustered by test, so arms may vary beyond Poisson.

    Args:
        arms: of any tests.
        words: (n,) of each headline; NaN is left out.
        level: of the interval.

    Raises:
        ValueError: another length, fewer than 2 tests in which the words differ, or no finite optimum.

    Source: Hausman, Hall and Griliches, Econometric models for count data with an application to the
    patents-R&D relationship, 1984, section 2.
    """
    _check_words(arms, words)
    known = ~np.isnan(words) & (arms.impressions > 0)
    _, first, code = np.unique(arms.test[known], return_index=True, return_inverse=True)
    x, shown, clicks = words[known], arms.impressions[known], arms.clicks[known]
    n_tests = int(code.max(initial=-1)) + 1
    b, total = 0.0, np.bincount(code, clicks, n_tests)
    told = (np.bincount(code, x != x[first][code], n_tests) > 0) & (total > 0)
    for _ in range(_STEPS):
        weight = shown * np.exp(np.clip(b * x, -50, 50))
        weight /= np.bincount(code, weight, n_tests)[code]
        centred = x - np.bincount(code, weight * x, n_tests)[code]
        score = np.bincount(code, clicks * centred, n_tests)
        information = np.bincount(code, weight * centred**2, n_tests) * total
        if not told.any() or not information[told].sum() > 1e-12:
            break
        step = float(score.sum() / information.sum())
        b += float(np.clip(step, -1, 1))
        if abs(step) < 1e-12:
            influence = score[told] / information.sum()
            return from_cluster_influence(b, influence, n=int(told[code].sum()), level=level)
    raise ValueError("words: expected tests in which they differ and clicks on either side, got none")


def sample_ratio_p(arms: HeadlineArms) -> FloatArray:
    """(n,) for each arm the p-value of its test's arms having been shown equally often.

    Arms were meant to be shown alike. NaN where a test has one arm or fewer than 5 impressions per arm.

    Source: Fabijan and others, Diagnosing sample ratio mismatch in online controlled experiments, 2019.
    """
    _, code = np.unique(arms.test, return_inverse=True)
    n_arms = np.bincount(code)
    expected = np.bincount(code, arms.impressions) / n_arms
    told = (n_arms > 1) & (expected >= SMALLEST_EXPECTED)
    spread = np.bincount(code, (arms.impressions - expected[code]) ** 2)
    p = np.full(len(n_arms), np.nan)
    p[told] = special.chdtrc(n_arms[told] - 1.0, spread[told] / expected[told])
    return np.asarray(p[code], dtype=np.float64)


def shuffled_within_tests(arms: HeadlineArms, words: FloatArray, rng: np.random.Generator) -> FloatArray:
    """(n,) the words of each headline dealt out anew among the arms of its test: an effect of 0 by design."""
    _check_words(arms, words)
    place = np.lexsort((np.arange(len(arms)), arms.test))
    dealt = np.empty_like(words)
    dealt[place] = words[np.lexsort((rng.random(len(arms)), arms.test))]
    return dealt


def count_words(arms: HeadlineArms, lexicon: Lexicon) -> FloatArray:
    """(n,) words of the list in each headline, NaN where there is none."""
    return lexicon.count(arms.headline)


def _check_words(arms: HeadlineArms, words: FloatArray) -> None:
    if words.shape != (len(arms),):
        raise ValueError(f"words: expected shape ({len(arms)},), got {words.shape}")


def _strata(
    arms: HeadlineArms, exposed: BoolArray, same_image: bool
) -> tuple[IntArray, tuple[FloatArray, FloatArray], tuple[FloatArray, FloatArray]]:
    """Test of each stratum with both kinds, and (impressions, clicks) of either kind."""
    width = int(arms.image.max(initial=0)) + 1
    key = arms.test * width + arms.image if same_image else arms.test
    keys, code = np.unique(key, return_inverse=True)

    def sums(values: FloatArray, rows: BoolArray) -> FloatArray:
        return np.bincount(code[rows], values[rows], len(keys)).astype(np.float64)

    first, second = ((sums(arms.impressions, rows), sums(arms.clicks, rows)) for rows in (exposed, ~exposed))
    kept = (first[0] > 0) & (second[0] > 0)
    if not kept.any():
        raise ValueError("words: expected tests with headlines of both kinds, got none")
    test = keys[kept] // width if same_image else keys[kept]
    return test, (first[0][kept], first[1][kept]), (second[0][kept], second[1][kept])
