"""The diagnostics of a feed as a whole: what is planted, refusals with reasons, files, the command, a log."""

import json
import re

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from eval.borderline import borderline_curve
from eval.clustered import Estimate
from eval.incentives import Materials, diagnose
from eval.incentives_figures import MOST_ROWS, interval_plot
from eval.incentives_log import viewed_rows
from eval.incentives_posts import comment_acts, posts_of, reaction_acts
from eval.incentives_report import incentives_json, write_incentives
from eval.lexicon import read_lexicon
from eval.lift import reaction_lifts
from eval.relation_anger import anger_received
from models.scores import HarmScores
from reranker.assembly import feed_from_columns, interactions_from_columns
from reranker.columns import FeedError
from reranker.diagnose_command import diagnose as command
from reranker.diagnose_command import read_groups
from reranker.impressions import ImpressionLog
from reranker.pipeline import Reranker
from reranker.presets import load_policy
from reranker.sample import make_sample
from reranker.signals import RELATIONS
from reranker.value import Harms
from reranker.writing import write_feed
from tests.logs import log_columns

N, PUBLISHERS, BRIGADED = 1_500, 30, 4


def world(seed=0):
    """Posts that gain from nearness to the line and from moral words, one of them under an angry brigade."""
    rng = np.random.default_rng(seed)
    publisher = rng.integers(0, PUBLISHERS, N)
    near, words, plain = rng.beta(1.2, 2, N), rng.poisson(0.8, N), rng.integers(1, 9, N)
    reach = np.exp(rng.normal(4.5, 0.4, PUBLISHERS))[publisher] * (1 + near**2)
    reshares = rng.poisson(0.2 * reach * 1.12**words * rng.gamma(4, 0.25, N))
    like = rng.poisson(reach * rng.gamma(4, 0.25, N))
    angry = rng.poisson(np.maximum(0.03 * like * np.where(near > 0.7, 4, 1), 0.1))
    accounts, peak = angry.astype(float), rng.binomial(angry, 0.2) / np.maximum(angry, 1)
    like[BRIGADED], angry[BRIGADED], accounts[BRIGADED], peak[BRIGADED] = 90, 120, 6.0, 0.95
    return {
        "request_id": [f"r{i // 50}" for i in range(N)],
        "post_id": [f"p{i}" for i in range(N)],
        "publisher": [f"pub{c}" for c in publisher],
        "text": ["outrage " * w + "a plain word or two " * k for w, k in zip(words, plain, strict=True)],
        "created_at": np.datetime64("2020-01-01") + rng.integers(0, 90, N).astype("timedelta64[D]"),
        "like": like, "angry": angry, "reshare": reshares, "click": like,
        "angry_accounts": accounts, "angry_peak_share": peak,
        "attr_near": near, "attr_bad": (near > 0.7).astype(float),
    }  # fmt: skip


def acts(seed=0):
    """Single comments and reactions of friends and strangers; post 4 is spammed by five accounts."""
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(N):
        share = rng.random()
        for k in range(25 if i < 300 else 2):
            text = (
                "what a disgrace this is for all of us"
                if rng.random() < share
                else f"I like number {k} a lot here"
            )
            rows.append(
                (
                    f"p{i}",
                    "comment",
                    f"u{rng.integers(0, 4_000)}",
                    "friend",
                    text,
                    int(rng.integers(0, 90_000)),
                )
            )
    rows += [("p4", "comment", f"bot{k % 5}", "stranger", "buy now", 60 * k // 100) for k in range(80)]
    names = ("post_id", "kind", "actor", "relation", "text", "time")
    made = dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))
    made["time"] = np.datetime64("2020-01-01") + np.array(made["time"]).astype("timedelta64[s]")
    return interactions_from_columns(made)


@pytest.fixture(scope="module")
def lexicon(tmp_path_factory):
    path = tmp_path_factory.mktemp("words") / "words.csv"
    path.write_text("dictionary,term\nMoralEmotional,outrage*\nNegative,disgrace\n")
    return path


