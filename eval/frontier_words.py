"""What a frontier says, in sentences that follow from its figures."""

from eval.frontier import Figure, Frontier, Point
from eval.frontier_measures import HARM
from eval.words import MINUS, Sentence, in_words, percent

LEVEL = (
    "Level L0: what other policies would have put before the same people, from what those posts had "
    "gathered. What people, publishers and later feeds would then do is not in the data and is not claimed."
)


def finding(found: Frontier) -> str:
    """The result in one sentence.

    It is told from users who did not choose the policy; the estimate on those who did is beside it.
    """
    point, activity = found.recommended, found.measures.activity
    assert point.held_out is not None
    harm, act = point.held_out[HARM], point.held_out[activity]
    confirmed = "confirmed" if found.confirmed else "NOT CONFIRMED"
    return (
        f"Of {n_tried(found)} policies, the one with least harm within {_limits(found)} changes exposure "
        f"to harm by {shown(harm)} and {in_words(activity)} by {shown(act)} "
        f"among {found.n_users[1]:,} {found.cluster} who did not choose it: {confirmed} (chosen at "
        f"{percent(point.train[HARM].value)} and {percent(point.train[activity].value)} on the other "
        f"{found.n_users[0]:,})."
    )


def sentences(found: Frontier) -> tuple[Sentence, ...]:
    """What was found, the winner's curse, the simpler policy, and what to read with care."""
    said = [Sentence("better" if found.confirmed else "worse", finding(found))]
    said += [Sentence("worse", f"Not confirmed: {failure}.") for failure in found.failures]
    said += [Sentence("worse", one) for one in _risen(found)]
    said += [Sentence("warning", one) for one in _none_left(found)]
    said.append(Sentence("note", _curse(found)))
    said.append(Sentence("note", _simpler(found)))
    if found.own_ruler:
        said.append(
            Sentence(
                "warning",
                f"What demotes also measured {', '.join(map(in_words, found.own_ruler))}: a policy that "
                "avoids what it sees looks better than it is. Choose by labels of people (--truth) or by "
                "another classifier.",
            )
        )
    if found.measures.left_out:
        left = ", ".join(map(in_words, found.measures.left_out))
        said.append(Sentence("warning", f"Not in the index of harm, as no candidate has any: {left}."))
    if found.space.left_out:
        said.append(
            Sentence("note", f"Not searched, as this feed cannot feel it: {', '.join(found.space.left_out)}.")
        )
    said.append(Sentence("note", LEVEL))
    return tuple(said)


def n_tried(found: Frontier) -> int:
    """Policies measured, the base and the simplified ones among them."""
    return len(found.points)


def _limits(found: Frontier) -> str:
    return ", ".join(f"{limit.name} {MINUS}{100 * limit.margin:g}%" for limit in found.limits)


def _curse(found: Frontier) -> str:
    shrunk = [point.shrinkage(HARM) for point in found.front]
    mean = 100 * sum(shrunk) / len(shrunk)
    own = 100 * found.recommended.shrinkage(HARM)
    return (
        "Winner's curse: policies are chosen where they look best, so that they look better there than they "
        f"are. On the users who did not choose, the change of harm is {_signed(mean)} points from what was "
        f"promised on average over the {len(shrunk)} points of the front, and {_signed(own)} points for the "
        "recommended one; above 0 is less reduction than promised."
    )


def _risen(found: Frontier) -> list[str]:
    """Harms that rise while the index of all falls."""
    figures = found.recommended.held_out
    assert figures is not None
    return [
        f"Exposure to {in_words(name)} rises by {shown(figures[name])} although the index falls: weigh "
        f"it more (--harm {name}=WEIGHT), or search for it alone."
        for name in found.measures.harm
        if figures[name].low > 0
    ]


def _none_left(found: Frontier) -> list[str]:
    """Harms that the recommended policy never shows, so that their intervals have no width."""
    figures = found.recommended.held_out
    assert figures is not None
    gone = [in_words(name) for name in found.measures.harm if figures[name].high <= -1]
    if not gone:
        return []
    return [
        f"The {found.n_users[1]:,} {found.cluster} held out are shown none of it: {', '.join(gone)}. "
        f"Resampling them cannot tell how rare it then is, so {MINUS}100% is no promise for others."
    ]


def _simpler(found: Frontier) -> str:
    point = found.simpler
    if point.number == found.recommended.number:
        return "No policy with fewer settings of its own is within one standard error."
    assert point.held_out is not None
    n, of = len(point.values), len(found.recommended.values)
    what = "the base unchanged" if not n else f"{n} settings of its own instead of {of}"
    return (
        f"A simpler policy within one standard error: {what} "
        f"(policy {point.number}: harm {percent(point.held_out[HARM].value)}, "
        f"{in_words(found.measures.activity)} {percent(point.held_out[found.measures.activity].value)} on "
        "the users who did not choose it)."
    )


def shown(figure: Figure | None) -> str:
    """A change with its interval.

    Example:
        >>> shown(Figure(0.1, 0.05, 0.2, 0.05))
        '+10.0% (+5.0% to +20.0%)'
    """
    return "" if figure is None else f"{percent(figure.value)} ({_ends(figure)})"


def front_rows(found: Frontier) -> list[tuple[str, str, str, str]]:
    """Per point of the front its name, harm where it was chosen and where not, and activity where not."""
    rows = []
    for point in found.front:
        assert point.held_out is not None
        held_out = (point.held_out[name] for name in (HARM, found.measures.activity))
        harm, activity = map(shown, held_out)
        rows.append((name_of(point, found), shown(point.train[HARM]), harm, activity))
    return rows


def name_of(point: Point, found: Frontier) -> str:
    """What a point is called in tables and pictures."""
    names = {found.simpler.number: f"simpler ({point.number})", found.base_point.number: found.base.name}
    names[found.recommended.number] = "recommended"
    return names.get(point.number, f"policy {point.number}")


def _ends(figure: Figure) -> str:
    return f"{percent(figure.low)} to {percent(figure.high)}"


def _signed(value: float) -> str:
    return f"{value:+.1f}".replace("-", MINUS)
