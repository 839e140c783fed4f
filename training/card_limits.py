"""What an artifact is for, what it must not be used for, and who may be harmed.

A sentence that depends on a data set, a label or a measurement is left out where these are missing.
"""

from typing import Any

from models.taxonomy import family
from training.card_markdown import at, number

_USE = """\
## What it is for, and what it must not be used for

For ranking a feed with less harm in it: as one input to demotion by degrees, with a person able to see why;
for measuring exposure over many posts; for research on these. Choose thresholds on a sample of your own
posts, and state your own prevalence.

Not for removing posts or punishing people by itself; not for deciding about a person, an account or a group;
not to find out who somebody is or what they believe; not for other languages; not as proof that a claim is
false; not where a wrong score cannot be contested.
"""

_VERDICT = """\
- **A score is not a verdict.** It estimates how a typical annotator would label the words alone, without the
  thread, the speaker or the intent. Use it to demote a little, never to punish or to remove alone."""

_IDENTITY = """\
- **People who name an identity, reclaim a slur or quote abuse to object to it** may be flagged more than
  others, and people who write a dialect too: see the tables by term, group and dialect. Annotators are
  known to mark tweets in African American English as offensive too often (Sap and others, 2019); models
  learn it."""

_MISINFORMATION = """\
- **Misinformation**: text alone cannot tell whether a claim is true. A score means that a text reads like
  claims that were held to be false, mostly about US politics and health; it cannot mean that *this* claim is
  false, and a new true claim in the same words gets the same score. Use the rating of the linked domain
  first.{range}"""

_MACHINE = """\
- **Labels by machine.** Where "labelled by" in the table of data names a large language model, the labels
  were given by **a large language model, not by people**. Agreement with it is not agreement with readers."""

_CALIBRATION = """\
- **Probabilities** calibrated to a stated prevalence rest on an assumption about the feed. The confidence
  covers the error of the calibration and how familiar the text is; on another platform the true error
  is larger."""

_DEVELOPMENT = """\
- **These are development figures.** The held-out and unseen sets were looked at repeatedly while the
  classifier was made; they are not a final exam, and a new platform will do worse."""

_WRITTEN = """\
- **Sentences written for this project** (contrast) are among the training texts, and the functional cases and
  templates were written by the same people: those figures flatter, the data of others are the harder test."""

_OLD = """\
- **Old and partly made by machines.** The training texts come from other people's collections, years old by
  now, and toxigen is machine-made. New slang, events and targets are not in them."""

_HELD_OUT = """\
- **Kept out of training**: sets whose licence does not allow it or is not stated, and by choice, so that
  transfer is measured on more platforms, {names}."""

_PERMISSIVE = ("MIT", "CC BY 4.0", "CC0", "Apache-2.0")


def limits_sections(about: dict[str, Any], served: tuple[str, ...]) -> list[str]:
    """Intended use, and limits."""
    data = about["data"]
    by_choice = [
        name
        for name, entry in data.items()
        if entry["role"] == "unseen" and entry["licence"].startswith(_PERMISSIVE)
    ]
    limits = [
        _VERDICT,
        _IDENTITY if set(served) & {*family("toxicity")} else "",
        _misinformation(about["figures"]["labels"]) if "misinformation" in served else "",
        _MACHINE,
        _CALIBRATION,
        _DEVELOPMENT,
        _WRITTEN if "contrast" in data else "",
        _OLD if "toxigen_annotated" in data else "",
        _HELD_OUT.format(names=", ".join(by_choice)) if by_choice else "",
    ]
    return [_USE, "\n".join(["## Limits, and who may be harmed\n", *filter(None, limits)]) + "\n"]


def _misinformation(labels: dict[str, Any]) -> str:
    sources = at(labels, "misinformation", "unseen", "sources") or {}
    if not sources:
        return _MISINFORMATION.format(range="")
    values = {name: found["auroc"] for name, found in sources.items()}
    worst, best = min(values, key=lambda name: values[name]), max(values, key=lambda name: values[name])
    return _MISINFORMATION.format(
        range=f" On unseen sources its AUROC runs from {number(values[worst])} ({worst})\n"
        f"  to {number(values[best])} ({best})."
    )