@pytest.fixture(scope="module")
def materials(lexicon):
    columns = world()
    feed = feed_from_columns(columns, interactions=acts())
    p = np.clip(columns["attr_near"] * 0.5, 0, 1).astype(np.float32)[:, None]
    harms = Harms(HarmScores(("toxicity",), p, np.ones_like(p), "known"), np.full(N, np.nan))
    return Materials(
        Reranker(load_policy("harm-aware")).rank(feed, harms),
        truth=("bad",),
        moral=read_lexicon(lexicon, ["MoralEmotional"]),
        negative=read_lexicon(lexicon, ["Negative"]),
        groups={f"pub{c}": "odd" if c % 2 else "even" for c in range(PUBLISHERS)},
    )


@pytest.fixture(scope="module")
def found(materials):
    return diagnose(materials)


def test_what_was_planted_is_found(found):
    assert found.borderline["engagement"].shape == "rises"
    assert found.borderline["score after demotion"].shape == "falls"
    before, after = (found.borderline[f"score {when} demotion"].at_the_line for when in ("before", "after"))
    assert after.high < before.low
    ratio = found.moral["reshares"].negative_binomial
    assert ratio.low <= 1.12 <= ratio.high
    assert ratio.low > 1.05
    lift = next(one for one in found.lifts if (one.reaction, one.harm) == ("angry", "bad"))
    assert lift.direction == "over-represented"
    assert found.group_ratio.low <= 1 <= found.group_ratio.high
    named = {(alarm.kind, found.post_ids[alarm.post]) for alarm in found.gaming.alarms}
    assert named == {("angry brigade", "p4"), ("comment spam", "p4")}


def test_closeness_is_the_estimate_over_the_line_of_the_policy(materials, found):
    line = load_policy("harm-aware").demotion["toxicity"].line
    near = materials.ranking.feed.attributes["near"] * 0.5 / line
    assert found.borderline["engagement"].closeness[-1] <= near.max() + 1e-6
    assert found.borderline["engagement"].n.sum() == N


def test_what_cannot_be_told_says_why(found):
    assert found.part("headline tests").status == "skipped"
    assert "fewer" not in found.part("gaming").reason
    assert "does not say who sent them" in found.part("angry received").reason
    assert found.gaming.refused["reaction brigade"].startswith("no single acts")


def test_a_bare_feed_is_refused_part_by_part_and_nothing_is_an_error():
    columns = {name: values for name, values in world().items() if name in ("request_id", "post_id", "like")}
    found = diagnose(Materials(Reranker(load_policy("fb-2018-h1")).rank(feed_from_columns(columns))))
    status = {part.name: part.status for part in found.parts}
    assert "measured" not in status.values()
    assert status["moral words"] == "skipped"
    assert "--lexicon" in found.part("moral words").reason
    assert "--scores" in found.part("borderline").reason
    assert "--truth" in found.part("reaction lift").reason
    assert "angry: expected to be measured" in found.part("angry correlations").reason
    assert found.unit_name == "posts"


def test_signals_that_are_all_zero_are_refused(lexicon):
    columns = world()
    for name in ("like", "angry", "reshare", "click"):
        columns[name] = np.zeros(N)
    ranking = Reranker(load_policy("fb-2018-h1")).rank(feed_from_columns(columns))
    words = read_lexicon(lexicon, ["MoralEmotional"])
    found = diagnose(Materials(ranking, near="near", truth=("bad",), moral=words, comment_share="near"))
    assert {part.status for part in found.parts if part.name not in ("headline tests", "angry groups")} == {
        "refused"
    }
    assert "five posts and a mean above 0" in found.part("borderline").reason
    assert "reshares or reactions above 0" in found.part("moral words").reason
    assert "clicks or reshares above 0" in found.part("negative comments").reason


def test_an_attribute_that_is_not_there_is_refused(materials):
    with pytest.raises(ValueError, match="attribute: expected one of near, bad, got 'neer'; did you mean"):
        Materials(materials.ranking, near="neer")
    with pytest.raises(ValueError, match="groups: expected two, got 3"):
        Materials(materials.ranking, groups={"a": "x", "b": "y", "c": "z"})


