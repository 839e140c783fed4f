"""The main job: one feed, two policies, from their rankings to the report."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from eval.audit_labels import HumanLabels
from eval.comparison import SEGMENTS, Comparison, Context, compare
from eval.margins import Margins
from eval.outcomes import Outcome
from eval.page import Note
from eval.report import write_report
from eval.sweep import Sweep, sweep_angry
from eval.verdict import verdict
from eval.words import Sentence
from reranker.anger import AngerBaseline
from reranker.effectiveness import measure_effectiveness, refuse_to_demote_everything
from reranker.explain import explain
from reranker.feed import Feed
from reranker.pipeline import Reranker
from reranker.presets import load_policy
from reranker.ranking import Ranking
from reranker.value import Harms

N_TERMS = 8
SNIPPET = 140


@dataclass(frozen=True)
class Arm:
    """A policy as the command line names it: a spec and settings over it."""

    spec: str
    settings: tuple[str, ...] = ()

    def rank(self, feed: Feed, harms: Harms | None, baseline: AngerBaseline) -> Ranking:
        """The feed ranked by this policy."""
        return Reranker(load_policy(self.spec, self.settings), baseline=baseline).rank(feed, harms)


@dataclass(frozen=True)
class Study:
    """What a study found and where it is written; `sentences` say it in words."""

    original: Ranking
    treatment: Ranking
    comparison: Comparison
    sweep: Sweep
    sentences: tuple[Sentence, ...]
    files: tuple[Path, ...]


def run_study(
    feed: Feed,
    harms: Harms | None,
    arms: tuple[Arm, Arm],
    outcomes: Sequence[Outcome],
    directory: str | Path,
    *,
    shown: str = "10%",
    data: str = "",
    show_text: bool = False,
    seed: int = 0,
    margins: Margins | None = None,
    planned_margins: str | None = None,
    labels: HumanLabels | None = None,
) -> Study:
    """Rank a feed by two policies, compare them, sweep the weight of angry, explain the movers, write it all.

    Args:
        feed: the candidates.
        harms: scores made before, read by both policies; None where no policy reads any.
        arms: the original policy and the treatment.
        outcomes: what to measure.
        directory: where comparison.json, comparison.parquet and report.html go.
        shown: the main browsing model, as `eval.exposure.browsing` reads it.
        data: a name for the data, for the report.
        show_text: put snippets of the movers' texts on the page.
        seed: of the resampling.
        margins: how much activity may be lost; None takes those that are shipped.
        planned_margins: the digest of the margins as planned before the result was read.
        labels: what people said of a sample of the posts.

    Raises:
        PolicyError: a policy demotes every candidate of a large feed.
    """
    baseline = AngerBaseline.fit(feed)
    original, treatment = (arm.rank(feed, harms, baseline) for arm in arms)
    for ranking in (original, treatment):
        refuse_to_demote_everything(ranking)
    ineffective = {
        name: measure_effectiveness(ranking).ineffective_per_1000
        for name, ranking in (("original", original), ("treatment", treatment))
    }
    comparison = compare(
        original,
        treatment,
        outcomes,
        shown=shown,
        segments=SEGMENTS,
        seed=seed,
        context=Context(
            data=data,
            ineffective={k: v for k, v in ineffective.items() if v is not None},
            margins=margins,
            planned_margins=planned_margins,
            labels=labels,
        ),
    )
    first = arms[0]
    sweep = sweep_angry(
        feed,
        first.spec,
        outcomes,
        settings=first.settings,
        harms=harms,
        baseline=baseline,
        shown=shown,
        seed=seed,
    )
    notes = _notes(comparison, treatment, show_text)
    files = write_report(comparison, sweep, notes, directory, show_text=show_text)
    return Study(original, treatment, comparison, sweep, verdict(comparison), files)


def _notes(comparison: Comparison, treatment: Ranking, show_text: bool) -> list[Note]:
    """Why each mover stands where the treatment puts it."""
    notes = []
    for mover in (*comparison.diagnostics.down, *comparison.diagnostics.up):
        found = explain(treatment, mover.post_id, mover.request_id)
        largest = sorted(found.terms, key=lambda term: -abs(term.amount))[:N_TERMS]
        terms = tuple((term.name, term.amount) for term in largest)
        note = Note(mover.post_id, found.sentences, terms, request_id=mover.request_id)
        if show_text:
            feed = treatment.feed
            text = feed.text[int((feed.post_id.codes == feed.post_id.code_of(mover.post_id)).argmax())]
            note = replace(note, snippet=None if text is None else text[:SNIPPET])
        notes.append(note)
    return notes
