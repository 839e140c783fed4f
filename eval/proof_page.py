"""The proof as a page: what was asked, what was found, and table by table the numbers behind it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil, erfc, floor, sqrt

from scipy.stats import binom

from eval.proof import (
    DEFAULT,
    ESTIMATORS,
    FLAGGED,
    GATED,
    JUDGED_FROM,
    METRICS,
    WEIGHTS,
    Cell,
    Errors,
    SettingProof,
)
from eval.trial import Sizes

_NAMES = {"sips": "SIPS", "rips": "RIPS", "iips": "IIPS (flagged)", "snrips": "SN-RIPS", "dr": "DR",
          "switch_dr": "Switch-DR"}  # fmt: skip
_SPOKEN = {"views": "views", "harm_views": "harm views", "like": "likes", "comment": "comments"}


_WHY = """\
- **A verdict for each estimator.** Those that use the weights as they are (SIPS, RIPS, SN-RIPS, DR) need
  weights that have a variance: HEAVY_TAIL unless Pareto k is below .5 by 3 of its errors. Where few requests
  hold most of the weight, an extreme one is in the log or, more often, not: the estimate is then off, and its
  stated error too small. A laxer limit makes that worse, as logs that lack their largest weights are those
  with a small k. The price: where tails are mild these estimators are refused too, though all but SIPS cover
  about as stated there. Compare the columns of all logs.
- **Switch-DR** uses no weight above 10, so that the tail does not matter; a share of what the target serves
  is then left to the model, and has a limit (MODEL_SHARE_HIGH, 5 %). Its bias is that share times what the
  model is off there. With predictions of views that were not calibrated by slot it came to .012 % of the
  level, a sixth of its error, and showed in 400 logs; calibrated on the log to a tenth of that.
- **Weights average 1** is tested on their steps, slot by slot, each times how much the logger draws there.
  Their products have tails so heavy that right logs failed, the mean too low and its error too small at once.
  Corrections for skewness (Johnson's, Hall's) did not mend that.
- **Power** is planned with an error that 80 % of logs do not exceed. Planned with the mean stated error it
  was 77 to 80 %: the mean is below the root mean square.
