"""What is compared: pairs of policies, and worlds with another assumption to compare them in again."""

from dataclasses import dataclass, replace

from eval.simulate.formula import Formula, formula_of
from eval.simulate.parameters import ACTIONS, Parameters
from reranker.presets import load_policy

_COMMENTS_30 = ("weights.comment=30",)
_HARD = (
    "score.bounded=true",
    *(
        f"demotion.{label}={{start={start}, line={line}, floor=0.0}}"
        for label, start, line in (
            ("misinformation", 0.002, 0.02),
            ("graphic_violence", 0.0001, 0.001),
            ("identity_attack", 0.0001, 0.001),
        )
    ),
)
_MEASURED = (
    "score.bounded=true",
    *(
        f"demotion.{label}={{start={start}, line={line}, floor=0.0}}"
        for label, start, line in (
            ("misinformation", 0.15, 0.5),
            ("graphic_violence", 0.02, 0.2),
            ("identity_attack", 0.02, 0.2),
        )
    ),
)


@dataclass(frozen=True)
class Scenario:
    """Two policies: spec and settings of each, the one in force first."""

    name: str
    title: str
    original: tuple[str, ...]
    treatment: tuple[str, ...]

    def formulas(self) -> tuple[Formula, Formula]:
        """Both as the simulator ranks by them.

        Raises:
            PolicyError, ValueError: a policy is wrong, or has what the simulator has no data for.
        """
        first, second = (
            formula_of(load_policy(spec[0], spec[1:])) for spec in (self.original, self.treatment)
        )
        return first, second


SCENARIOS = {
    one.name: one
    for one in (
        Scenario("angry0", "Angry 5 → 0", ("fb-2018-h1",), ("fb-2018-h1", "weights.angry=0")),
        Scenario("angry-half", "Angry 5 → 0.5", ("fb-2018-h1",), ("fb-2018-h1", "weights.angry=0.5")),
        Scenario("fb-2020-10", "The weights of October 2020", ("fb-2018-h1",), ("fb-2020-10",)),
        Scenario(
            "demotion", "Demotion of what is likely harmful", ("fb-2018-h1",), ("fb-2018-h1", *_MEASURED)
        ),
        Scenario(
            "hard-demotion", "Demotion of all that might be harmful", ("fb-2018-h1",), ("fb-2018-h1", *_HARD)
        ),
        Scenario("identical", "The same policy twice", ("fb-2018-h1",), ("fb-2018-h1",)),
    )
}


@dataclass(frozen=True)
class Variant:
    """The main scenario in a world with another assumption.

    `settings` are laid over both policies. `expects` says what the assumption is there to show.
    """

    name: str
    title: str
    expects: str
    changes: tuple[tuple[str, float], ...] = ()
    settings: tuple[str, ...] = ()
    alike: bool = False

    def parameters(self, p: Parameters) -> Parameters:
        """The numbers of the variant's world."""
        changes: dict[str, object] = {}
        for name, value in self.changes:
            table, _, action = name.partition(".")
            if action:
                own = list(changes.get(table, getattr(p, table)))  # type: ignore[call-overload]
                own[ACTIONS.index(action)] = value
                changes[table] = tuple(own)
            else:
                changes[name] = value
        if self.alike:  # no noise, and nobody angrier or more active than others
            changes |= {
                "action_noise": (0.0,) * len(ACTIONS),
                "anger_shape": 1e6,
                "anger_scale": 1e-6,
                "activity_sd": 0.0,
            }
        return replace(p, **changes)  # type: ignore[arg-type]

    def scenario(self, main: Scenario) -> Scenario:
        """The main scenario with the variant's settings on both sides."""
        return replace(
            main, original=(*main.original, *self.settings), treatment=(*main.treatment, *self.settings)
        )


VARIANTS = (
    Variant("as assumed", "As assumed", "the main world, smaller"),
    Variant(
        "anger-elsewhere",
        "Anger has nothing to do with the line",
        "the finding hinges on this: without it, zeroing angry has nothing to take away",
        (("action_line.angry", 0.0), ("action_base.angry", -10.16)),
    ),
    Variant(
        "weak-tie",
        "Anger half as tied to the line",
        "the tie of anger and harm",
        (("action_line.angry", 2.5), ("action_base.angry", -11.07)),
    ),
    Variant(
        "alike-30",
        "Comments at 30, viewers alike",
        "with as many angry reactions as before, what they gave to harm was not personal",
        (("action_base.angry", -10.12),),
        settings=_COMMENTS_30,
        alike=True,
    ),
    Variant(
        "collinear-30",
        "The same, and comments rise to the line as anger does",
        "comments at 30 reward the same posts already: zeroing angry changes next to nothing",
        (
            ("action_base.angry", -10.12),
            ("action_line.comment", 5.0),
            ("action_line.significant_comment", 5.0),
        ),
        settings=_COMMENTS_30,
        alike=True,
    ),
    Variant(
        "alike-30-rare",
        "Comments at 30, viewers alike, angry ten times rarer",
        "without what viewers feel, the intercepts of the file give a tenth of the angry reactions",
        settings=_COMMENTS_30,
        alike=True,
    ),
    Variant("comments-30", "Comments at 30", "the weight of comments alone", settings=_COMMENTS_30),
    Variant(
        "alike",
        "Viewers alike",
        "what viewers feel beyond the post",
        (("action_base.angry", -10.05),),
        alike=True,
    ),
    Variant("blind", "The ranker knows no viewer's feeling", "personal predictions", (("noise_seen", 0.0),)),
    Variant("no-virality", "Others' actions teach nothing", "virality", (("people_per_user", 0.0),)),
    Variant("no-adaptation", "Publishers do not adapt", "publishers", (("adaptation_rate", 0.0),)),
    Variant(
        "comments-calm",
        "Comments do not rise to the line",
        "what else rewards the line",
        (("action_line.comment", 0.0), ("action_line.significant_comment", 0.0)),
    ),
)
