"""`TextQueue`: the texts that requests wait for, and whose turn it is. One thread at a time may use it.

Requests take turns in every pass, so that a large one holds up no small one. Texts of requests that gave up
come after all others, and go first when room is needed.
"""

from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

from models.scores import Content
from reranker.serving.errors import ScorerError

TEXT_COST = 40  # characters that a text costs beside its own
TURNS = 8  # of which a full pass has room
LATE_PART = 4  # a pass of late texts is that much smaller: who comes meanwhile waits less


def _started() -> Future[dict[bytes, bytes]]:
    future: Future[dict[bytes, bytes]] = Future()
    future.set_running_or_notify_cancel()  # who waits for it may not cancel it
    return future


@dataclass(eq=False)
class Ticket:
    """What one request waits for: `done` gets the rows of scores by key when the last of them is there.

    `rows` has those that are there already. `late` says that the request waits no longer.
    """

    n_missing: int
    done: Future[dict[bytes, bytes]] = field(default_factory=_started)
    rows: dict[bytes, bytes] = field(default_factory=dict)
    late: bool = False

    @property
    def is_live(self) -> bool:
        """Somebody waits for it, and may still get it."""
        return not (self.late or self.done.done())

    def give(self, key: bytes, row: bytes) -> None:
        """One of the rows."""
        self.rows[key] = row
        self.n_missing -= 1
        if self.n_missing == 0 and not self.done.done():
            self.done.set_result(self.rows)

    def fail(self, why: str) -> None:
        """That they will not all come."""
        if not self.done.done():
            self.done.set_exception(ScorerError(why))


@dataclass(eq=False)
class Text:
    """One post to score, and who waits for it."""

    key: bytes
    text: str | None
    language: str | None
    urls: Sequence[str] | None
    tickets: list[Ticket]
    taken: bool = False

    @property
    def cost(self) -> int:
        """Of its scoring, in characters."""
        return TEXT_COST + len(self.text or "")


@dataclass(eq=False)
class _Line:
    """The texts of one request that no pass has taken."""

    ticket: Ticket
    texts: deque[Text]


class TextQueue:
    """What waits to be scored, or is being scored, each text once."""

    def __init__(self) -> None:
        self._known: dict[bytes, Text] = {}
        self._lines: deque[_Line] = deque()
        self._late: deque[_Line] = deque()
        self._n_taken = 0

    def __bool__(self) -> bool:
        return bool(self._lines or self._late)

    @property
    def n_waiting(self) -> int:
        """Texts that no pass has taken."""
        return max(0, len(self._known) - self._n_taken)

    def n_new(self, keys: Sequence[bytes]) -> int:
        """How many of these are not in the queue."""
        return sum(key not in self._known for key in keys)

    def add(self, keys: Sequence[bytes], content: Content) -> Ticket:
        """A ticket for the scores of these posts, each key once."""
        ticket = Ticket(len(keys))
        line = _Line(ticket, deque())
        posts = zip(keys, content.text, content.language, content.urls, strict=True)
        for key, text, language, urls in posts:
            one = self._known.get(key)
            if one is None:
                one = self._known[key] = Text(key, text, language, urls, [])
            one.tickets.append(ticket)
            if not one.taken:
                line.texts.append(one)  # also where it stands in another line: the first turn counts
        if line.texts:
            self._lines.append(line)
        if not keys:
            ticket.done.set_result({})
        return ticket

    def take(self, budget: int) -> list[list[Text]]:
        """Texts that cost about the budget, those of a line together: turn by turn.

        Late ones are taken only where nobody waits, and fewer of them.
        """
        self._set_apart()
        taken: dict[int, list[Text]] = {}
        room = budget
        for queue in (self._lines, self._late):
            if queue is self._late:
                room = 0 if taken else budget // LATE_PART
            while queue and room > 0:
                line = queue.popleft()
                turn = max(1, budget // TURNS)
                while line.texts and min(turn, room) > 0:
                    text = line.texts[0]
                    if not text.taken:
                        if taken and text.cost > room:  # a long one has the next pass for itself
                            queue.appendleft(line)
                            return list(taken.values())
                        text.taken = True
                        taken.setdefault(id(line), []).append(text)
                        self._n_taken += 1
                        turn -= text.cost
                        room -= text.cost
                    line.texts.popleft()
                if line.texts:
                    queue.append(line)
        return list(taken.values())

    def give(self, texts: Sequence[Text], rows: Sequence[bytes]) -> None:
        """Hands rows to all who wait for these texts."""
        for text, row in zip(texts, rows, strict=True):
            self._leave(text)
            for ticket in text.tickets:
                ticket.give(text.key, row)

    def fail(self, texts: Sequence[Text], why: str) -> None:
        """Tells all who wait for these texts that they will not get them."""
        for text in texts:
            self._leave(text)
            for ticket in text.tickets:
                ticket.fail(why)

    def fail_all(self, why: str) -> None:
        """Empties the queue."""
        self.fail(list(self._known.values()), why)
        self._lines.clear()
        self._late.clear()

    def make_room(self) -> None:
        """Forgets the texts of requests that gave up."""
        self._set_apart()
        self._forget(self._late)
        self._late.clear()

    def _leave(self, text: Text) -> None:
        if self._known.pop(text.key, None) is not None and text.taken:
            self._n_taken -= 1

    def _set_apart(self) -> None:
        """Lines of requests that gave up leave the queue; those of failed ones are forgotten."""
        still: deque[_Line] = deque()
        failed: deque[_Line] = deque()
        for line in self._lines:
            if line.ticket.is_live:
                still.append(line)
            else:
                (failed if line.ticket.done.done() else self._late).append(line)
        self._lines = still
        self._forget(failed)

    def _forget(self, lines: deque[_Line]) -> None:
        """Texts that nobody waits for; one that somebody does is in that request's line too."""
        for line in lines:
            for text in line.texts:
                if not (text.taken or any(ticket.is_live for ticket in text.tickets)):
                    self._leave(text)
            line.ticket.fail("dropped")
