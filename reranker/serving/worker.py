"""`ScoringWorker`: one thread that scores the texts of all requests together.

A text waits for nothing but the pass that is running: what comes meanwhile makes up the next pass, which is
cut to about `PASS_S`. The thread ends when there is nothing to do and comes back with the next text.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future

from models.cache import packed
from models.scores import Content, HarmScores, Scorer
from reranker.serving.errors import BusyError, ScorerError
from reranker.serving.text_queue import Text, TextQueue, Ticket

logger = logging.getLogger(__name__)

PASS_S = 0.15
FIRST_BUDGET = 8_192  # characters of a pass, until its speed is known
BUDGETS = (2_048, 4_194_304)
IDLE_S = 30.0
LONGEST_RETRY_S = 30
FAILED = "the scorer failed"


class ScoringWorker:
    """A thread, its queue, and what is known of its speed."""

    def __init__(
        self, scorer: Scorer, *, max_waiting: int, on_pass: Callable[[int, float], None] | None = None
    ) -> None:
        """Starts nothing yet.

        Args:
            scorer: called by one thread at a time.
            max_waiting: texts in the queue beyond which requests are refused.
            on_pass: gets, in that thread, the number of texts of a pass and the seconds that it took.
        """
        self._scorer = scorer
        self._max_waiting = max_waiting
        self._on_pass = on_pass
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closed = False
        self._nothing: Future[HarmScores] | None = None
        self.failing = False  # the last pass scored some texts not
        self._queue = TextQueue()
        self._began: float | None = None
        self._budget = FIRST_BUDGET
        self._texts_per_s = 100.0

    @property
    def n_waiting(self) -> int:
        """Texts in the queue that no pass has taken."""
        with self._changed:
            return self._queue.n_waiting

    @property
    def running_s(self) -> float:
        """How long the pass that is running has taken so far; 0 where none is."""
        began = self._began
        return 0.0 if began is None else time.monotonic() - began

    @property
    def described(self) -> HarmScores | None:
        """What `describe` brought, where it did."""
        asked = self._nothing
        if asked is None or not asked.done() or asked.exception() is not None:
            return None
        return asked.result()

    def describe(self) -> Future[HarmScores]:
        """The scores of no post, which tell the scorer's labels and name; asked for until it answers.

        Raises:
            ScorerError: the worker is closed.
        """
        with self._changed:
            asked = self._nothing
            if asked is None or (asked.done() and asked.exception() is not None):
                self._wake()
                asked = self._nothing = Future()
                asked.set_running_or_notify_cancel()
            return asked

    def submit(self, keys: Sequence[bytes], content: Content) -> Ticket:
        """A ticket for the scores of some posts; those that another request waits for are not scored twice.

        Args:
            keys: one for each post, each once.
            content: the posts.

        Raises:
            BusyError: the queue is full. Where it is empty, any number of posts is taken.
            ScorerError: the worker is closed.
        """
        with self._changed:
            n_new = self._queue.n_new(keys)
            if self._is_full(n_new):
                self._queue.make_room()
            if self._is_full(n_new):
                seconds = 1 + int(self._queue.n_waiting / self._texts_per_s)
                raise BusyError(retry_after_s=min(LONGEST_RETRY_S, seconds))
            self._wake()
            return self._queue.add(keys, content)

    def open(self) -> None:
        """Takes texts again after `close`."""
        with self._changed:
            self._closed = False

    def close(self) -> None:
        """Ends the thread after its pass, and fails what still waits."""
        with self._changed:
            self._closed = True
            self._fail_all("stopping")
            self._changed.notify_all()

    def _is_full(self, n_new: int) -> bool:
        waiting = self._queue.n_waiting
        return waiting > 0 and n_new > 0 and waiting + n_new > self._max_waiting

    def _wake(self) -> None:
        if self._closed:
            raise ScorerError("stopping")
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="scoring", daemon=True)
            self._thread.start()
        self._changed.notify_all()

    def _fail_all(self, why: str) -> None:
        self._queue.fail_all(why)
        if self._nothing is not None and not self._nothing.done():
            self._nothing.set_exception(ScorerError(why))

    def _run(self) -> None:
        works = True
        while works:
            try:
                works = self._turn()
            except BaseException as error:  # such as SystemExit from a scorer: nobody may be left waiting
                logger.error("the scorer failed", exc_info=error)
                with self._changed:
                    self._began = None
                    self._fail_all(FAILED)

    def _turn(self) -> bool:
        """One pass; False where there was nothing to do for a while."""
        with self._changed:
            if not self._has_work():
                self._changed.wait(IDLE_S)
            if not self._has_work():
                self._thread = None  # at once: who comes next starts another
                return False
            asked = self._nothing
            lines = self._queue.take(self._budget) if asked is None or asked.done() else []
            self._began = time.monotonic()
        if lines:
            self._pass(lines)
        elif asked is not None and not asked.done():
            self._describe(asked)
        self._began = None
        return True

    def _has_work(self) -> bool:
        asked = self._nothing is not None and not self._nothing.done()
        return not self._closed and (asked or bool(self._queue))

    def _pass(self, lines: list[list[Text]]) -> None:
        """Scores texts together or, where that fails, each request's alone, so that one spoils no other."""
        began = time.monotonic()
        works = self._score([text for line in lines for text in line], last=len(lines) == 1)
        if not works and len(lines) > 1:
            works = sum(self._score(line, last=True) for line in lines) == len(lines)
        self.failing = not works
        took = max(time.monotonic() - began, 1e-4)
        n, cost = sum(map(len, lines)), sum(text.cost for line in lines for text in line)
        with self._changed:
            self._texts_per_s += 0.2 * (n / took - self._texts_per_s)
            if took > PASS_S or cost >= self._budget // 2:  # a small pass tells nothing of a large one
                wanted = self._budget * min(max(PASS_S / took, 0.5), 2.0)
                self._budget = int(min(max(wanted, BUDGETS[0]), BUDGETS[1]))
        if self._on_pass is not None:
            self._on_pass(n, took)

    def _score(self, texts: list[Text], *, last: bool) -> bool:
        """Whether the texts were scored; where this was the last try, those who wait are told that not."""
        content = Content(
            text=[one.text for one in texts],
            language=[one.language for one in texts],
            urls=[one.urls for one in texts],
        )
        try:
            scores = self._scorer(content)
            self._check(scores, len(texts))
            rows = packed(scores)
        except Exception as error:  # whatever a model raises, the policy's failure rule decides
            if last:
                logger.error("the scorer failed on %d texts", len(texts), exc_info=error)
                with self._changed:
                    self._queue.fail(texts, FAILED)
            return False
        with self._changed:
            self._queue.give(texts, rows)
        return True

    def _check(self, scores: HarmScores, n: int) -> None:
        if scores.n != n:
            raise ValueError(f"scorer: expected scores of {n} posts, got {scores.n}")
        if self.described is not None and scores.labels != self.described.labels:
            raise ValueError("scorer: expected the labels that it has for no post, got others")

    def _describe(self, asked: Future[HarmScores]) -> None:
        try:
            found = self._scorer(Content.of_texts([]))
        except Exception as error:  # as above
            logger.error("the scorer failed before it read a text", exc_info=error)
            with self._changed:
                if not asked.done():
                    asked.set_exception(ScorerError(FAILED))
            return
        with self._changed:
            if not asked.done():
                asked.set_result(found)
