"""The playground as people meet it: in a real browser, with mouse or keyboard alone, narrow and wide."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import uvicorn

from models.scores import Scorer
from reranker.presets import load_policy
from reranker.serving import playground, playground_feeds
from reranker.serving.app import create_app
from reranker.serving.settings import ServeSettings
from tests.playground import score_words, write_feed

CHROMIUM = Path("/usr/bin/chromium")
if not CHROMIUM.exists():
    pytest.skip(f"no browser: {CHROMIUM} is not installed", allow_module_level=True)
sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
axe = pytest.importorskip(
    "axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed"
)

from playwright.sync_api import Browser, Locator, Page  # noqa: E402 - after the checks that it is there

ARGUMENTS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
)
MINUS, NONE = "\N{MINUS SIGN}", "\N{EN DASH}"
Open = Callable[..., Page]


@contextmanager
def serving(scorer: Scorer | None = score_words, settings: ServeSettings | None = None) -> Iterator[str]:
    """The address of a server of its own thread, on a port that the system chose."""
    app = create_app(settings or ServeSettings(), scorer)
    server = uvicorn.Server(
        uvicorn.Config(app, port=0, log_level="critical", ws="none", timeout_graceful_shutdown=1)
    )
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        thread.join(0.02)
        assert thread.is_alive(), "the server did not start"
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/"
    server.should_exit = True
    thread.join(10)


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(playground_feeds, "SAMPLE_SIZE", {"n_users": 12, "n_posts": 200, "n_requests": 15})
        with serving() as found:
            yield found


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_api.sync_playwright() as play:
        one = play.chromium.launch(executable_path=str(CHROMIUM), args=ARGUMENTS.split())
        yield one
        one.close()


@pytest.fixture
def visit(browser: Browser, address: str) -> Iterator[Open]:
    """Opens the page; when the test is over, nothing may have gone wrong in it or left for another host."""
    pages: list[Page] = []
    wrong: list[str] = []

    def opened(width: int = 1600, *, at: str = "", expected: tuple[int, ...] = (), **options: str) -> Page:
        context = browser.new_context(viewport={"width": width, "height": 1000}, **options)  # type: ignore[arg-type]
        page = context.new_page()
        host = urlsplit(at or address).netloc

        def request(url: str) -> None:
            if urlsplit(url).scheme not in ("data", "blob") and urlsplit(url).netloc != host:
                wrong.append(f"a request to {url}")

        def told(kind: str, text: str) -> None:
            if kind in ("error", "warning") and not any(f"status of {status}" in text for status in expected):
                wrong.append(f"{kind}: {text}")

        page.on("request", lambda sent: request(sent.url))
        page.on("console", lambda message: told(message.type, message.text))
        page.on("pageerror", lambda error: wrong.append(f"error: {error}"))
        page.set_default_timeout(45_000)
        page.goto(at or address)
        pages.append(page)
        return page

    yield opened
    for page in pages:
        page.context.close()
    assert wrong == []


def settled(page: Page) -> Page:
    """The page when posts are shown and no answer is awaited."""
    page.locator(".post >> visible=true").first.wait_for()
    page.wait_for_function("() => !document.body.classList.contains('busy')")
    return page


def order(page: Page, side: str = "treatment") -> list[str]:
    found: list[str] = page.locator(f"#list-{side} .post").evaluate_all(
        "all => all.map(one => one.dataset.post)"
    )
    return found


def press(page: Page, key: str, times: int) -> None:
    for _ in range(times):
        page.keyboard.press(key)


def changed_from(page: Page, before: str) -> None:
    page.wait_for_function("before => document.querySelector('#digest').textContent !== before", arg=before)


def load(page: Page, path: Path) -> Page:
    """The page with a file of one's own, whose first author is `a0`."""
    page.locator("#load").set_input_files(path)
    page.locator("#source-name", has_text=path.name).wait_for()
    page.locator('.post[data-post="p0"] >> visible=true').first.wait_for()
    return settled(page)


