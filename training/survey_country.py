"""One country's answers: what they identify is fitted, and the reasons for the rest are kept."""

from dataclasses import dataclass

import numpy as np

from reranker.columns import FeedError, FloatArray, IntArray
from training.survey_identified import MIN_RESPONDENTS, Told, identify
from training.survey_kernel import Answers
from training.survey_ordinal import Design, OrdinalFit, fit_ordinal
from training.survey_responses import Responses


@dataclass(frozen=True, eq=False)
class Country:
    """One country's answers and what was fitted to them.

    Attributes:
        name: the country.
        told: which kinds and relations it identifies.
        levels: (J,) the answers that occur, from 1.
        fit: of those.
        share: (kinds, relations) of the answers that were fitted.
        n_respondents, n_answers: of the country.
    """

    name: str
    told: Told
    levels: IntArray
    fit: OrdinalFit
    share: FloatArray
    n_respondents: int
    n_answers: int


def fit_country(responses: Responses, at: int, unit: tuple[int, int]) -> Country:
    """The model fitted to a country, less what its answers do not identify.

    Args:
        responses: of all countries.
        at: index of the country.
        unit: index of the kind and of the relation that the others are compared with.

    Raises:
        FeedError: too few respondents, answers that do not identify the unit, or that hold too little.
    """
    name, names = responses.countries[at], (responses.kinds, responses.relations)
    rows = _rows_of(responses, at)
    counts = responses.counts()[at]
    kind, relation, _ = np.unravel_index(rows.cell, counts.shape)
    people = (
        _people(rows.person, kind, len(responses.kinds)),
        _people(rows.person, relation, len(responses.relations)),
    )
    separated: dict[str, str] = {}
    while True:
        told = identify(counts, people, names, unit)
        told = Told(told.kinds, told.relations, told.why | separated)
        for kept, known, index in zip((told.kinds, told.relations), names, unit, strict=True):
            if not kept[index]:
                raise FeedError(
                    f"country {name!r}: expected answers that identify {known[index]!r}, the unit, "
                    f"got none ({told.why[known[index]]})"
                )
        left = counts * told.kinds[:, None, None] * told.relations[None, :, None]
        try:
            fit, levels = _fit(left, rows, told, unit)
        except ValueError as error:
            raise FeedError(f"country {name!r}: {error}") from None
        if not fit.separated:
            kept_pairs = left.sum(axis=2)[told.kinds][:, told.relations]
            share = kept_pairs / kept_pairs.sum()
            return Country(name, told, levels + 1, fit, share, rows.n_people, int(counts.sum()))
        for parameter in fit.separated:
            axis, index = _parameter(fit.design, told, parameter)
            separated[names[axis][index]] = "separation: no finite effect fits best"
            people[axis][index] = 0


@dataclass(frozen=True, eq=False)
class _Rows:
    """(m,) counts of one country, by person and cell."""

    person: IntArray
    cell: IntArray
    count: IntArray
    n_people: int


def _rows_of(responses: Responses, at: int) -> _Rows:
    people = np.flatnonzero(responses.country == at)
    if len(people) < MIN_RESPONDENTS:
        raise FeedError(
            f"country {responses.countries[at]!r}: expected at least {MIN_RESPONDENTS} respondents, "
            f"got {len(people)}; merge it with another, in the shares too"
        )
    person = np.repeat(np.arange(responses.n_respondents), np.diff(responses.starts))
    chosen = responses.country[person] == at
    return _Rows(person[chosen], responses.cell[chosen], responses.count[chosen], len(people))


def _people(person: IntArray, group: IntArray, n: int) -> IntArray:
    """(n,) people in each group."""
    return np.bincount(np.unique(person * n + group) % n, minlength=n)


def _fit(counts: IntArray, rows: _Rows, told: Told, unit: tuple[int, int]) -> tuple[OrdinalFit, IntArray]:
    """The fit of what is left of a country's rows, and the levels that occur in it, from 0."""
    kind, relation, answer = np.unravel_index(rows.cell, counts.shape)
    levels = np.flatnonzero(counts.sum(axis=(0, 1)))
    if len(levels) < 2:
        raise ValueError(f"answer: expected answers that differ, got {levels[0] + 1} everywhere")
    stays = told.kinds[kind] & told.relations[relation]
    new_kind, new_relation = np.cumsum(told.kinds) - 1, np.cumsum(told.relations) - 1
    people, starts = np.unique(rows.person[stays], return_index=True)
    design = Design(
        n_kinds=int(told.kinds.sum()),
        n_relations=int(told.relations.sum()),
        n_levels=len(levels),
        kind=int(new_kind[unit[0]]),
        relation=int(new_relation[unit[1]]),
        random=bool(rows.count[stays].sum() >= 2 * len(people)),
    )
    pair = new_kind[kind] * design.n_relations + new_relation[relation]
    cell = pair * len(levels) + np.searchsorted(levels, answer)
    answers = Answers(np.append(starts, stays.sum()), cell[stays], rows.count[stays])
    return fit_ordinal(answers, design), levels


def _parameter(design: Design, told: Told, parameter: int) -> tuple[int, int]:
    """The axis (kind 0, relation 1) and the index in the responses of a parameter of the fit."""
    if parameter < design.n_kinds - 1:
        kept = np.delete(np.flatnonzero(told.kinds), design.kind)
        return 0, int(kept[parameter])
    kept = np.delete(np.flatnonzero(told.relations), design.relation)
    return 1, int(kept[parameter - design.n_kinds + 1])
