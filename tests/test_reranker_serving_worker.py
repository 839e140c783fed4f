"""The scoring worker: shared passes, turns, limits, and what happens when a scorer fails."""

import asyncio
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.classifier import HarmClassifier
from models.scores import Content, HarmScores
from reranker.serving.errors import BusyError, ScorerError
from reranker.serving.service import Service
from reranker.serving.settings import ServeSettings
from reranker.serving.text_queue import LATE_PART, TEXT_COST, TURNS, TextQueue, Ticket
from reranker.serving.worker import FIRST_BUDGET, ScoringWorker
from tests.serving import LABELS, HashScorer, expected
from tests.tiny import random_texts, save_classifier

WAIT_S = 30


def submit(worker: ScoringWorker, *texts: str) -> Ticket:
    return worker.submit([text.encode() for text in texts], Content.of_texts(texts))


def toxicity(row: bytes) -> float:
    return float(np.frombuffer(row, dtype="<f4")[0])


def assert_own(ticket: Ticket, *texts: str) -> None:
    rows = ticket.done.result(WAIT_S)
    assert set(rows) == {text.encode() for text in texts}
    for text in texts:
        assert toxicity(rows[text.encode()]) == expected(text)[0]


def held(scorer: HashScorer, *, max_waiting: int = 1000) -> ScoringWorker:
    """A worker whose scorer stands at its gate with one text."""
    worker = ScoringWorker(scorer, max_waiting=max_waiting)
    submit(worker, "first")
    assert scorer.entered.acquire(timeout=WAIT_S)
    return worker


def test_what_comes_during_a_pass_shares_the_next_one_and_each_gets_its_own_rows() -> None:
    scorer = HashScorer(open_=False)
    worker = held(scorer)
    tickets = [submit(worker, f"a {i}", f"b {i}") for i in range(20)]
    scorer.gate.set()
    for i, ticket in enumerate(tickets):
        assert_own(ticket, f"a {i}", f"b {i}")
    assert [len(call) for call in scorer.calls] == [1, 40]


def test_a_text_that_comes_to_an_idle_worker_is_scored_at_once() -> None:
    worker = ScoringWorker(HashScorer(), max_waiting=10)
    assert_own(submit(worker, "to start the thread"), "to start the thread")
    assert_own(submit(worker))
    waits = []
    for i in range(20):
        began = time.perf_counter()
        submit(worker, f"text {i}").done.result(WAIT_S)
        waits.append(time.perf_counter() - began)
    assert min(waits) < 0.05  # each would be as long, were texts gathered for a while


def test_a_text_that_several_requests_wait_for_is_scored_once() -> None:
    scorer = HashScorer(open_=False)
    worker = held(scorer)
    tickets = [submit(worker, "first", "same", f"own {i}") for i in range(3)]
    scorer.gate.set()
    for i, ticket in enumerate(tickets):
        assert_own(ticket, "first", "same", f"own {i}")
    scored = [text for call in scorer.calls for text in call]
    assert sorted(map(str, scored)) == ["first", "own 0", "own 1", "own 2", "same"]


def test_a_single_comment_waits_for_one_pass_of_a_request_of_ten_thousand_texts() -> None:
    scorer = HashScorer(open_=False)
    worker = held(scorer, max_waiting=20_000)
    large = submit(worker, *(f"text {i}" for i in range(10_000)))
    small = submit(worker, "a comment")
    scorer.gate.set()
    assert_own(small, "a comment")
    assert "a comment" in scorer.calls[1]
    assert sum(len(call) for call in scorer.calls[:2]) < 400
    assert len(large.done.result(WAIT_S)) == 10_000


def test_requests_take_turns_in_a_pass() -> None:
    scorer = HashScorer(open_=False)
    worker = held(scorer, max_waiting=2000)
    names = "abcd"
    tickets = [submit(worker, *(f"{name}{i:03}" for i in range(300))) for name in names]
    scorer.gate.set()
    for ticket in tickets:
        ticket.done.result(WAIT_S)
    parts = [sum(str(text).startswith(name) for text in scorer.calls[1]) for name in names]
    assert len(scorer.calls[1]) == sum(parts) <= FIRST_BUDGET / (TEXT_COST + 4) + 1
    assert max(parts) - min(parts) <= FIRST_BUDGET / TURNS / (TEXT_COST + 4) + 1
    assert min(parts) > 0


