"""Answers to "how meaningful was this", one row per item, and the shares of the countries.

Rows are kept as counts per respondent and cell: a cell is one kind of interaction, with one relation, that
got one answer. Respondents come in the order of their names, so the order of the rows never matters.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from reranker.columns import FeedError, FloatArray, IntArray, StringColumn, closest, first_row, frozen
from reranker.reading import Numbers, column_from_arrow
from reranker.signals import RELATIONS, SIGNAL_NAMES
from reranker.tables import Layout, read_table

REQUIRED = ("respondent", "country", "kind", "relation", "answer")
RESPONSE_LAYOUT: Layout = {
    **dict.fromkeys(("respondent", "country"), "id"),
    **dict.fromkeys(("kind", "relation"), "text"),
    **dict.fromkeys(("answer", "count"), "number"),
}
SHARE_LAYOUT: Layout = {"country": "id", "share": "number"}
NEGATIVE = frozenset(
    {"not_dwelled", "downvote", "request_less", "hide", "not_interested", "negative_feedback"}
    | {"report", "mute", "block"}
)
MAX_LEVELS = 20
MAX_COUNT = 10_000
SHARE_ERROR = 0.001


@dataclass(frozen=True, eq=False)
class Responses:
    """Answers as counts; see the module.

    Attributes:
        kinds, relations: those that occur, in the order of the signals and of the relations.
        countries: those that occur, sorted.
        n_levels: answers run from 1 to this.
        country: (N,) of each respondent.
        starts: (N + 1,) respondent i has the counts starts[i] to starts[i + 1].
        cell: (M,) (kind * relations + relation) * n_levels + answer - 1.
        count: (M,) how often, from 1.
        digest: sha256 of the content, names of respondents included, whatever the order of the rows.
    """

    kinds: tuple[str, ...]
    relations: tuple[str, ...]
    countries: tuple[str, ...]
    n_levels: int
    country: IntArray
    starts: IntArray
    cell: IntArray
    count: IntArray
    digest: str

    @property
    def n_respondents(self) -> int:
        """People who answered at least once."""
        return len(self.country)

    @property
    def n_answers(self) -> int:
        """Answers of all of them."""
        return int(self.count.sum())

    def counts(self) -> IntArray:
        """(countries, kinds, relations, levels) answers."""
        shape = (len(self.countries), len(self.kinds), len(self.relations), self.n_levels)
        owner = np.repeat(self.country, np.diff(self.starts))
        flat = owner * int(np.prod(shape[1:])) + self.cell
        return np.bincount(flat, weights=self.count, minlength=int(np.prod(shape))).astype(int).reshape(shape)


def read_responses(path: str | Path, *, n_levels: int = 5) -> Responses:
    """The answers in a .parquet, .jsonl, .ndjson or .csv file.

    Raises:
        FeedError: the file cannot be read, a column is missing, or a value in it is bad.
    """
    table = read_table(path, RESPONSE_LAYOUT)
    try:
        return responses_from_arrow(table, n_levels=n_levels)
    except FeedError as error:
        raise FeedError(f"{path}: {error}") from None


def responses_from_arrow(table: pa.Table, *, n_levels: int = 5) -> Responses:
    """The answers in a flat table with the columns respondent, country, kind, relation and answer.

    A column `count` may say how often the person gave that answer; else each row counts once. Columns of
    other names are ignored.

    Args:
        table: one row per answered item.
        n_levels: answers run from 1, not meaningful at all, to this.

    Raises:
        FeedError: a column is missing, a name unknown, an answer out of range, a count negative, all counts
            0, all answers the same, or a respondent in two countries.
    """
    if not 2 <= n_levels <= MAX_LEVELS:
        raise FeedError(f"levels: expected from 2 to {MAX_LEVELS}, got {n_levels}")
    if not table.num_rows:
        raise FeedError("expected answers, got none")
    for name in REQUIRED:
        if name not in table.column_names:
            raise FeedError(f"expected a column {name}, got {', '.join(table.column_names) or 'none'}")
    text = {name: _present(name, table) for name in ("respondent", "country", "kind", "relation")}
    kinds, kind = _known("kind", text["kind"], SIGNAL_NAMES)
    relations, relation = _known("relation", text["relation"], RELATIONS)
    _check_kinds(kinds)
    answer = _whole("answer", table, 1, n_levels)
    count = _whole("count", table, 0, MAX_COUNT) if "count" in table.column_names else np.ones_like(answer)
    if not count.any():
        raise FeedError("count: expected one above 0, got none")
    counted = count > 0
    if len(np.unique(answer[counted])) == 1:
        raise FeedError(f"answer: expected answers that differ, got {answer[counted][0]} everywhere")
    countries, country = _sorted_codes(text["country"])
    people, person = _sorted_codes(text["respondent"])
    cell = (kind * len(relations) + relation) * n_levels + answer - 1
    home = _homes(person, country, people, countries)
    n_cells = len(kinds) * len(relations) * n_levels
    keys, at = np.unique((person * n_cells + cell)[counted], return_inverse=True)
    totals = np.bincount(at, weights=count[counted]).astype(np.int64)
    owner, cells = keys // n_cells, keys % n_cells
    answered, first = np.unique(owner, return_index=True)
    home = home[answered]
    names = (kinds, relations, countries, n_levels)
    digest = hashlib.sha256(repr((names, [people[i] for i in answered.tolist()])).encode())
    for array in (home, owner, cells, totals):
        digest.update(array.astype("<i8").tobytes())
    return Responses(
        kinds=kinds,
        relations=relations,
        countries=countries,
        n_levels=n_levels,
        country=frozen(home),
        starts=frozen(np.append(first, len(keys)).astype(np.int64)),
        cell=frozen(cells),
        count=frozen(totals),
        digest=digest.hexdigest(),
    )


def read_shares(path: str | Path) -> dict[str, float]:
    """Shares of the population by country, from a file with the columns country and share.

    Raises:
        FeedError: a column is missing, a country comes twice, or the shares are not above 0 with sum 1.
    """
    table = read_table(path, SHARE_LAYOUT)
    try:
        for name in SHARE_LAYOUT:
            if name not in table.column_names:
                raise FeedError(f"expected a column {name}, got {', '.join(table.column_names) or 'none'}")
        country = _present("country", table)
        share = _numbers("share", table)
        if len(country.values) != len(country):
            twice = next(c for c in country.values if (country.codes == country.code_of(c)).sum() > 1)
            raise FeedError(f"country: expected each once, got {twice!r} twice")
        shares = {str(name): float(value) for name, value in zip(country, share, strict=True)}
        check_shares(shares)
    except FeedError as error:
        raise FeedError(f"{path}: {error}") from None
    return shares


def check_shares(shares: dict[str, float]) -> None:
    """Refuse shares that are not above 0 or do not add up to 1.

    Raises:
        FeedError: names the country, or the sum.
    """
    for country, share in shares.items():
        if not 0 < share <= 1:
            raise FeedError(f"share: expected above 0 and at most 1, got {share:g} for {country!r}")
    total = sum(shares.values())
    if abs(total - 1) > SHARE_ERROR:
        raise FeedError(f"share: expected shares that add up to 1, got {total:.4f}")


def population(responses: Responses, shares: dict[str, float]) -> FloatArray:
    """(countries,) the share of each country that answered, scaled to add up to exactly 1.

    Raises:
        FeedError: a country that answered has no share, or one with a share has no answers.
    """
    check_shares(shares)
    for country in responses.countries:
        if country not in shares:
            raise FeedError(f"shares: expected a share for country {country!r}, which answered, got none")
    for country in shares:
        if country not in responses.countries:
            raise FeedError(f"shares: expected answers from country {country!r}, which has a share, got none")
    found = np.array([shares[country] for country in responses.countries])
    return frozen(found / found.sum())


def _present(name: str, table: pa.Table) -> StringColumn:
    column = column_from_arrow(
        name, table.column(name), "id" if name in ("respondent", "country") else "text"
    )
    assert isinstance(column, StringColumn)
    if column.is_null.any():
        raise FeedError(f"{name}: expected a value, got null at row {first_row(column.is_null)}")
    return column


def _known(
    name: str, column: StringColumn, known: tuple[str, ...]
) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    """The names that occur in the order of `known`, and (n,) codes into them."""
    for value in column.values:
        if value not in known:
            row = first_row(column.codes == column.code_of(value))
            raise FeedError(f'{name}: unknown {name} "{value}"{closest(value, known)} at row {row}')
    names = tuple(value for value in known if value in column.values)
    lookup = np.array([names.index(value) for value in column.values], dtype=np.int64)
    return names, lookup[column.codes]


def _check_kinds(kinds: tuple[str, ...]) -> None:
    for kind in kinds:
        if kind in NEGATIVE:
            raise FeedError(
                f"kind: expected an interaction that is given, got {kind!r}, which is a refusal; "
                "weights on this scale are above 0"
            )


def _sorted_codes(column: StringColumn) -> tuple[tuple[str, ...], IntArray]:
    order = sorted(range(len(column.values)), key=column.values.__getitem__)
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order))
    return tuple(column.values[i] for i in order), rank[column.codes]


def _numbers(name: str, table: pa.Table) -> FloatArray:
    column = column_from_arrow(name, table.column(name), "number")
    assert isinstance(column, Numbers)
    if column.null.any():
        raise FeedError(f"{name}: expected a number, got null at row {first_row(column.null)}")
    return column.values


def _whole(name: str, table: pa.Table, low: int, high: int) -> IntArray:
    values = _numbers(name, table)
    good = (values >= low) & (values <= high)
    good &= np.floor(np.where(good, values, 0.0)) == np.where(good, values, 0.0)
    if not good.all():
        row = first_row(~good)
        raise FeedError(
            f"{name}: expected a whole number from {low} to {high}, got {values[row]:g} at row {row}"
        )
    return values.astype(np.int64)


def _homes(
    person: IntArray, country: IntArray, people: tuple[str, ...], countries: tuple[str, ...]
) -> IntArray:
    """(people,) the one country of each."""
    home = np.zeros(len(people), dtype=np.int64)
    home[person] = country
    moved = home[person] != country
    if moved.any():
        row = first_row(moved)
        who, here, there = people[person[row]], countries[country[row]], countries[home[person[row]]]
        raise FeedError(f"country: expected one per respondent, got {here!r} and {there!r} for {who!r}")
    return home
