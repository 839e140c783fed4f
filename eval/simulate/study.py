"""The whole answer of a simulation: the main scenario, what it hinges on, and the world's targets.

Every figure is MODEL_ONLY at level L3: its interval is over worlds that share the assumptions, and says
nothing on whether these hold.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from eval.clustered import Estimate
from eval.decision import Verdict, decide, in_words
from eval.margins import load_margins
from eval.simulate.measures import MEASURES, Arms, Measure, change, first_session_change, level
from eval.simulate.parameters import Parameters
from eval.simulate.run import run_seeds
from eval.simulate.scenarios import SCENARIOS, VARIANTS, Scenario
from eval.simulate.targets import Target, check_targets, observe
from reranker.ray_session import RaySession

STATUS, LEVEL = "MODEL_ONLY", "L3"
DIGITS = 9
SMALL_SEEDS, SMALL_USERS, SMALL_WEEKS = 4, 800, 13  # of the worlds with another assumption
TARGET_USERS = 1_500
TABLE = ("misinformation", "disturbing", "graphic_violence", "angry", "positive", "time_s", "satisfaction")
OTHERS = ("demotion", "hard-demotion")
PLOTTED = (
    *("misinformation", "disturbing", "graphic_violence", "angry", "positive", "time_s"),
    *("original_posts", "satisfaction", "negative_posts", "negative_views"),
)

Status = Literal["decreased", "increased", "not measurable", "identical"]


@dataclass(frozen=True)
class Row:
    """One measure of a scenario.

    Attributes:
        measure: which.
        before: under the policy in force, over all weeks.
        change: over all weeks; a share of `before`, or a difference.
        weeks: the change in each week.
        first_session: the change in the first session alone (level L1); None where a session has none.
        status: of `change`.
        verdict: against the margin; None where the measure has none.
    """

    measure: Measure
    before: float
    change: Estimate
    weeks: tuple[Estimate, ...]
    first_session: Estimate | None
    status: Status
    verdict: Verdict | None


@dataclass(frozen=True)
class Comparison:
    """A scenario in a world: the change of a few measures, by name."""

    name: str
    title: str
    shows: str
    changes: Mapping[str, Estimate]


@dataclass(frozen=True)
class Simulation:
    """Everything that a report says.

    Attributes:
        scenario: the main one; digests: of its two policies.
        p: the numbers of the world.
        rows: of the main scenario.
        targets: of the world.
        variants: the main scenario under other assumptions, in smaller worlds.
        others: other scenarios, in smaller worlds.
        n_users, n_weeks, n_seeds, first_seed: sizes of the main runs.
    """

    scenario: Scenario
    digests: tuple[str, str]
    p: Parameters
    rows: tuple[Row, ...]
    targets: tuple[Target, ...]
    variants: tuple[Comparison, ...]
    others: tuple[Comparison, ...]
    n_users: int
    n_weeks: int
    n_seeds: int
    first_seed: int

    def row(self, name: str) -> Row:
        """The row of a measure."""
        return next(row for row in self.rows if row.measure.name == name)


def simulate(
    p: Parameters,
    scenario: Scenario,
    *,
    n_weeks: int = 26,
    n_users: int = 2_000,
    seeds: Sequence[int] = range(8),
    on_done: Callable[[str], None] | None = None,
    session: RaySession | None = None,
) -> Simulation:
    """The main scenario over all seeds, then the world's targets, other assumptions and other policies.

    Args:
        p: the numbers.
        scenario: the main one.
        n_weeks: after the burn-in.
        n_users: in each world.
        seeds: of the worlds, at least two.
        on_done: called with what was done, in words.
        session: whose workers run the worlds; None is this process.

    Raises:
        ValueError: fewer than two seeds, or sizes that do not fit the numbers.
    """
    if len(seeds) < 2:
        raise ValueError(f"seeds: expected at least 2 worlds for an interval, got {len(seeds)}")
    tell = on_done if on_done is not None else _quiet
    formulas = scenario.formulas()
    runs = run_seeds(
        p,
        formulas,
        weeks=n_weeks,
        n_users=n_users,
        seeds=seeds,
        on_done=lambda done: tell(f"world {done} of {len(seeds)}"),
        session=session,
    )
    sizes = (n_weeks, SMALL_WEEKS), (n_users, SMALL_USERS), (len(seeds), SMALL_SEEDS)
    small = dict(zip(("weeks", "n_users", "n_seeds"), map(min, *zip(*sizes, strict=True)), strict=True))
    variants = [(v.name, v.title, v.expects, v.parameters(p), v.scenario(scenario)) for v in VARIANTS]
    others = [(name, SCENARIOS[name].title, "", p, SCENARIOS[name]) for name in OTHERS]
    compared = []
    for name, title, shows, numbers, own in (*variants, *others):
        tell(title)
        compared.append(Comparison(name, title, shows, _compare(numbers, own, small, seeds[0], session)))
    tell("targets")
    seen = observe(p, n_users=min(n_users, TARGET_USERS), seed=seeds[0])
    return Simulation(
        scenario=scenario,
        digests=(formulas[0].digest, formulas[1].digest),
        p=p,
        rows=tuple(_row(runs, measure) for measure in MEASURES),
        targets=check_targets(p, [arms[0] for arms in runs], seen, seed=seeds[0]),
        variants=tuple(compared[: len(variants)]),
        others=tuple(compared[len(variants) :]),
        n_users=n_users,
        n_weeks=n_weeks,
        n_seeds=len(seeds),
        first_seed=seeds[0],
    )


def _quiet(_: str) -> None:
    """Tell nobody."""


def _compare(
    p: Parameters, scenario: Scenario, small: Mapping[str, int], seed: int, session: RaySession | None
) -> dict[str, Estimate]:
    runs = run_seeds(
        p,
        scenario.formulas(),
        weeks=small["weeks"],
        n_users=small["n_users"],
        seeds=range(seed, seed + small["n_seeds"]),
        session=session,
    )
    return {name: change(runs, name) for name in TABLE}


def _row(runs: tuple[Arms, ...], measure: Measure) -> Row:
    name, n_weeks = measure.name, len(runs[0][0].coming)
    whole = change(runs, name)
    in_session = measure.kind in ("exposure", "signal") and name != "angry_received"
    return Row(
        measure=measure,
        before=level(runs, 0, name),
        change=whole,
        weeks=tuple(change(runs, name, np.s_[week : week + 1]) for week in range(n_weeks)),
        first_session=first_session_change(runs, name) if in_session else None,
        status=status_of(whole),
        verdict=decide(whole, load_margins().of(measure.margin)) if measure.margin else None,
    )


def status_of(estimate: Estimate) -> Status:
    """What may be said of a change: an interval that holds 0 is "not measurable", not "none"."""
    if estimate.value == 0.0 and estimate.standard_error == 0.0:
        return "identical"
    if estimate.high < 0:
        return "decreased"
    return "increased" if estimate.low > 0 else "not measurable"


def sentences(simulation: Simulation) -> tuple[tuple[str, str], ...]:
    """(tone, sentence) of each finding: harm first, then activity against its margins, then what to mind."""
    found = []
    for row in simulation.rows:
        if row.measure.kind == "exposure" and not row.measure.name.endswith("_seen"):
            tone = {"decreased": "better", "increased": "worse"}.get(row.status, "open")
            verb = {
                "decreased": "fell",
                "increased": "rose",
                "identical": "is exactly the same",
                "not measurable": "did not change measurably",
            }[row.status]
            found.append((tone, f"Exposure to {row.measure.title} {verb}{_interval(row.change)}."))
        elif row.verdict is not None:
            tone = {"INFERIOR": "worse", "INCONCLUSIVE": "open"}.get(row.verdict.decision, "within")
            title = row.measure.title[:1].upper() + row.measure.title[1:]
            found.append((tone, in_words(title, row.verdict)))
    missed = [target.title for target in simulation.targets if not target.met]
    if missed:
        found.append(("warning", f"This world misses {len(missed)} of its targets: {'; '.join(missed)}."))
    return tuple(found)


def _interval(estimate: Estimate) -> str:
    if estimate.standard_error == 0.0:
        return ""
    ends = f"{100 * estimate.low:+.2f}% to {100 * estimate.high:+.2f}%"
    return f" ({100 * estimate.value:+.2f}%, 95% interval {ends})".replace("-", "\u2212").replace(
        "95\u2212", "95-"
    )


def simulation_json(simulation: Simulation) -> str:
    """The simulation as JSON with sorted keys; the same inputs give the same bytes."""
    content = {
        "schema": 1,
        "scenario": asdict(simulation.scenario),
        "policy_digests": simulation.digests,
        "world": {"name": simulation.p.name, "digest": simulation.p.digest, "marks": simulation.p.marks},
        "sizes": {
            "n_users": simulation.n_users,
            "n_weeks": simulation.n_weeks,
            "n_seeds": simulation.n_seeds,
            "first_seed": simulation.first_seed,
        },
        "margins_digest": load_margins().digest,
        "rows": [
            {
                "metric": row.measure.name,
                "kind": row.measure.kind,
                "unit": row.measure.unit,
                "relative": row.measure.relative,
                "level": LEVEL,
                "status": STATUS,
                "change_status": row.status,
                "before": row.before,
                "change": asdict(row.change),
                "weeks": [asdict(week) for week in row.weeks],
                "first_session": None if row.first_session is None else asdict(row.first_session),
                "decision": None if row.verdict is None else row.verdict.decision,
                "margin": None if row.verdict is None else row.verdict.margin,
            }
            for row in simulation.rows
        ],
        "targets": [asdict(target) | {"met": target.met} for target in simulation.targets],
        "variants": [_plain_comparison(one) for one in simulation.variants],
        "others": [_plain_comparison(one) for one in simulation.others],
        "findings": [{"tone": tone, "text": text} for tone, text in sentences(simulation)],
    }
    return json.dumps(plain(content), sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _plain_comparison(one: Comparison) -> dict[str, object]:
    return {
        "name": one.name,
        "title": one.title,
        "shows": one.shows,
        "changes": {name: asdict(estimate) for name, estimate in one.changes.items()},
    }


def plain(value: object) -> object:
    """Containers as JSON has them; numbers rounded, and null where there is no bound."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}") if np.isfinite(value) else None
    return value


def write_simulation(simulation: Simulation, page: str, directory: str | Path) -> tuple[Path, Path]:
    """Write simulation.json and simulation.html into a directory, which is made where there is none."""
    folder = Path(directory)
    folder.mkdir(parents=True, exist_ok=True)
    files = folder / "simulation.json", folder / "simulation.html"
    for path, text in zip(files, (simulation_json(simulation), page), strict=True):
        path.write_text(text, encoding="utf-8")
    return files