def test_a_long_text_has_a_pass_for_itself_and_is_not_put_off_for_ever() -> None:
    scorer = HashScorer(open_=False)
    worker = held(scorer)
    long = "long " * 10_000
    ticket = submit(worker, "before", long)
    others = [submit(worker, f"small {i}") for i in range(5)]
    scorer.gate.set()
    assert_own(ticket, "before", long)
    for i, other in enumerate(others):
        assert_own(other, f"small {i}")
    assert [long] in scorer.calls
    assert scorer.calls.index([long]) <= 2


def test_a_full_queue_refuses_and_says_when_to_come_back_but_an_empty_one_takes_any_request() -> None:
    scorer = HashScorer(open_=False)
    worker = held(scorer, max_waiting=10)
    large = submit(worker, *(f"text {i}" for i in range(500)))
    with pytest.raises(BusyError) as refused:
        submit(worker, "one more")
    assert 1 <= refused.value.retry_after_s <= 30
    known = submit(worker, "text 3")  # is in the queue already
    assert worker.n_waiting == 500
    scorer.gate.set()
    assert_own(known, "text 3")
    assert len(large.done.result(WAIT_S)) == 500
    assert worker.n_waiting == 0
    assert_own(submit(worker, "one more"), "one more")


def test_texts_of_requests_that_gave_up_are_scored_last_and_dropped_for_room() -> None:
    scorer = HashScorer(open_=False)
    worker = held(scorer, max_waiting=300)
    late = submit(worker, *(f"late {i}" for i in range(250)))
    late.late = True
    live = submit(worker, "late 249", *(f"live {i}" for i in range(40)))
    scorer.gate.set()
    assert len(live.done.result(WAIT_S)) == 41
    assert len(late.done.result(WAIT_S)) == 250
    assert set(scorer.calls[1][:41]) == {"late 249", *(f"live {i}" for i in range(40))}

    scorer = HashScorer(open_=False)
    worker = held(scorer, max_waiting=300)
    late = submit(worker, *(f"late {i}" for i in range(250)))
    late.late = True
    live = submit(worker, "late 0", *(f"live {i}" for i in range(200)))
    assert worker.n_waiting == 201
    scorer.gate.set()
    assert len(live.done.result(WAIT_S)) == 201
    with pytest.raises(ScorerError, match="dropped"):
        late.done.result(WAIT_S)
    assert "late 1" not in [text for call in scorer.calls for text in call]