def test_a_post_counts_once_however_many_requests_show_it():
    columns = world()
    columns["request_id"] = ["r0"] * 750 + ["r1"] * 750
    for name in columns:
        if name != "request_id":
            columns[name] = np.concatenate([np.asarray(columns[name])[:750]] * 2)
    posts = posts_of(feed_from_columns(columns))
    assert posts.n == 750
    assert posts.counts["like"].tolist() == world()["like"][:750].tolist()
    assert posts.take(np.arange(1_500.0))[:2].tolist() == [375.0, 376.0]


def test_acts_are_counted_by_account_text_and_hour():
    rows = [("a", "x", "one two three four five", 0), ("a", "x", "short", 10), ("a", "y", "short", 4_000)]
    rows += [
        ("b", "y", "six seven eight nine ten", 5),
        ("b", None, "eleven twelve thirteen fourteen more", 6),
    ]
    feed = feed_from_columns(
        {"request_id": ["r"] * 2, "post_id": ["a", "b"], "like": [1, 1]},
        interactions=interactions_from_columns(
            {
                "post_id": [r[0] for r in rows], "kind": ["comment"] * 5, "actor": [r[1] for r in rows],
                "text": [r[2] for r in rows],
                "time": np.datetime64("2020-01-01") + np.array([r[3] for r in rows]).astype("timedelta64[s]"),
            }
        ),
    )  # fmt: skip
    found = comment_acts(posts_of(feed))
    assert found.n.tolist() == [3, 2]
    assert found.repeats[0] == 1  # x twice
    assert np.isnan(found.repeats[1])  # an account is not known
    assert found.newcomers[0] == 2  # the acts of x; y is seen elsewhere
    assert found.peak.tolist() == [2, 2]
    assert found.alike.tolist() == [2, 0]
    assert reaction_acts(posts_of(feed)) is None


def test_predicted_anger_is_told_by_the_relation_of_the_viewer():
    rng = np.random.default_rng(0)
    relation = rng.integers(0, 2, 400)
    columns = {
        "request_id": [f"r{i // 20}" for i in range(400)], "post_id": [f"p{i}" for i in range(400)],
        "author": [f"a{i % 40}" for i in range(400)],
        "relation": [("friend", "stranger")[r] for r in relation],
        "like": np.full(400, 0.2), "angry": np.where(relation == 1, 0.05, 0.01),
    }  # fmt: skip
    feed = feed_from_columns(columns, kind="probabilities")
    found = diagnose(Materials(Reranker(load_policy("uniform")).rank(feed)))
    shares = {one.relation: one.share.value for one in found.received}
    assert shares["friend"] == pytest.approx(0.01 / 0.21)
    assert shares["stranger"] == pytest.approx(0.05 / 0.25)


def test_the_same_data_give_the_same_bytes_and_no_text(materials, found, tmp_path):
    first = incentives_json(found, "world")
    assert first == incentives_json(diagnose(materials), "world")
    content = json.loads(first)
    assert content["gaming"]["alarms"][0]["post_id"] == "p4"
    assert "post_ids" not in content
    paths = write_incentives(found, tmp_path / "out", data="world")
    page = paths[1].read_text()
    for text in (first, page):
        assert "a plain word or two" not in text
        assert "disgrace" not in text
    assert not re.search(r'(src|href)="(https?:)?//', page)
    assert "<script" not in page
    assert page.count("<svg") == 5
    assert "p4" in page


def test_the_sample_says_who_is_angry_at_what():
    feed = make_sample(3, n_posts=1_500, n_requests=80)
    found = diagnose(
        Materials(Reranker(load_policy("harm-aware")).rank(feed), near="near_line", truth=("is_toxic",))
    )
    lift = next(one for one in found.lifts if one.reaction == "angry")
    assert lift.lift.value > 1
    assert found.part("borderline").status == "measured"


@pytest.fixture
def app():
    made = typer.Typer()
    made.command()(command)
    return made