def test_a_slider_reorders_the_posts_and_changes_the_figures(visit: Open) -> None:
    page = settled(visit())
    before, original, digest = order(page), order(page, "original"), page.locator("#digest").inner_text()
    figures = page.locator("#figures").inner_text()
    page.locator("#slider-demotion-toxicity-line").focus()
    page.locator("#slider-weights-angry").focus()
    press(page, "End", 1)
    page.locator("#slider-weights-significant_comment").focus()
    press(page, "Home", 1)
    changed_from(page, digest)
    page.wait_for_function("before => document.querySelector('#figures').innerText !== before", arg=figures)
    settled(page)
    assert order(page) != before
    assert sorted(order(page)) == sorted(before)
    assert order(page, "original") == original
    assert page.locator("#changes").inner_text() == "2 changes to the preset"
    ranks = page.locator("#list-treatment .rank").all_inner_texts()
    assert ranks == [str(i + 1) for i in range(len(before))]
    moves = page.locator("#list-treatment .move .visually-hidden").all_text_contents()
    expected = [original.index(post) - place for place, post in enumerate(order(page))]
    assert moves == [f"up {n}" if n > 0 else f"down {-n}" if n < 0 else "unchanged" for n in expected]
    page.locator("#reset").click()
    page.wait_for_function("before => document.querySelector('#digest').textContent === before", arg=digest)
    assert order(settled(page)) == before


@pytest.mark.parametrize("motion", ["no-preference", "reduce"])
def test_posts_travel_unless_the_person_wants_less_motion(visit: Open, motion: str) -> None:
    page = settled(visit(reduced_motion=motion))
    page.evaluate(
        "() => { window.travels = 0; const animate = Element.prototype.animate;"
        " Element.prototype.animate = function (...all) {"
        " window.travels += 1; return animate.apply(this, all); }; }"
    )
    digest = page.locator("#digest").inner_text()
    page.select_option("#pick-treatment", "fb-2018-h1")
    changed_from(page, digest)
    settled(page)
    assert (page.evaluate("() => window.travels") > 0) == (motion == "no-preference")


def test_the_same_preset_on_both_sides_moves_nothing(visit: Open) -> None:
    page = settled(visit())
    digest = page.locator("#digest").inner_text()
    page.select_option("#pick-treatment", "fb-2018-h1")
    changed_from(page, digest)
    settled(page)
    assert order(page) == order(page, "original")
    assert set(page.locator("#figures .change strong").all_inner_texts()) <= {"same", NONE}


def test_a_click_on_a_post_explains_it_on_both_sides(visit: Open) -> None:
    page = settled(visit())
    post = page.locator("#list-treatment .post").nth(2)
    post.click()  # anywhere on the card
    dialog = page.locator("dialog[open]")
    dialog.locator(".why-side").nth(1).wait_for()
    assert post.get_attribute("data-post") in dialog.locator("h2").inner_text()
    assert (
        dialog.locator(".why-side.treatment .sentence")
        .first.inner_text()
        .startswith("The post is number 3 of")
    )
    shown = dialog.locator(".why-side.original .terms")
    amounts = [
        float(text.replace(MINUS, "-").replace(",", ""))
        for text in shown.locator("tr td:last-child").all_inner_texts()
    ]
    assert sum(amounts[:-1]) == pytest.approx(amounts[-1], abs=1 + 0.001 * abs(amounts[-1]))
    page.keyboard.press("Escape")
    dialog.wait_for(state="hidden")
    assert page.evaluate("() => document.activeElement.className") == "why-button"


def test_a_file_of_ones_own_is_shown_as_text_with_what_is_not_scored_said(
    visit: Open, tmp_path: Path
) -> None:
    page = load(settled(visit()), write_feed(tmp_path / "mine.jsonl"))
    assert sorted(order(page)) == ["p0", "p1", "p2", "p3", "p4"]
    page.locator("#source-size", has_text="3 feeds, 15 posts").wait_for()
    assert page.locator("#request option").count() == 3
    markup = page.locator('#list-original .post[data-post="p4"]')
    assert markup.locator(".text").inner_text() == "<img src=x onerror=alert(1)>"
    assert markup.locator("img").count() == 0
    silent = page.locator('#list-treatment .post[data-post="p3"]')
    assert silent.locator(".harm .value").all_inner_texts() == ["not scored"] * 4
    assert silent.locator(".fill >> visible=true").count() == 0
    page.locator("#back-to-sample").click()
    page.locator("#source-name", has_text="Synthetic sample").wait_for()
    assert len(order(settled(page))) > 20


def test_a_text_that_is_scored_as_graphic_shows_on_demand_only(visit: Open, tmp_path: Path) -> None:
    page = load(settled(visit()), write_feed(tmp_path / "mine.jsonl"))
    assert page.get_by_text("Blood on the road.").count() == 0
    page.locator('#list-treatment .post[data-post="p1"]').get_by_role("button", name="Show text").click()
    assert page.get_by_text("Blood on the road.").count() == 2
    assert page.locator("dialog[open]").count() == 0