def test_passes_of_late_texts_are_small_and_wait_until_nobody_else_does() -> None:
    queue = TextQueue()
    texts = [f"late {i:03}" for i in range(200)]
    ticket = queue.add([text.encode() for text in texts], Content.of_texts(texts))
    (cost,) = {one.cost for line in queue.take(1) for one in line}
    (live,) = queue.take(20 * cost)
    ticket.late = True
    (late,) = queue.take(20 * cost)
    assert (len(live), len(late)) == (20, 20 // LATE_PART)
    queue.add([b"now"], Content.of_texts(["now"]))
    assert [[one.text for one in line] for line in queue.take(20 * cost)] == [["now"]]


def test_a_text_that_breaks_the_scorer_spoils_no_other_request() -> None:
    def before(texts: list[str | None]) -> None:
        if "poison" in texts:
            raise ZeroDivisionError

    scorer = HashScorer(before, open_=False)
    worker = held(scorer)
    spoiled = submit(worker, "beside it", "poison")
    others = [submit(worker, f"other {i}") for i in range(5)]
    scorer.gate.set()
    with pytest.raises(ScorerError, match="the scorer failed"):
        spoiled.done.result(WAIT_S)
    for i, other in enumerate(others):
        assert_own(other, f"other {i}")
    assert_own(submit(worker, "afterwards"), "afterwards")


def test_scores_that_are_not_those_of_the_texts_count_as_a_failure() -> None:
    def score(content: Content) -> HarmScores:
        labels = LABELS if content.n != 2 else LABELS[:1]
        return HarmScores.unscored(content.n if content.n < 3 else 1, labels, "odd@1")

    worker = ScoringWorker(score, max_waiting=10)
    assert worker.describe().result(WAIT_S).labels == LABELS
    for texts in (("a", "b"), ("a", "b", "c")):
        with pytest.raises(ScorerError):
            submit(worker, *texts).done.result(WAIT_S)
    assert submit(worker, "a").done.result(WAIT_S)


def test_a_scorer_that_ends_its_thread_leaves_nobody_waiting() -> None:
    def before(texts: list[str | None]) -> None:
        if "exit" in texts:
            raise SystemExit

    scorer = HashScorer(before, open_=False)
    worker = held(scorer)
    tickets = [submit(worker, "exit"), submit(worker, "other")]
    scorer.gate.set()
    for ticket in tickets:
        with pytest.raises(ScorerError):
            ticket.done.result(WAIT_S)
    assert_own(submit(worker, "afterwards"), "afterwards")


def test_closing_fails_what_waits_and_refuses_what_comes() -> None:
    scorer = HashScorer(open_=False)
    worker = held(scorer)
    waiting, asked = submit(worker, "waits"), worker.describe()
    worker.close()
    for future in (waiting.done, asked):
        with pytest.raises(ScorerError, match="stopping"):
            future.result(WAIT_S)
    with pytest.raises(ScorerError, match="stopping"):
        submit(worker, "late")
    scorer.gate.set()


def test_an_idle_thread_ends_and_the_next_text_starts_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reranker.serving.worker.IDLE_S", 0.02)
    worker = ScoringWorker(HashScorer(), max_waiting=10)
    for i in range(5):
        assert_own(submit(worker, f"text {i}"), f"text {i}")
        ends = time.monotonic() + WAIT_S
        while any(thread is worker._thread for thread in threading.enumerate()) and time.monotonic() < ends:
            time.sleep(0.01)
        assert worker._thread is None


TEXTS = st.lists(st.sampled_from([f"text {i}" for i in range(12)]), min_size=0, max_size=6)


@settings(max_examples=60)
@given(requests=st.lists(st.tuples(TEXTS, st.integers(0, 3)), min_size=1, max_size=12), data=st.data())
def test_any_interleaving_of_requests_gives_each_its_own_rows(
    requests: list[tuple[list[str], int]], data: st.DataObject
) -> None:
    pauses = data.draw(st.lists(st.sampled_from([0.0, 0.001]), max_size=8))
    broken = data.draw(st.sampled_from([None, "text 0"]))

    def before(texts: list[str | None]) -> None:
        if pauses:
            time.sleep(pauses.pop())
        if broken in texts:
            raise ValueError

    async def one(service: Service, texts: list[str], n_before: int) -> None:
        for _ in range(n_before):
            await asyncio.sleep(0)
        try:
            scores = await service.score(Content.of_texts(texts))
        except ScorerError:
            assert broken is not None
            return
        assert broken not in texts
        wanted = np.array([expected(text) for text in texts], dtype=np.float32).reshape(-1, len(LABELS))
        np.testing.assert_array_equal(scores.probability, wanted)

    async def run() -> None:
        service = Service(ServeSettings(cache_rows=5), HashScorer(before))
        async with asyncio.TaskGroup() as group:
            for texts, n_before in requests:
                group.create_task(one(service, texts, n_before))
        await service.close()

    asyncio.run(run())


def test_a_real_classifier_behind_the_worker_gives_what_it_gives_alone(tmp_path: Path) -> None:
    words = ("vote", "lie", "idiot", "fact", "angry")
    classifier = HarmClassifier.load(save_classifier(tmp_path / "tiny", words, LABELS), "cpu")
    texts: list[str | None] = [*random_texts(words, 60), None, "", "vote \ud800 lie", "idiot\x00fact"]
    content = Content(texts, ["en"] * len(texts), [None] * len(texts))

    async def run() -> list[HarmScores]:
        service = Service(ServeSettings(), classifier)
        parts = [content.take(range(i, len(texts), 4)) for i in range(4)]
        found = await asyncio.gather(*(service.score(part) for part in parts))
        await service.close()
        return found

    readable = [text if text is None else text.replace("\ud800", "\ufffd") for text in texts]
    alone = classifier(Content(readable, content.language, content.urls))
    for i, scores in enumerate(asyncio.run(run())):
        rows = range(i, len(texts), 4)
        assert scores.model == alone.model
        np.testing.assert_allclose(scores.probability, alone.probability[rows], atol=1e-5)
        np.testing.assert_allclose(scores.confidence, alone.confidence[rows], atol=1e-5)
