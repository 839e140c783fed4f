"""Whether the probabilities of an artifact mean what they say: on held-out, unseen and undecidable texts."""

from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from models.taxonomy import LABELS
from training.card_markdown import ABSENT, at, number, percent, section, signed, table

FIGURE = "reliability.png"
MOST_UNLIKE = 6

_SHOWN = tuple(entry.name for entry in LABELS if entry.family in {"toxicity", "misinformation"})
_DIAGONAL = (0.0, 1e-3, 1e-2, 1e-1, 1.0)
_TICKS = {0.0: "0", 0.01: ".01", 0.1: ".1", 1.0: "1"}
_LINEAR_UP_TO = 1e-3


def calibration_sections(figures: dict[str, Any], served: tuple[str, ...]) -> list[str]:
    """Calibration per label, novelty per kind of text, and claims that cannot be decided."""
    return [
        _calibration(figures, served),
        _novelty(figures.get("novelty")),
        _claims(figures.get("claims")),
    ]


def write_reliability(figures: dict[str, Any], served: tuple[str, ...], path: Path) -> bool:
    """Draws the reliability curves of toxicity and misinformation labels; False, and no file, without any."""
    curves = {
        name: points
        for name in _SHOWN
        if name in served and (points := at(figures, "labels", name, "calibration", "reliability"))
    }
    if not curves:
        return False
    n_columns = min(5, len(curves))
    n_rows = -(-len(curves) // n_columns)
    figure = Figure(figsize=(2.0 * n_columns, 2.1 * n_rows), layout="constrained")
    axes = figure.subplots(n_rows, n_columns, squeeze=False).ravel()
    for axis, (name, points) in zip(axes, curves.items(), strict=False):
        axis.plot(_DIAGONAL, _DIAGONAL, color="0.7", linewidth=1)
        axis.plot([p for p, _, _ in points], [found for _, found, _ in points], marker="o", markersize=3)
        axis.set_xscale("symlog", linthresh=_LINEAR_UP_TO, linscale=0.3)
        axis.set_yscale("symlog", linthresh=_LINEAR_UP_TO, linscale=0.3)
        axis.set(xlim=(0, 1), ylim=(0, 1))
        axis.set_xticks(list(_TICKS), list(_TICKS.values()))
        axis.set_yticks(list(_TICKS), list(_TICKS.values()))
        axis.set_title(name, fontsize=9)
        axis.tick_params(labelsize=7)
    for axis in axes[len(curves) :]:
        axis.set_axis_off()
    figure.supxlabel("mean probability")
    figure.supylabel("share that has the label")
    figure.savefig(path, dpi=72)
    return True


def _calibration(figures: dict[str, Any], served: tuple[str, ...]) -> str:
    rows = []
    for name in served:
        found = figures["labels"][name]["calibration"]
        moved = at(figures, "shift", "labels", name) or {}
        sources = moved.get("sources", {})
        kind = "stated" if found.get("prevalence_is_stated") else "natural"
        rows.append(
            [
                name,
                f"{number(found['prevalence'])} ({kind})" if "prevalence" in found else ABSENT,
                number(found["ece"], 4),
                number(found.get("brier"), 4),
                number(found.get("brier_of_prevalence"), 4),
                str(found["n_positive"]),
                number(moved.get("mean_ece")),
                number(max((entry["ece"] for entry in sources.values()), default=None)),
                number(moved.get("mean_ece_by_factor")),
                str(len(sources)) if sources else ABSENT,
            ]
        )
    curves = f"![Reliability: share with the label against mean probability, per label]({FIGURE})"
    drawn = any(at(figures, "labels", name, "calibration", "reliability") for name in set(served) & {*_SHOWN})
    head = ["label", "prevalence", "ECE", "Brier", "Brier of prevalence alone", "positives"]
    return section(
        "Calibration",
        "ECE: the mean distance between a probability and the share of such texts that has the label; 0 is "
        "perfect. On held-out rows at the prevalence in the second column: natural as found, or stated, an "
        "assumption about a feed. The last four columns are on unseen sources, once the prevalence there "
        "has been stated (as a user does after labelling a sample): with texts of the feed to agree with it "
        "on (`--prevalence-sample`), the mean of the sources and the worst, and by the share alone.",
        table([*head, "unseen ECE", "worst source", "share alone", "sources"], rows),
        "How often texts have the label (upwards) at each mean probability (rightwards), on held-out rows; "
        f"on the grey line a probability is what it says. Logarithmic above 0.001.\n\n{curves}"
        if drawn
        else "",
    )


def _novelty(novelty: dict[str, Any] | None) -> str:
    if not novelty:
        return ""
    kinds = sorted(novelty["kinds"].items(), key=lambda item: -item[1]["auroc"])
    rows = [
        [name, number(found["auroc"]), percent(found["unfamiliar_share"]), str(found["n"])]
        for name, found in kinds[:MOST_UNLIKE]
    ]
    rest = kinds[MOST_UNLIKE:]
    others = (
        f"The other {len(rest)} kinds: AUROC {number(rest[-1][1]['auroc'])} to {number(rest[0][1]['auroc'])}."
        if rest
        else ""
    )
    return section(
        "Does it know what it has not seen?",
        "How well the distance from the training texts tells a kind of text from held-out texts of the "
        "training sources (AUROC; 0.5: it cannot), and the share called unfamiliar, whose probabilities "
        "move towards the base rate. Of those held-out texts "
        f"{percent(novelty['unfamiliar_share_of_known'])} are called so too.",
        table(["kind of text", "AUROC", "called unfamiliar", "texts"], rows),
        others,
    )


def _claims(claims: dict[str, Any] | None) -> str:
    if not claims:
        return ""
    names = {
        "undecidable": "news that just broke",
        "false": "debunked long ago",
        "true_or_neutral": "true or neutral",
    }
    rows = [
        [
            text,
            signed(claims[kind]["mean"], 2),
            number(claims[kind]["mean_absolute"], 2),
            str(claims[kind]["n"]),
        ]
        for kind, text in names.items()
        if kind in claims
    ]
    told = [
        f"{number(claims[key])} from {text}"
        for key, text in (
            ("auroc_false_against_undecidable", "breaking news"),
            ("auroc_false_against_true_or_neutral", "true or neutral ones"),
        )
        if key in claims
    ]
    return section(
        "Claims that cannot be decided from text",
        "How far the log-odds of misinformation move from those of its base rate: breaking news should "
        "stay near 0. Sentences written for this project.",
        table(["claims", "mean move", "mean size of move", "texts"], rows),
        f"AUROC with which debunked claims are told: {', '.join(told)}." if told else "",
    )