def test_a_file_that_is_no_feed_gets_its_message_and_leaves_the_page_as_it_was(
    visit: Open, tmp_path: Path
) -> None:
    page = settled(visit(expected=(422,)))
    before = order(page)
    path = tmp_path / "bad.csv"
    path.write_text("request_id,post_id,likes\nr,p,3\n")
    page.locator("#load").set_input_files(path)
    message = page.locator("#message:visible")
    message.wait_for()
    assert message.inner_text().startswith('bad.csv: unknown column "likes"; did you mean')
    assert order(page) == before
    message.get_by_role("button", name="Dismiss").click()
    assert page.locator("#message").is_hidden()


def test_the_export_is_the_policy_on_the_page(visit: Open, tmp_path: Path) -> None:
    page = settled(visit())
    digest = page.locator("#digest").inner_text()
    page.locator("#slider-demotion-toxicity-start").focus()
    press(page, "ArrowLeft", 3)
    page.locator("#demote-threat").uncheck()
    page.select_option("#add-demotion", "moral_outrage")
    page.wait_for_function(
        "() => document.querySelector('#changes').textContent === '3 changes to the preset'"
    )
    changed_from(page, digest)
    settled(page)
    with page.expect_download() as download:
        page.locator("#export").click()
    assert download.value.suggested_filename == "harm-aware-changed.toml"
    path = tmp_path / "mine.toml"
    download.value.save_as(path)
    policy = load_policy(str(path))
    assert policy.digest.startswith(page.locator("#digest").inner_text())
    assert policy.demotion["toxicity"].start == pytest.approx(0.12)
    assert "threat" not in policy.demotion
    assert policy.demotion["moral_outrage"].line == 0.5


def focused(page: Page, wanted: str, most: int = 80, key: str = "Tab") -> Locator:
    """What the keyboard reaches, its focus to be seen."""
    for _ in range(most):
        page.keyboard.press(key)
        if page.evaluate("wanted => document.activeElement.matches(wanted)", wanted):
            found = page.locator(":focus")
            style = found.evaluate("one => getComputedStyle(one.closest('label.button') ?? one).outlineStyle")
            assert style != "none", f"{wanted}: the focus is not to be seen"
            return found
    raise AssertionError(f"the keyboard does not reach {wanted}")


def test_everything_can_be_done_with_the_keyboard_alone(visit: Open) -> None:
    page = settled(visit())
    page.keyboard.press("Tab")
    assert page.locator(":focus").inner_text() == "Skip to the feeds"
    for wanted in ("#load", "#export", "#pick-original", "#pick-treatment", "#pick-overlay"):
        focused(page, wanted)
    digest = page.locator("#digest").inner_text()
    focused(page, "#slider-weights-angry")
    press(page, "ArrowRight", 20)
    changed_from(page, digest)
    assert page.locator("#slider-weights-angry").get_attribute("aria-valuetext") == "2"
    focused(page, "#reset", key="Shift+Tab").press("Enter")
    page.wait_for_function("before => document.querySelector('#digest').textContent === before", arg=digest)
    focused(page, "#demote-toxicity").press("Space")
    assert page.evaluate("() => document.activeElement.id") == "demote-toxicity"
    focused(page, "#more summary").press("Enter")
    assert page.locator("#figures-more tr").count() > 3
    focused(page, "#sweep-metric")
    focused(page, "#next").press("Enter")
    settled(page)
    button = focused(page, "#list-original .why-button")
    post = button.evaluate("one => one.closest('.post').dataset.post")
    button.press("Enter")
    page.locator("dialog[open] .why-side").first.wait_for()
    assert page.evaluate("() => document.querySelector('dialog').contains(document.activeElement)")
    page.keyboard.press("Escape")
    assert page.evaluate("() => document.activeElement.closest('.post').dataset.post") == post


def test_a_post_that_moves_keeps_the_focus(visit: Open) -> None:
    page = settled(visit())
    digest, before = page.locator("#digest").inner_text(), order(page)
    button = page.locator("#list-treatment .why-button").last
    post = button.evaluate("one => one.closest('.post').dataset.post")
    button.focus()
    page.evaluate(
        "() => { for (const one of document.querySelectorAll('[data-key*=comment], [data-key$=love]')) {"
        " one.value = 30; one.dispatchEvent(new Event('input')); } }"
    )
    changed_from(page, digest)
    assert order(settled(page)) != before
    assert page.evaluate("() => document.activeElement.closest('.post').dataset.post") == post


