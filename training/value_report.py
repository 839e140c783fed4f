"""A fitted table as a policy overlay, its evidence as JSON, and what it says in sentences."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from reranker.policy import Policy
from training.overlay import toml_text, write_overlay
from training.value import FittedValue, ValueTerm, fit_value
from training.value_check import (
    Accuracy,
    Gap,
    accuracy,
    cross_fit,
    difference,
    gaps,
    hold_out,
)
from training.value_interval import Interval
from training.value_items import CONTEXT, ValueItems
from training.value_shares import BadShare, bad_shares, sampling_ratio
from training.value_table import table_of

SCHEMA = 1
MODELS = {
    "fitted": "the fitted table",
    "freer": "boosted trees, monotone in the same terms",
    "prior": "the table of the policy",
    "rates": "one rate per signal, whatever the post",
}


@dataclass(frozen=True, eq=False)
class ValueStudy:
    """A fit with everything that is told about it.

    Attributes:
        items: what it was fitted to.
        policy: whose table it replaces.
        fitted: the table.
        unused: labels of the items that were not asked for.
        unmeasured: labels that the policy weighs and the items lack.
        level: from which a post counts as having much of a harm.
        accuracy: by model, see `MODELS`.
        against_prior: log loss of the fitted table less the prior's, on signals that the policy lists;
            below 0 the fitted one is better.
        against_freer: the same against the boosted trees, on all signals.
        gaps: calibration of the fitted table and of the prior by group.
        shares: how much of each signal is bad engagement.
        sampling: rows that the answers stand for over rows there are, or None.
    """

    items: ValueItems
    policy: Policy
    fitted: FittedValue
    unused: tuple[str, ...]
    unmeasured: tuple[str, ...]
    level: float
    accuracy: dict[str, Accuracy]
    against_prior: Interval | None
    against_freer: Interval | None
    gaps: dict[str, tuple[Gap, ...]]
    shares: tuple[BadShare, ...]
    sampling: Interval | None


def study_value(
    items: ValueItems,
    policy: Policy,
    *,
    harms: tuple[str, ...] = (),
    reference: str | None = None,
    level: float = 0.5,
    n_folds: int = 5,
    seed: int = 0,
) -> ValueStudy:
    """Fit the `[value]` table, hold it against others on viewers it has not seen, and measure the shares.

    Args:
        items: engagements with answers.
        policy: the table to replace; its numbers stay where the answers say nothing.
        harms: labels to fit; those that the policy weighs where none is named.
        reference: the signal whose sensitivity is 1; chosen from the answers where not named.
        level: from which a post counts as having much of a harm.
        n_folds: of viewers, for the figures on viewers not seen.
        seed: of the folds.

    Raises:
        ValueError: the answers cannot be fitted, or a harm is named that the items lack.
        ImportError: scikit-learn is missing.
    """
    for name in harms:
        if name not in items.terms:
            raise ValueError(f"harm: expected one of {', '.join(items.terms) or 'none'}, got {name!r}")
    wanted = harms or tuple(policy.value.harms)
    chosen = items.with_terms((*wanted, *CONTEXT))
    weighed = {name for name, weight in policy.value.harms.items() if weight}
    prior = table_of(policy, chosen.signals, chosen.terms)
    fitted = fit_value(chosen, prior, reference=reference)
    folds = cross_fit(chosen, fitted, n_folds=n_folds, seed=seed)
    held = hold_out(folds, prior, seed=seed)
    return ValueStudy(
        items=chosen,
        policy=policy,
        fitted=fitted,
        unused=tuple(name for name in items.terms if name not in chosen.terms),
        unmeasured=tuple(sorted(weighed - set(items.terms))),
        level=level,
        accuracy={name: accuracy(held, name) for name in MODELS},
        against_prior=difference(held, "fitted", "prior", policy.value.endorsed),
        against_freer=difference(held, "fitted", "freer", chosen.signals),
        gaps={name: gaps(held, name) for name in ("fitted", "prior")},
        shares=bad_shares(chosen, fitted, folds, level=level),
        sampling=sampling_ratio(chosen),
    )


def overlay_of(study: ValueStudy, *, name: str, date: str) -> str:
    """The numbers that the answers tell as a policy overlay in TOML, four decimals each, with their sources.

    Args:
        study: the fit.
        name: of the overlay.
        date: of the fit, as 2026-11-22.
    """
    told = study.fitted.identified
    held = [term.key for term in study.fitted.terms if term.value is None]
    description = f"Fitted to {study.fitted.n_asked:,} answers of {study.fitted.n_viewers:,} viewers."
    if held:
        description += f" Left as the policy below has them: {', '.join(held)}."
    lines = [
        f"schema = {SCHEMA}",
        f"name = {toml_text(name)}",
        'kind = "overlay"',
        f"date = {toml_text(date)}",
        'title = "What viewers endorse, fitted to their answers"',
        f"description = {toml_text(description)}",
        "",
        "[value]",
        *(f"{term.key} = {_number(term)}" for term in told if "." not in term.key),
    ]
    for table in ("endorsed", "sensitivity", "harms"):
        own = [term for term in told if term.key.startswith(f"{table}.")]
        if own:
            lines += ["", f"[value.{table}]", *(f"{t.key.split('.')[1]} = {_number(t)}" for t in own)]
    lines += ["", "[sources]"]
    lines += [
        f"{toml_text(f'value.{term.key}')} = {toml_text(_source(term, study.items.kind))}" for term in told
    ]
    return "\n".join(lines) + "\n"


def evidence_of(study: ValueStudy) -> str:
    """Everything that was found, as JSON; the same answers give the same bytes.

    Raises:
        ValueError: a number in it is not finite.
    """
    fitted = study.fitted
    yes = fitted.yes_saying
    content = {
        "schema": SCHEMA,
        "data": {
            "digest": study.items.digest,
            "answers": study.items.kind,
            "n_rows": study.items.n,
            "n_asked": fitted.n_asked,
            "n_viewers": fitted.n_viewers,
            "sampling": _as_dict(study.sampling),
        },
        "policy": {"name": study.policy.name, "digest": study.policy.digest},
        "reference": fitted.reference,
        "terms": [asdict(term) for term in fitted.terms],
        "left_at_prior": {t.key: t.warning for t in fitted.terms if t.value is None},
        "unmeasured": study.unmeasured,
        "unused": study.unused,
        "yes_saying": None if yes is None else dict(zip(("value", "low", "high"), yes, strict=True)),
        "held_out": {name: asdict(found) for name, found in study.accuracy.items()},
        "log_loss_less_prior": _as_dict(study.against_prior),
        "log_loss_less_freer": _as_dict(study.against_freer),
        "calibration": {name: [asdict(gap) for gap in found] for name, found in study.gaps.items()},
        "bad_engagement": {"level": study.level, "shares": [asdict(share) for share in study.shares]},
        "warnings": warnings_of(study),
    }
    return json.dumps(content, indent=1, allow_nan=False, ensure_ascii=False) + "\n"


def write_value(study: ValueStudy, output: Path, *, date: str) -> tuple[Path, Path]:
    """Write the overlay and, under the same name with .json, the evidence; both or neither.

    Returns:
        The paths of the overlay and of the evidence.

    Raises:
        ValueError: the name does not end in .toml; nothing is written then.
    """
    return write_overlay(output, overlay_of(study, name=output.stem, date=date), evidence_of(study))


def warnings_of(study: ValueStudy) -> list[str]:
    """What a user must know before the table ranks anything."""
    fitted = study.fitted
    found = [f"{t.key} stays at {t.prior:g}: {t.warning}" for t in fitted.terms if t.value is None]
    found += [f"{t.key}: {t.warning}" for t in fitted.terms if t.value == 0.0 and t.warning]
    if study.unmeasured:
        names = ", ".join(f"harms.{name}" for name in study.unmeasured)
        found.append(
            f"no column, so as the policy has them: {names}; "
            "posts with these will count as less endorsed than viewers said"
        )
    weighed = [name for name in study.unused if study.policy.value.harms.get(name)]
    if weighed:
        names = ", ".join(f"harms.{name}" for name in weighed)
        found.append(
            f"not asked for, so as the policy has them: {names}; "
            "posts with these will count as less endorsed than viewers said"
        )
    idle = [name for name in study.unused if name not in weighed]
    if idle:
        found.append(f"labels not fitted, as the policy weighs none of them: {', '.join(idle)}")
    if study.policy.value.bad_weight == 1.0:
        found.append("value.bad_weight is 1 in the policy: what is not endorsed counts in full all the same")
    if study.items.kind == "explicit":
        found.append("explicit signals come from those who chose to speak: they stand for nobody else")
    ratio = study.sampling
    if ratio is not None and not ratio.low <= 1 <= ratio.high:
        found.append(
            f"the answers stand for {ratio.value:.2f} times the rows there are (95% interval {ratio.low:.2f} "
            f"to {ratio.high:.2f}): the sampling probabilities are not those of who answered"
        )
    if study.against_prior is not None and study.against_prior.high >= 0:
        found.append("on viewers it has not seen the fitted table does not clearly beat the policy's own")
    if study.against_freer is not None and study.against_freer.low > 0:
        found.append("a freer model predicts better: the form of the table loses something, see held_out")
    return found


def sentences_of(study: ValueStudy) -> list[str]:
    """The findings in plain words, warnings last."""
    fitted = study.fitted
    found = [f"{fitted.n_asked:,} answers of {fitted.n_viewers:,} viewers."]
    for signal in study.items.signals:
        own = [one for one in study.shares if one.signal == signal and one.part is not None]
        found += [_share_sentence(own, study.level)] if own else []
    for name, against in (("prior", study.against_prior), ("freer", study.against_freer)):
        if against is None:
            continue
        found.append(
            f"log loss on unseen viewers, less that of {MODELS[name]}: {against.value:+.4f} "
            f"({against.low:+.4f} to {against.high:+.4f}); below 0 the fitted table is better."
        )
    return found + [f"warning: {text}" for text in warnings_of(study)]


def _share_sentence(shares: list[BadShare], level: float) -> str:
    """One signal: all that is not endorsed, and the harm that goes with most of it."""
    whole, harms = shares[0], [one for one in shares if one.harm]
    text = f"{whole.signal}: {_percent(whole.part)} of its total is not endorsed"
    if not harms:
        return f"{text}."
    most = max(harms, key=lambda one: 0.0 if one.part is None else one.part.value)
    return (
        f"{text}; on posts with {most.harm} from {level:g} on {_percent(most.rate)} is not, which is "
        f"{_percent(most.part)} of the total."
    )


def _as_dict(found: Interval | None) -> dict[str, float | int] | None:
    return None if found is None else found.as_dict()


def _percent(found: Interval | None) -> str:
    assert found is not None  # shares without a figure are left out before
    return f"{found.value:.1%} ({found.low:.1%} to {found.high:.1%})"


def _number(term: ValueTerm) -> str:
    assert term.value is not None
    return repr(round(term.value, 4))


def _source(term: ValueTerm, kind: str) -> str:
    if term.low is None or term.high is None:
        return term.warning
    odd = f"; {term.warning}" if term.warning else ""
    return f"fitted to {term.n:,} answers ({kind}): 95% interval {term.low:.3f} to {term.high:.3f}{odd}"