def test_the_command_writes_both_files_and_prints_what_it_found(app, tmp_path, lexicon):
    write_feed(feed_from_columns(world()), tmp_path / "feeds.parquet")
    (tmp_path / "groups.csv").write_text(
        "publisher,group\n" + "".join(f"pub{c},{'odd' if c % 2 else 'even'}\n" for c in range(PUBLISHERS))
    )
    options = ["--model", "none", "--near", "attr_near", "--truth", "attr_bad", "--lexicon", str(lexicon)]
    options += ["--dictionary", "MoralEmotional", "--groups", str(tmp_path / "groups.csv")]
    result = CliRunner().invoke(app, [str(tmp_path / "feeds.parquet"), "-o", str(tmp_path / "out"), *options])
    assert result.exit_code == 0, result.output
    assert "Engagement rises towards the line" in result.output
    assert "skipped: headline tests" in result.output
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "incentives.html",
        "incentives.json",
    ]


def test_an_interval_that_leaves_the_picture_ends_in_an_arrow_and_left_out_rows_are_counted():
    near, far = (Estimate(1.2, 0.05, 1.1, end, 0.95, 9, 9) for end in (1.3, 9.0))
    plots = [interval_plot("x", [("a", near), ("b", one)], reference=1.0, label="y") for one in (near, far)]
    triangle = r'd="M \S+ \S+ \s*L \S+ \S+ \s*L \S+ \S+ \s*z'
    assert [len(re.findall(triangle, plot)) for plot in plots] == [0, 1]
    many = interval_plot("x", [(f"row {i}", near) for i in range(MOST_ROWS + 1)], reference=1.0, label="y")
    assert f"first {MOST_ROWS} of {MOST_ROWS + 1}" in many


def test_bad_options_write_nothing(app, tmp_path, lexicon):
    write_feed(feed_from_columns(world()), tmp_path / "feeds.parquet")
    for options, message in (
        (["--near", "attr_nowhere"], "expected one of near, bad, got 'nowhere'"),
        (["--lexicon", str(lexicon), "--dictionary", "Moral"], "expected a dictionary of"),
    ):
        arguments = [
            str(tmp_path / "feeds.parquet"),
            "-o",
            str(tmp_path / "out"),
            "--model",
            "none",
            *options,
        ]
        result = CliRunner().invoke(app, arguments)
        assert isinstance(result.exception, FeedError)
        assert message in str(result.exception)
        assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("publisher,kind\na,b\n", "expected the columns publisher and group"),
        ("publisher,group\na,x\na,y\n", "expected each publisher once, got 'a' twice"),
        ("publisher,group\na,x\nb,x\n", "expected two groups, got 1"),
        ("publisher,group\na,\n", "expected a publisher and a group"),
    ],
)
def test_a_bad_file_of_groups_is_refused(tmp_path, text, message):
    (tmp_path / "groups.csv").write_text(text)
    with pytest.raises(FeedError, match=message):
        read_groups(tmp_path / "groups.csv")


def test_a_log_is_diagnosed_by_view_and_by_user():
    rng = np.random.default_rng(0)
    columns = log_columns(3_000, seed=1, most=7)
    slots, c = len(columns["slate"]), int(columns["offsets"][-1])
    harm = rng.random(c)
    viewed = rng.random(slots) < 0.8
    shown = harm[columns["slate"]]
    comment = viewed & (rng.random(slots) < 0.1 + 0.5 * shown)
    angry = viewed & (rng.random(slots) < np.where(shown > 0.8, 0.4, 0.05))
    like = viewed & (rng.random(slots) < 0.3)
    columns |= {
        "harm": {"toxicity": harm}, "viewed": viewed,
        "groups": {"relation": rng.integers(-1, len(RELATIONS), c), "author": rng.integers(0, 50, c)},
        "action": {
            name: did.astype(float) for name, did in (("comment", comment), ("angry", angry), ("like", like))
        },
    }  # fmt: skip
    rows = viewed_rows(ImpressionLog(**columns))
    assert len(rows.user) == viewed.sum()
    curve = borderline_curve(rows.harm["toxicity"], rows.action["comment"], rows.user)
    assert curve.shape == "rises"
    lifts = reaction_lifts(rows.reactions(), rows.harm, rows.user, min_reactions=1)
    assert next(one for one in lifts if one.reaction == "angry").direction == "over-represented"
    received = anger_received(*rows.anger(), rows.groups["author"])
    assert received[0].n_angry == angry.sum()
    assert {one.relation for one in received} == {"all", *RELATIONS, "unknown"}
