"""The diagnostics in sentences: what was found, with its interval, and what it does not say."""

from eval.clustered import Estimate
from eval.count_regression import exponentiated
from eval.incentives import Incentives
from eval.moral_words import PUBLISHED
from eval.words import MINUS, Sentence, Tone, in_words

MOST_LIFTS = 6


def sentences(found: Incentives) -> tuple[Sentence, ...]:
    """One or more per diagnostic that was measured, in the order of the page."""
    said = [*_borderline(found), *_moral(found), *_negative(found), *_lifts(found), *_angry(found)]
    return (*said, *_gaming(found))


def between(found: Estimate, digits: int = 2) -> str:
    """An estimate with its interval.

    Example:
        >>> between(Estimate(1.1234, 0.02, 1.08, float("inf"), 0.95, 9, 9))
        '1.12 (1.08 to unbounded)'
    """
    low, high = (_end(end, digits) for end in (found.low, found.high))
    return f"{_end(found.value, digits)} ({low} to {high})"


def relative(found: Estimate, digits: int = 1) -> str:
    """A relative change in percent with its interval."""
    parts = []
    for end in (found.value, found.low, found.high):
        text = f"{100 * end:+.{digits}f}%" if abs(end) < 1e6 else "unbounded"
        parts.append(text.replace("-", MINUS))
    return f"{parts[0]} ({parts[1]} to {parts[2]})"


def _end(value: float, digits: int) -> str:
    return f"{value:.{digits}f}".replace("-", MINUS) if abs(value) < 1e6 else "unbounded"


def _borderline(found: Incentives) -> list[Sentence]:
    verbs = {
        "rises": "rises towards the line",
        "falls": "falls towards the line",
        "rises and falls": "both rises and falls on the way to the line",
        "cannot be told": "cannot be told to rise or to fall towards the line",
    }
    said = []
    for name, curve in found.borderline.items():
        last = curve.at_the_line
        ends = "" if last is None else f"; nearest against farthest {relative(last, 0)}"
        text = f"{name[:1].upper()}{name[1:]} {verbs[curve.shape]}{ends}."
        said.append(Sentence(_tone(curve.shape == "rises", curve.shape == "falls"), text))
    return said


def _tone(worse: bool, better: bool) -> Tone:
    return "worse" if worse else "better" if better else "open"


def _moral(found: Incentives) -> list[Sentence]:
    said = []
    published = " and ".join(f"{value} ({low:.2f} to {high:.2f})" for _, value, low, high in PUBLISHED)
    for name, one in found.moral.items():
        best = one.poisson_held if one.negative_binomial is None else one.negative_binomial
        other = "" if one.negative_binomial is None else f"; Poisson {between(one.poisson_held)}"
        text = (
            f"Per further moral-emotional word a post has {between(best)} times the {name}{other}, its "
            f"length held, within publishers."
        )
        text += f" Published: {published}." if name == "reshares" else ""
        said.append(Sentence(_tone(best.low > 1, best.high < 1), text))
    return said


def _negative(found: Incentives) -> list[Sentence]:
    said = []
    if found.negative is not None:
        one = found.negative
        rising = int((one.segments.low > 0).sum())
        text = (
            f"A further tenth of negative comments goes with {relative(_ratio(one.pooled))} "
            f"{found.negative_of}, over {len(one.publishers)} publishers; for {rising} of "
            "them the shrunk slope is above 0."
        )
        said.append(Sentence("worse" if one.pooled.low > 0 else "open", text))
    if found.headlines is not None:
        tests = found.headlines
        text = (
            f"Within {tests.n_informative:,} randomised headline tests a negative word goes with "
            f"{relative(tests.relative)} click-through."
        )
        said.append(Sentence("worse" if tests.relative.low > 0 else "open", text))
    return said


def _ratio(log: Estimate) -> Estimate:
    made = exponentiated(log)
    return Estimate(
        made.value - 1, made.standard_error, made.low - 1, made.high - 1, made.level, made.n, made.n_clusters
    )


def _lifts(found: Incentives) -> list[Sentence]:
    told = [one for one in found.lifts if one.lift is not None]
    over = [one for one in told if one.direction == "over-represented"]
    if not told:
        return []
    if not over:
        return [Sentence("open", f"None of {len(told)} lifts of reactions on harms is measurably above 1.")]
    first = sorted(over, key=lambda one: -(one.lift.low if one.lift else 0.0))[:MOST_LIFTS]
    listed = "; ".join(
        f"{in_words(one.harm)} where {one.reaction} is high: {between(one.lift)} times"
        for one in first
        if one.lift is not None
    )
    more = f"; {len(over) - len(first)} more" if len(over) > len(first) else ""
    return [Sentence("worse", f"Harm is likelier with a reaction: {listed}{more}.")]


def _angry(found: Incentives) -> list[Sentence]:
    said = []
    if found.group_ratio is not None:
        first, second = found.groups
        text = (
            f"The angry share of reactions on {first} publishers is {between(found.group_ratio)} times that "
            f"on {second} ones in the same months."
        )
        said.append(Sentence("note", text))
    said += [
        Sentence("note", f"Rank correlation of a post's angry share with {one.name}: {between(one.rho)}.")
        for one in found.correlations
    ]
    for received in found.received[1:]:
        text = f"Angry reactions per post from relation {received.relation}: {between(received.per_post, 3)}."
        said.append(Sentence("note", text))
    return said


def _gaming(found: Incentives) -> list[Sentence]:
    if found.gaming is None:
        return []
    tested = ", ".join(f"{n:,} for {kind}" for kind, n in found.gaming.n_tested.items())
    n = len(found.gaming.alarms)
    text = f"{n} gaming alarm{'s' * (n != 1)}; posts tested: {tested}. An alarm is a reason to look."
    return [Sentence("warning" if n else "note", text)]
