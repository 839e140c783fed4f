"""How the toxicity score behaves: on functional cases, for groups of people, under disguise."""

from typing import Any

from training.card_markdown import ABSENT, at, number, percent, section, signed, table
from training.robustness import FALSE_POSITIVE_RATE

WORST = 12


def behaviour_sections(figures: dict[str, Any]) -> list[str]:
    """Functionalities, fairness by term, dialect and political side, groups, robustness."""
    fairness = figures.get("fairness") or {}
    return [
        _functional(figures.get("functional"), _level(at(figures, "threshold"))),
        _terms(fairness.get("identity")),
        _gaps({name: fairness[name] for name in ("dialect", "political") if name in fairness}),
        _groups(figures.get("groups") or {}, _level(at(figures, "threshold"))),
        _robustness(figures.get("robustness")),
    ]


def _level(threshold: dict[str, Any] | None) -> str:
    if not threshold:
        return "the threshold"
    share = percent(threshold["false_positive_rate"])
    return f"{number(threshold['probability'])}, which {share} of harmless texts exceed"


def _functional(found: dict[str, Any] | None, level: str) -> str:
    if not found:
        return ""
    kinds = sorted(found["functionalities"].items(), key=lambda item: item[1]["accuracy"])
    rows = [
        [
            name,
            "toxic" if entry["toxic"] else "harmless",
            percent(entry["accuracy"]),
            number(entry["auroc"]),
            percent(entry["pair_accuracy"]) if entry["pair_accuracy"] is not None else ABSENT,
            str(entry["n"]),
        ]
        for name, entry in kinds[:WORST]
    ]
    pairs = found["pair_accuracy"]
    overall = f"{percent(found['accuracy'])} right, AUROC {number(found['auroc'])}"
    overall += "" if pairs is None else f", {percent(pairs)} of {found['n_pairs']} pairs"
    rest = [entry["accuracy"] for _, entry in kinds[WORST:]]
    return section(
        "What it must and must not react to",
        f"{found['n']} short cases written for this project ({found['n_toxic']} toxic), worst kinds first. "
        f"Right: a toxic case above {level}, a harmless one below. AUROC compares a row's cases with all of "
        "the other kind. Pairs: contrast pairs whose toxic text outranks its harmless partner.",
        table(["functionality", "cases are", "right", "AUROC", "pairs", "cases"], rows),
        f"The other {len(rest)} kinds: {percent(rest[0])} to {percent(rest[-1])} right." if rest else "",
        f"All cases: {overall}.",
    )


def _terms(found: dict[str, Any] | None) -> str:
    if not found:
        return ""
    worst = sorted(found["terms"].items(), key=lambda item: item[1]["bpsn_auroc"])[:WORST]
    keys = ("bpsn_auroc", "bnsp_auroc", "subgroup_auroc")
    rows = [
        [
            name,
            *(number(entry[key]) for key in keys),
            signed(entry["false_positive_gap"]),
            signed(entry["false_negative_gap"]),
        ]
        for name, entry in worst
    ]
    means = [number(found["power_mean"][key]) for key in keys]
    rows.append([f"**power mean of all {len(found['terms'])} terms**", *means, ABSENT, ABSENT])
    return section(
        "Fairness by identity term",
        f"The {len(worst)} terms with the lowest BPSN AUROC, over sentences that differ in the term alone. "
        "BPSN: a harmless text that names the group ranks below toxic texts that do not (low: false alarms). "
        "BNSP: a toxic text that names it ranks above harmless ones that do not (low: misses). The gaps are "
        f"shares above or below {number(found['threshold'])}, less those of the other terms.",
        table(["term", "BPSN", "BNSP", "within group", "false positive gap", "false negative gap"], rows),
    )


def _gaps(fairness: dict[str, Any]) -> str:
    named = {
        "dialect": "vernacular less standard English",
        "political": "about the left less about the right",
    }
    rows = [
        [
            f"{named[name]}, {kind}",
            signed(entry["mean_difference"]),
            number(entry["mean_absolute_difference"]),
            signed(entry["flag_rate_difference"]),
            str(entry["n"]),
        ]
        for name, found in fairness.items()
        for kind, entry in found.items()
    ]
    head = ["pairs", "mean difference", "mean size of difference", "flagged more often", "pairs tested"]
    return section(
        "Dialect and political side",
        "The same sentence in two versions; 0 is fair, above 0 the first is scored or flagged higher. The "
        "dialect sentences are imitations, not recordings of speakers.",
        table(head, rows),
    )


def _groups(groups: dict[str, Any], level: str) -> str:
    rates = ("auroc", "false_positive_rate", "true_positive_rate")
    rows = [
        [name, *(number(found[key], 2) for key in rates), str(found["n_benign"]), str(found["n_toxic"])]
        for name, found in sorted(groups.items(), key=lambda item: -item[1]["false_positive_rate"])
    ]
    return section(
        "By group mentioned, on data of others",
        "Toxicity on held-out texts that name the group they mention (toxigen: machine-made, rated by "
        f"people), flagged above {level}. "
        "A false positive is a harmless sentence about the group; worst first.",
        table(["group", "AUROC", "false positives", "true positives", "harmless", "toxic"], rows),
    )


def _robustness(found: dict[str, Any] | None) -> str:
    if not found:
        return ""
    clean = found["clean"]["auroc"]
    rows = [
        [
            name,
            number(entry["auroc"]),
            signed(entry["auroc"] - clean) if name != "clean" else ABSENT,
            percent(entry["recall"]),
            percent(entry["false_positive_rate"]),
            number(entry["mean_abs_change"]),
        ]
        for name, entry in sorted(found.items(), key=lambda item: (item[0] != "clean", item[1]["auroc"]))
    ]
    return section(
        "Robustness",
        "Toxicity on the same held-out texts after a disguise or sloppy typing, worst first. Recall and "
        f"false positives are at one threshold, which "
        f"{percent(FALSE_POSITIVE_RATE)} of the clean harmless texts exceed.",
        table(["perturbation", "AUROC", "change", "recall", "false positives", "mean change of score"], rows),
    )
