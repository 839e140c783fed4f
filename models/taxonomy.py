"""Every content label of the project, once: its name, family, meaning and public name.

A label is listed here whether or not a classifier serves it; an artifact says which it serves.
Derived labels are products of two others and are computed, never learned.
"""

import difflib
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from models.scores import HarmScores

Family = Literal[
    "toxicity", "misinformation", "disturbing", "bridging", "outrage", "humor", "topic", "derived"
]

TAXONOMY_VERSION = 1


@dataclass(frozen=True)
class Label:
    """One thing a post can be scored for.

    `public_name` is the attribute of Google's Perspective API with the same definition, or None.
    """

    name: str
    family: Family
    definition: str
    public_name: str | None = None


def _bridging(name: str, definition: str) -> Label:
    return Label(name, "bridging", definition, f"{name.upper()}_EXPERIMENTAL")


def _outrage(name: str, definition: str) -> Label:
    return Label(name, "outrage", definition, f"{name.upper()}_EXPERIMENTAL")


LABELS: tuple[Label, ...] = (
    Label(
        "toxicity", "toxicity", "rude, disrespectful or unreasonable; likely to make people leave", "TOXICITY"
    ),
    Label("severe_toxicity", "toxicity", "very hateful or aggressive; not mere swearing", "SEVERE_TOXICITY"),
    Label(
        "identity_attack", "toxicity", "hateful towards someone because of their identity", "IDENTITY_ATTACK"
    ),
    Label("insult", "toxicity", "inflammatory towards a person or a group", "INSULT"),
    Label("profanity", "toxicity", "swear words or other obscene language", "PROFANITY"),
    Label("threat", "toxicity", "states or wishes pain, injury or violence", "THREAT"),
    Label(
        "sexually_explicit",
        "toxicity",
        "refers to sexual acts or body parts in a lewd way",
        "SEXUALLY_EXPLICIT",
    ),
    Label(
        "misinformation", "misinformation", "a checkable claim that is probably false or seriously misleading"
    ),
    Label("antivax", "misinformation", "hostility to vaccines, or false claims about them"),
    Label("low_quality_news", "misinformation", "links to a news domain that experts rate as unreliable"),
    Label("clickbait", "misinformation", "curiosity-gap wording or a bid for reactions"),
    Label(
        "graphic_violence", "disturbing", "describes killing, injury, abuse or suffering in a disturbing way"
    ),
    _bridging("affinity", "refers to motives or outlooks that the author shares with others"),
    _bridging("compassion", "identifies with, or shows concern for, the feelings of others"),
    _bridging("curiosity", "asks or clarifies in order to understand another person or idea"),
    _bridging("nuance", "several points of view, or useful qualification and context"),
    _bridging("personal_story", "an experience of the author, or of people close to them"),
    _bridging("reasoning", "specific, well-reasoned points that give a fuller understanding"),
    _bridging("respect", "appreciation of others, or acknowledgement that they have a point"),
    _outrage("alienation", "portrays someone as inferior or not belonging, or frames us against them"),
    _outrage("fearmongering", "arouses fear or alarm about an issue"),
    _outrage("generalization", "asserts something of all members of a group"),
    _outrage("moral_outrage", "anger or disgust at people who violate the author's values"),
    _outrage("scapegoating", "blames a person or group for wrongs out of expediency"),
    Label("humor", "humor", "meant to be funny"),
    Label("civic", "topic", "politics, elections, government, public policy, protest"),
    Label("health", "topic", "health, medicine, vaccines, disease"),
    Label("civic_low_quality_news", "derived", "civic and low_quality_news"),
    Label("civic_misinformation", "derived", "civic and misinformation"),
    Label("civic_toxicity", "derived", "civic and toxicity"),
    Label("health_misinformation", "derived", "health and misinformation"),
    Label("health_antivax", "derived", "health and antivax"),
)

DERIVED_PARTS: dict[str, tuple[str, str]] = {
    "civic_low_quality_news": ("civic", "low_quality_news"),
    "civic_misinformation": ("civic", "misinformation"),
    "civic_toxicity": ("civic", "toxicity"),
    "health_misinformation": ("health", "misinformation"),
    "health_antivax": ("health", "antivax"),
}

_BY_NAME = {entry.name: entry for entry in LABELS}


def label(name: str) -> Label:
    """The label with this name.

    Raises:
        ValueError: the taxonomy has no such label; the message names the nearest ones.
    """
    if name not in _BY_NAME:
        near = difflib.get_close_matches(name, _BY_NAME, n=3)
        raise ValueError(
            f"label: expected a name of taxonomy {TAXONOMY_VERSION}, got {name!r}; nearest: {near}"
        )
    return _BY_NAME[name]


def family(name: Family) -> tuple[str, ...]:
    """Names of the labels of one family, in the taxonomy's order.

    Raises:
        ValueError: there is no such family.
    """
    if name not in get_args(Family):
        raise ValueError(f"family: expected one of {get_args(Family)}, got {name!r}")
    return tuple(entry.name for entry in LABELS if entry.family == name)


def with_derived(scores: HarmScores) -> HarmScores:
    """The scores, with a column for each derived label both of whose parts are there.

    The probability is the product of the parts (as if topic and harm were independent given the text,
    which over-states a rare pair); the confidence is the lesser of the two. NaN in a part gives NaN.

    Source: the five integrity categories named in a platform's 2019 ranking document.
    """
    names = [
        name
        for name, parts in DERIVED_PARTS.items()
        if name not in scores.labels and all(part in scores.labels for part in parts)
    ]
    if not names:
        return scores
    columns = [(scores.column(a), scores.column(b)) for a, b in (DERIVED_PARTS[name] for name in names)]
    return HarmScores(
        labels=scores.labels + tuple(names),
        probability=np.column_stack([scores.probability, *[a[0] * b[0] for a, b in columns]]),
        confidence=np.column_stack([scores.confidence, *[np.minimum(a[1], b[1]) for a, b in columns]]),
        model=scores.model,
    )