def test_the_sweep_has_a_line_for_each_side_and_says_it_in_words(visit: Open) -> None:
    page = settled(visit())
    page.locator("#sweep .line.treatment").first.wait_for(state="attached")  # a flat line has no height
    assert page.locator("#sweep .line").count() == 4
    assert page.locator("#sweep .here").count() == 4
    said = page.locator("#sweep svg").get_attribute("aria-label")
    assert said is not None
    assert "exposure to angry reactions" in said
    assert "Weight of one angry reaction, in likes" in page.locator("#sweep svg").text_content()  # type: ignore[operator]
    page.select_option("#sweep-metric", "is_toxic")
    assert "toxic" in page.locator("#sweep svg").get_attribute("aria-label")  # type: ignore[operator]


def test_the_angry_slider_moves_the_mark_on_the_sweep(visit: Open) -> None:
    page = settled(visit())
    mark = page.locator("#sweep .here.treatment").first
    mark.wait_for()
    before, digest = float(mark.get_attribute("cx") or "nan"), page.locator("#digest").inner_text()
    page.locator("#slider-weights-angry").focus()
    press(page, "End", 1)
    changed_from(page, digest)
    settled(page)
    assert float(page.locator("#sweep .here.treatment").first.get_attribute("cx") or "nan") > before + 50


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [400, 1600])
def test_axe_finds_nothing_to_complain_of(visit: Open, width: int, scheme: str, tmp_path: Path) -> None:
    page = settled(visit(width, color_scheme=scheme, reduced_motion="reduce"))
    assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth")
    load(page, write_feed(tmp_path / "mine.jsonl"))  # it has a post of each kind
    page.locator("#sweep .line.treatment").first.wait_for(state="attached")  # a flat line has no height
    if width == 400:
        page.locator("#sheet").click()
    page.locator("#more").evaluate("one => { one.open = true; }")
    assert page.locator(".post.demoted .move.down").count() > 0
    found = axe.Axe().run(page)
    assert found.violations_count == 0, found.generate_report()
    if width == 400:
        page.locator("#sheet").click()
    page.locator(".why-button >> visible=true").nth(1).click()
    page.locator("dialog[open] .terms").first.wait_for()
    found = axe.Axe().run(page)
    assert found.violations_count == 0, found.generate_report()


def test_on_a_telephone_one_ranking_is_shown_at_a_time(visit: Open) -> None:
    page = settled(visit(400))
    assert (page.locator("#list-original").is_visible(), page.locator("#list-treatment").is_visible()) == (
        False,
        True,
    )
    page.locator("#show-original").click()
    assert (page.locator("#list-original").is_visible(), page.locator("#list-treatment").is_visible()) == (
        True,
        False,
    )
    assert page.locator("#sliders").is_hidden()
    page.locator("#sheet").click()
    assert page.locator("#sliders").is_visible()


def test_while_texts_are_read_the_page_says_how_far_it_is(
    visit: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(playground, "READ_S", 0.01)  # a few texts per question of the page
    monkeypatch.setattr(playground_feeds, "SAMPLE_SIZE", {"n_users": 30, "n_posts": 500, "n_requests": 40})
    with serving() as at:
        page = visit(at=at)
        page.locator("#loading-text", has_text="texts of").wait_for()
        assert 0 < page.locator("#loading-bar").evaluate("one => one.value / one.max") < 1
        assert page.locator("#feeds").is_hidden()
        settled(page)
        assert page.locator("#loading").is_hidden()
        page.context.close()  # before the server, which the page may still ask


def test_without_a_classifier_the_page_says_that_nothing_is_scored(visit: Open, tmp_path: Path) -> None:
    with serving(None) as at:
        page = settled(visit(at=at))
        assert "No harm is scored here" in page.locator("#message-text").inner_text()
        load(page, write_feed(tmp_path / "mine.jsonl"))
        assert page.locator("#list-treatment .harms").first.inner_text() == "harm not scored: no classifier"
        page.context.close()


def test_a_server_with_keys_asks_for_one(visit: Open) -> None:
    with serving(settings=ServeSettings(api_keys=("open sesame",))) as at:
        page = visit(at=at, expected=(401,))
        page.get_by_label("This server asks for a key").fill("open sesame")
        page.get_by_role("button", name="Use it").click()
        settled(page).context.close()