- **Chance.** A cell whose coverage is truly .95 is outside .93 to .97 in 1 of 20 proofs of 400 logs, and one
  without bias is beyond 2 errors in 1 of 22. Of 16 cells all pass either bar less than every other time."""
_CHOICE = """\
Two worlds: *shipped* is the simulator's. In it few predictions of anger are extreme, so that few requests
decide the weights. *Moderate heat* (`eval.trial.moderate_heat`) spreads anger over many posts, and changes
about as many requests as the reference test-bed of the specification. Its three numbers were picked after 17
other sets of them had been tried on 6 logs each, by the share of requests changed, the fall of harm and what
the gate accepted, so that its rate of acceptance is no independent finding; no estimator was looked at in
those. Four hotter variants of the shipped world, in which estimators were looked at, were not taken."""

_FEW = f"no estimator is IDENTIFIED in {JUDGED_FROM:.0%} of the logs"


@dataclass(frozen=True)
class Bar:
    """One bar, and whether it was met.

    Attributes:
        name: what is judged.
        asked, found: in words.
        met: whether.
    """

    name: str
    asked: str
    found: str
    met: bool


def bars(proofs: Sequence[SettingProof]) -> tuple[Bar, ...]:
    """Each bar of the specification against what was found; estimates where the gate identified them.

    Accepted is a log if the default estimator is; refused must a broken one be for all estimators.
    """
    made = []
    for one in proofs:
        made += [_bias_bar(one), _coverage_bar(one, ESTIMATORS), _coverage_bar(one, ("switch_dr",))]
        made += [_equivalence_bar(one), _power_bar(one)]
        good = one.accepted[DEFAULT]
        found = (
            f"{good:.1%} for Switch-DR ({one.accepted[WEIGHTS]:.1%} for those that use weights as they are)"
        )
        made.append(Bar(f"gate, good logs: {one.name}", "at least 95 %", found, good >= 0.95))
    for one in proofs:
        if one.name.endswith(".16"):
            made += [_ratio_bar(one, "views", 0.6), _ratio_bar(one, "harm_views", 0.8)]
    refused = [row for one in proofs for row in one.refusals]
    n, through = sum(row.n for row in refused), sum(row.identified for row in refused)
    named = sum(row.right_reason for row in refused)
    found = f"{through} of {n} identified, {named} refused with the right reason"
    asked = "none identified, each refused with its reason"
    return (*made, Bar("gate, broken logs", asked, found, through == 0 and named == n))


def _ratio_bar(one: SettingProof, metric: str, most: float) -> Bar:
    everywhere, accepted = one.rmse_ratio(metric)
    name = f"RMSE of Switch-DR / RIPS, {_SPOKEN[metric]}: {one.name}"
    if accepted is None:
        return Bar(name, f"at most {most}", "no log was accepted", False)
    found = f"{accepted:.2f} ({everywhere:.2f} in all logs)"
    return Bar(name, f"at most {most}", found, max(accepted, everywhere) <= most)


def _equivalence_bar(one: SettingProof) -> Bar:
    """Over all metrics, since a single rate is known to 0.8 % at best."""
    false = sum(test.false for test in one.equivalences) / len(one.equivalences)
    worst = max(one.equivalences, key=lambda test: test.false)
    found = f"{false:.1%} over all metrics, at most {worst.false:.1%} ({_SPOKEN[worst.metric]})"
    return Bar(f"false equivalence at the margin: {one.name}", "at most 5.5 %", found, false <= 0.055)


def _power_bar(one: SettingProof) -> Bar:
    power = sum(test.power for test in one.equivalences) / len(one.equivalences)
    worst = min(one.equivalences, key=lambda test: test.power)
    found = f"{power:.1%} over all metrics, at least {worst.power:.1%} ({_SPOKEN[worst.metric]})"
    return Bar(f"power at no change: {one.name}", "at least 80 %, as planned", found, power >= 0.8)


def _identified(one: SettingProof, estimators: Sequence[str]) -> list[tuple[Cell, Errors]]:
    """The cells that are judged: IDENTIFIED in enough logs, and valid for how users read."""
    return [
        (cell, cell.accepted)
        for cell in one.cells
        if cell.estimator in estimators
        and cell.estimator != FLAGGED
        and cell.accepted is not None
        and cell.accepted.n >= JUDGED_FROM * one.n
    ]


def _bias_bar(one: SettingProof) -> Bar:
    name, asked = f"bias: {one.name}", "at most 2 of its errors in each cell"
    found = _identified(one, ESTIMATORS)
    if not found:
        return Bar(name, asked, _FEW, False)
    worst, of_worst = max(found, key=lambda pair: abs(pair[1].bias_z))
    beyond = sum(abs(errors.bias_z) > 2 for _, errors in found)
    chance = len(found) * erfc(2 / sqrt(2))
    words = f"{beyond} of {len(found)} beyond ({chance:.1f} expected by chance); most {of_worst.bias_z:+.1f}"
    return Bar(name, asked, f"{words} ({_NAMES[worst.estimator]}, {_SPOKEN[worst.metric]})", beyond == 0)


def _coverage_bar(one: SettingProof, estimators: Sequence[str]) -> Bar:
    which = "coverage" if len(estimators) > 1 else f"coverage of {_NAMES[estimators[0]]}"
    name, asked = f"{which}: {one.name}", ".93 to .97 in each cell"
    found = _identified(one, estimators)
    if not found:
        return Bar(name, asked, _FEW, False)
    outside = sum(not 0.93 <= errors.coverage <= 0.97 for _, errors in found)
    chance = sum(by_chance(errors.n) for _, errors in found)
    cell, low = min(found, key=lambda pair: pair[1].coverage)
    most = max(errors.coverage for _, errors in found)
    words = f"{outside} of {len(found)} outside ({chance:.1f} expected by chance): {low.coverage:.3f} "
    return Bar(
        name, asked, f"{words}({_NAMES[cell.estimator]}, {_SPOKEN[cell.metric]}) to {most:.3f}", outside == 0
    )


def by_chance(n: int) -> float:
    """The chance that of n intervals that cover .95 a share outside .93 to .97 does."""
    few, many = ceil(0.93 * n - 1e-9) - 1, floor(0.97 * n + 1e-9)
    return float(binom.cdf(few, n, 0.95) + binom.sf(many, n, 0.95))


def markdown(proofs: Sequence[SettingProof], sizes: Sizes, day: str) -> str:
    """The page."""
    parts = [
        "# What the estimators do where the truth is known",
        f"Made on {day} by `python -m eval.prove --replicates {sizes.replicates} --seed {sizes.seed} "
        "-o docs/proof.md` (`make prove`); the command writes all of it.",
        f"Each log has {sizes.n_users:,} users with {sizes.n_requests} requests each, 12 candidates and 4 "
        "slots. The logger draws by Plackett-Luce with angry reactions at weight 5; the target has them at "
        f"0. Each setting has {sizes.replicates} logs. The truth comes from {sizes.n_truth:,} other users, "
        "with the inventory and the noise in common to both policies. DR and Switch-DR (at 10) use the "
        "ranker's own predictions, off by 30 %, with a chance of stopping that knows the post and is off as "
        "much; how often each slot is looked at on average is taken from the log.",
        _CHOICE,
        "## How hard the worlds are",
        _difficulty(proofs),
        "## Bars",
        _table(
            ("what", "asked", "found", ""),
            ((b.name, b.asked, b.found, "met" if b.met else "**MISSED**") for b in bars(proofs)),
        ),
        "Bias and coverage are judged where the gate says IDENTIFIED for the estimator, of estimators for "
        f"which it does in at least {JUDGED_FROM:.0%} of the logs; equivalence over all logs. A coverage of "
        ".95 is known to .022 (2 standard errors) from 400 logs, and less well where fewer were accepted.",
        "## What decides it",
        _WHY,
    ]
    for one in proofs:
        parts += [f"## {one.name[0].upper()}{one.name[1:]}", _estimators(one), _flag_words(one), _tests(one)]
    parts += ["## Broken logs", _broken(proofs), ""]
    return "\n\n".join(parts)


def _difficulty(proofs: Sequence[SettingProof]) -> str:
    rows: list[tuple[str, ...]] = []
    rows.append(("specification, T = .16", "21 %", "3.3 %", "-4.9 %", "", "", "", "86 %", "", "", ""))
    for one in proofs:
        harm = one.cell("harm_views", "rips").truth
        shares = (f"{one.changed:.1%}", f"{one.changed_items:.1%}", f"{harm:+.1%}")
        seen = (f"{one.effective_share:.2f}", f"{one.pareto_k:.2f}", f"{one.model_share:.1%}")
        verdicts = [text for name in GATED for text in (f"{one.accepted[name]:.1%}", _reasons(one, name))]
        rows.append((one.name, *shares, *seen, *verdicts))
    head = ("setting", "requests changed", "items changed", "harm views", "ESS/n (users)", "Pareto k")
    asked = ("accepted for Switch-DR", "why not", "accepted for weights as they are", "why not")
    return _table((*head, "model's share", *asked), rows)


def _reasons(one: SettingProof, name: str) -> str:
    return ", ".join(f"{code} {n / one.n:.1%}" for code, n in one.reasons[name].items())


def _estimators(one: SettingProof) -> str:
    rows = []
    for cell in one.cells:
        truth = f"{cell.truth:+.3%} ± {cell.truth_error:.3%}"
        rows.append(
            (
                _SPOKEN[cell.metric],
                truth,
                _NAMES[cell.estimator],
                *_words(cell.all_logs),
                *_words(cell.accepted),
            )
        )
    four = ("bias", "/ its error", "RMSE", "coverage")
    return _table(
        ("metric", "true change", "estimator", *four, *(f"{name}, accepted" for name in four)), rows
    )


def _words(errors: Errors | None) -> tuple[str, ...]:
    if errors is None:
        return ("", "", "", "")
    return f"{errors.bias:+.3%}", f"{errors.bias_z:+.1f}", f"{errors.rmse:.4f}", f"{errors.coverage:.3f}"


def _flag_words(one: SettingProof) -> str:
    shares = ", ".join(f"{_SPOKEN[m]} {share:.0%}" for m, share in zip(METRICS, one.flagged, strict=True))
    return (
        f"Logs in which `independence_z` flags IIPS (beyond 3): {shares}. For users who read as a cascade it "
        "is refused whatever the flag says; one log can seldom tell."
    )


def _tests(one: SettingProof) -> str:
    rows = [(_SPOKEN[t.metric], f"{t.margin:.3%}", f"{t.false:.1%}", f"{t.power:.1%}")
            for t in one.equivalences]  # fmt: skip
    title = "Equivalence by Switch-DR, with a margin planned for a power of 80 % at no change:\n\n"
    return title + _table(
        ("metric", "margin", "equivalent at the margin (false)", "at no change (power)"), rows
    )


def _broken(proofs: Sequence[SettingProof]) -> str:
    rows = []
    for i, row in enumerate(proofs[0].refusals):
        same = [one.refusals[i] for one in proofs]
        n = sum(r.n for r in same)
        rows.append((row.kind, str(n), str(sum(r.identified for r in same)),
                     " / ".join(f"{r.right_reason} of {r.n}" for r in same)))  # fmt: skip
    return _table(("what is broken", "logs", "identified", "refused for that, by setting"), rows)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])
