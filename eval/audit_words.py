"""What labels by people say of a comparison, in sentences and in a table of the page."""

from collections.abc import Mapping, Sequence

from eval.audit_findings import FEW_POSITIVES, AuditRow
from eval.audit_labels import HumanLabels
from eval.audit_sample import FEWEST_POSITIVES
from eval.clustered import Estimate
from eval.multiplicity import Finding
from eval.words import Sentence, Tone, in_words, number, title

SAID: Mapping[Finding, str] = {
    "decreased": "fell",
    "increased": "rose",
    "identical": "is exactly the same",
    "not shown": "is not shown to have changed",
}
TONES: Mapping[Finding, Tone] = {
    "decreased": "better",
    "increased": "worse",
    "identical": "open",
    "not shown": "open",
}
HEADS = (
    "harm per 1,000 views",
    "labels (harmful; worth)",
    "scores alone",
    "corrected (interval)",
    "labels alone (interval)",
    "adjusted p",
    "finding",
)


def audit_sentences(rows: Sequence[AuditRow], *, family: str = "") -> list[Sentence]:
    """A sentence per audited harm: the corrected change first, then what it corrects and what checks it.

    Args:
        rows: those of one browsing model.
        family: what the p-values are adjusted over, such as "3 harms"; counted where it is "".
    """
    corrected = [row for row in rows if row.method == "prediction-powered"]
    n = sum(row.change is not None for row in corrected)
    told = family or f"{n} audited harm{'s' if n > 1 else ''}"
    return [_sentence(row, _alone(row, rows), told) for row in corrected]


def _sentence(row: AuditRow, alone: AuditRow | None, family: str) -> Sentence:
    subject = f"Harm per 1,000 views, {in_words(row.metric)}, corrected by {row.n_labels:,} labelled posts"
    if row.change is None:
        return Sentence("open", f"{subject}: refused: {'; '.join(row.reasons)}.")
    found = row.finding or "not shown"
    tone = TONES[found]
    text = f"{subject}: {SAID[found]} ({_change(row.change)}; p adjusted over {family})."
    if row.classifier is not None:
        apart = "" if row.change.low <= row.classifier <= row.change.high else ", outside that interval"
        text += f" The scores alone say {_signed(row.classifier)}{apart}"
        if alone is not None and alone.change is not None:
            text += f"; the labels alone, {_change(alone.change)}"
        elif alone is not None:
            text += "; from the labels alone nothing is claimed"
        text += "."
    if FEW_POSITIVES in row.cautions:
        text += (
            f" The change rests on what {row.n_effective:.0f} harmful labels weigh, of {row.n_positive:,}; "
            f"below {FEWEST_POSITIVES} its interval is rough: draw posts by how much their views change."
        )
    if row.status == "MODEL_ONLY":
        return Sentence("open", f"{text} The sign depends on how far people read.")
    return Sentence(tone, text)


def _alone(row: AuditRow, rows: Sequence[AuditRow]) -> AuditRow | None:
    key = (row.metric, row.browsing, "Hájek")
    return next((one for one in rows if (one.metric, one.browsing, one.method) == key), None)


def label_facts(labels: HumanLabels) -> str:
    """Who labelled how much, and how far they agree, in a clause."""
    parts = []
    for harm, sample in labels.samples.items():
        people = f" by {sample.n_raters:,} raters" if sample.n_raters > 1 else ""
        twice = f", {sample.n_twice:,} twice" if sample.n_twice else ", none twice"
        agree = "" if sample.agreement is None else f", Krippendorff's alpha {sample.agreement:.2f}"
        parts.append(f"{in_words(harm)} on {sample.n_labels:,} posts{people}{twice}{agree}")
    return f"{labels.name}: {'; '.join(parts)}"


def audit_cells(rows: Sequence[AuditRow]) -> tuple[tuple[tuple[str, ...], ...], tuple[str, ...]]:
    """Cells under `HEADS` and the tone of each row, of one browsing model."""
    corrected = [row for row in rows if row.method == "prediction-powered"]
    cells = tuple(_cells(row, _alone(row, rows)) for row in corrected)
    return cells, tuple(_tone(row) for row in corrected)


def _tone(row: AuditRow) -> str:
    tone = TONES[row.finding] if row.finding is not None and row.status != "MODEL_ONLY" else "open"
    return tone if tone != "open" else ""


def _cells(row: AuditRow, alone: AuditRow | None) -> tuple[str, ...]:
    if row.change is None or row.finding is None:
        words = f"refused: {'; '.join(row.reasons)}"
    else:
        words = f"{SAID[row.finding]}{' (depends on how far people read)' * (row.status == 'MODEL_ONLY')}"
    return (
        title(row.metric),
        f"{row.n_labels:,} ({row.n_positive:,}; {row.n_effective:,.0f})",
        "n/a" if row.classifier is None else _signed(row.classifier),
        "n/a" if row.change is None else _short(row.change),
        "n/a" if alone is None or alone.change is None else _short(alone.change),
        "n/a" if row.p_adjusted is None else p_words(row.p_adjusted),
        words,
    )


def p_words(p: float) -> str:
    """A p-value, of which nothing below 0.0001 is told.

    Example:
        >>> p_words(0.0312), p_words(1e-9)
        ('0.031', 'below 0.0001')
    """
    return "below 0.0001" if p < 1e-4 else f"{p:.2g}"


def _change(found: Estimate) -> str:
    return f"{_signed(found.value)}, {100 * found.level:g}% {_signed(found.low)} to {_signed(found.high)}"


def _short(found: Estimate) -> str:
    return f"{_signed(found.value)} ({_signed(found.low)} to {_signed(found.high)})"


def _signed(value: float) -> str:
    return f"+{number(value)}" if value > 0 else number(value)
