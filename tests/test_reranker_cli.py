"""The command line: what it writes, what it says, and what bad input gets."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from reranker.anger import AngerBaseline
from reranker.cli import main
from reranker.pipeline import Reranker
from reranker.presets import load_policy
from reranker.reading import read_feed
from reranker.results import ranking_to_arrow
from reranker.sample import DOMAIN_RATINGS, make_sample
from reranker.writing import write_feed


@pytest.fixture(scope="module")
def feeds(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A small sample on disk: candidates and interactions."""
    folder = tmp_path_factory.mktemp("feeds")
    paths = (folder / "feeds.parquet", folder / "acts.parquet")
    write_feed(make_sample(3, n_users=12, n_posts=200, n_requests=14), paths[0], interactions=paths[1])
    return paths


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as stopped:
        main([str(argument) for argument in arguments])
    return int(stopped.value.code or 0)


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """The one line that a refused command prints."""
    assert run(*arguments) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    return lines[0]


def test_rank_writes_what_python_gives(feeds: tuple[Path, Path], tmp_path: Path) -> None:
    out = tmp_path / "ranking.parquet"
    assert run("rank", feeds[0], "-p", "fb-2020-10", "--interactions", feeds[1], "-o", out) == 0
    feed = read_feed(feeds[0], interactions=feeds[1])
    ours = Reranker(load_policy("fb-2020-10"), baseline=AngerBaseline.fit(feed)).rank(feed)
    assert pq.read_table(out).equals(ranking_to_arrow(ours), check_metadata=True)


def test_scores_made_once_serve_rank_explain_and_check(
    feeds: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scores = tmp_path / "scores.parquet"
    common = ("--interactions", feeds[1])
    assert run("score", feeds[0], *common, "--domains", DOMAIN_RATINGS, "-o", scores) == 0
    assert "low_quality_news" in capsys.readouterr().out
    out = tmp_path / "ranking.jsonl"
    assert run("rank", feeds[0], *common, "--scores", scores, "-o", out) == 0
    first = json.loads(out.read_text().splitlines()[0])
    assert first["policy"] == "harm-aware"
    assert first["policy_digest"] == load_policy("harm-aware").digest
    assert "ineffective demotions per 1,000: 0" in capsys.readouterr().out
    post = (first["post_id"], "--request", first["request_id"])
    assert run("explain", feeds[0], *post, *common, "--scores", scores, "--json") == 0
    explained = json.loads(capsys.readouterr().out)
    total = sum(term["amount"] for term in explained["terms"])
    assert total == pytest.approx(explained["score"], abs=1e-9)
    assert explained["rank"] == first["rank"]
    assert run("explain", feeds[0], *post, *common, "--scores", scores) == 0
    assert "harm-aware" in capsys.readouterr().out
    assert run("policies", "check", "harm-aware", "--feeds", feeds[0], *common, "--scores", scores) == 0
    assert "valid" in capsys.readouterr().out


def test_compare_writes_a_report(
    feeds: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "report"
    treatment = ("--set-treatment", "weights.angry=0")
    arguments = ("--original", "fb-2018-h1", "--treatment", "fb-2018-h1", *treatment, "--model", "none")
    assert (
        run("compare", feeds[0], "--interactions", feeds[1], *arguments, "--truth", "is_toxic", "-o", out)
        == 0
    )
    assert sorted(path.name for path in out.iterdir()) == [
        "comparison.json",
        "comparison.parquet",
        "report.html",
    ]
    found = json.loads((out / "comparison.json").read_text())
    assert found["original"]["digest"] == load_policy("fb-2018-h1").digest
    assert "report:" in capsys.readouterr().out


def test_compare_holds_activity_to_the_margins_that_are_named(
    feeds: tuple[Path, Path], tmp_path: Path
) -> None:
    own, out = tmp_path / "own.toml", tmp_path / "report"
    own.write_text("schema = 1\n[overall]\ncomments = 0.3\n")
    data = (feeds[0], "--interactions", feeds[1], "--model", "none", "-o", out)
    policies = ("--treatment", "fb-2018-h1", "--set-treatment", "weights.angry=0")
    assert run("compare", *data, *policies, "--margins", own, "--planned-margins", "0" * 64) == 0
    found = json.loads((out / "comparison.json").read_text())
    assert found["margins"]["overall"] == {"comments": 0.3}
    assert {(one["metric"], one["margin"]) for one in found["guardrails"]} == {("comments", 0.3)}
    assert found["margins"]["digest"] in (out / "report.html").read_text()
    assert any("THE MARGINS CHANGED" in sentence["text"] for sentence in found["verdict"])


def test_sample_and_weights(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    feed, acts = tmp_path / "f.parquet", tmp_path / "i.parquet"
    assert run("sample", "-o", feed, "--interactions", acts) == 0
    assert run("weights", feed, "--interactions", acts, "--policy", "fb-2017") == 0
    assert "angry" in capsys.readouterr().out


def test_import_facebook_makes_pools(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    posts = {
        "post_id": ["a", "b", "c"],
        "page": ["x", "x", "y"],
        "created_at": pa.array([0, 1, 90_000_000_000], pa.timestamp("us")),
        "likes": [10, 30, 5],
        "angry": [0, 3, 1],
        "comments": [1, 2, 3],
        "shares": [0, 1, 1],
    }
    pq.write_table(pa.table(posts), tmp_path / "posts.parquet")
    out = tmp_path / "feeds.parquet"
    assert run("import", "facebook", tmp_path / "posts.parquet", "--pool", "day", "-o", out) == 0
    assert "2 pools" in capsys.readouterr().out
    assert read_feed(out).n_requests == 2


def test_policies_list_show_diff(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("policies", "list") == 0
    assert "harm-aware" in capsys.readouterr().out
    assert run("policies", "show", "fb-2020-10") == 0
    assert "W20" in capsys.readouterr().out
    assert run("policies", "diff", "fb-2018-h1", "fb-2018-late") == 0
    assert "weights.angry" in capsys.readouterr().out
    assert run("policies", "diff", "proposal-2019-07-like", "proposal-2019-late") == 0
    assert "have the same settings" in capsys.readouterr().out


def test_break_the_glass_is_recorded_and_reversible(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    audit = tmp_path / "audit.jsonl"
    who = ("--by", "on call", "--reason", "drill", "--audit", audit)
    assert run("policies", "switch", "fb-2018-h1+live-boost", "break-the-glass", "--on", *who) == 0
    on = capsys.readouterr().out.strip()
    assert run("policies", "switch", on, "break-the-glass", "--off", *who) == 0
    records = [json.loads(line) for line in audit.read_text().splitlines()]
    assert [record["action"] for record in records] == ["on", "off"]
    assert records[0]["digest_before"] == records[1]["digest_after"]


def test_bad_input_is_one_line_and_leaves_nothing(
    feeds: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.parquet"
    assert 'did you mean "angry"' in refused(capsys, "rank", feeds[0], "--set", "weights.angri=0", "-o", out)
    assert "expected signals as probabilities" in refused(capsys, "rank", feeds[0], "-p", "x-2026", "-o", out)
    assert 'did you mean "harm-aware"' in refused(capsys, "rank", feeds[0], "-p", "harm-awre", "-o", out)
    assert "nowhere.parquet" in refused(capsys, "rank", tmp_path / "nowhere.parquet", "-o", out)
    cut = tmp_path / "cut.parquet"
    cut.write_bytes(feeds[0].read_bytes()[:2000])
    assert "cut.parquet" in refused(capsys, "rank", cut, "-o", out)
    wrong = tmp_path / "wrong.csv"
    wrong.write_bytes(b"request_id,post_id,like\nr,a,\xff\n")
    assert "wrong.csv" in refused(capsys, "rank", wrong, "-o", out)
    for text, told in (("nan", "like"), ("-3", "-3"), ("1e300", "like"), ("many", "many")):
        bad = tmp_path / "bad.csv"
        bad.write_text(f"request_id,post_id,like\nr,a,1\nr,b,{text}\n")
        assert told in refused(capsys, "rank", bad, "-p", "fb-2018-h1", "-o", out)
    twice = tmp_path / "twice.csv"
    twice.write_text("request_id,post_id,like\nr,a,1\nr,a,2\n")
    assert "each post once" in refused(capsys, "rank", twice, "-p", "fb-2018-h1", "-o", out)
    assert "artifact" in refused(
        capsys, "rank", feeds[0], "--interactions", feeds[1], "--model", tmp_path, "-o", out
    )
    assert not out.exists()


def test_an_empty_feed_gives_an_empty_ranking(tmp_path: Path) -> None:
    empty = tmp_path / "empty.csv"
    empty.write_text("request_id,post_id,like\n")
    assert run("rank", empty, "-o", tmp_path / "r.parquet") == 0
    assert pq.read_table(tmp_path / "r.parquet").num_rows == 0


def test_a_policy_that_demotes_everything_is_refused(
    feeds: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    policy = tmp_path / "strict.toml"
    policy.write_text('schema = 1\nname = "strict"\nbase = "harm-aware"\n[unscored]\nmultiplier = 0.5\n')
    ratings = tmp_path / "ratings.csv"
    ratings.write_text("domain,score\nnever.example,0.1\n")
    arguments = ("--model", "none", "--domains", ratings, "-p", policy, "-o", tmp_path / "r.parquet")
    message = refused(capsys, "rank", feeds[0], *arguments)
    assert "stay undemoted" in message


@pytest.mark.parametrize(
    ("option", "value", "told"),
    [
        ("--shown", "foo", "browsing"),
        ("--truth", "nosuch", "nosuch"),
        ("--lexicon", "bad.csv", "dictionary and term"),
        ("--margins", "bad.toml", "comments: expected a number in (0, 1), got 2"),
        ("--margins", "nosuch.toml", "nosuch.toml"),
        ("--set", "weights.like=1e308", "weights.like"),
        ("--set", "slate.max_demotion_positions=99999999999999999999", "max_demotion_positions"),
        ("--set", "holdout.share=2", "holdout.share"),
    ],
)
def test_each_option_of_compare_refuses_bad_input_in_one_line(
    feeds: tuple[Path, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    option: str,
    value: str,
    told: str,
) -> None:
    (tmp_path / "bad.csv").write_text("word\nx\n")
    (tmp_path / "bad.toml").write_text("schema = 1\n[overall]\ncomments = 2\n")
    given = tmp_path / value if option in ("--lexicon", "--margins") else value
    data = (feeds[0], "--interactions", feeds[1], "--model", "none", "-o", tmp_path / "report")
    assert told in refused(capsys, "compare", *data, option, given)
    assert not (tmp_path / "report").exists()


def test_the_output_is_checked_before_the_work(
    feeds: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ".parquet or .jsonl" in refused(capsys, "rank", feeds[0], "-o", tmp_path / "r.csv")
    assert "folder to exist" in refused(capsys, "rank", feeds[0], "-o", tmp_path / "no" / "r.parquet")


def test_json_lines_without_a_line_are_an_empty_feed(tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").write_text("")
    assert run("rank", tmp_path / "empty.jsonl", "-o", tmp_path / "r.parquet") == 0


def test_posts_are_scored_as_a_stream_with_a_cache(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ratings, posts, cache = tmp_path / "ratings.csv", tmp_path / "posts.jsonl", tmp_path / "cache.sqlite"
    ratings.write_text("domain,score\nbad.example,0.25\n")
    posts.write_text("".join(f'{{"id": {i}, "urls": "https://bad.example/{i}"}}\n' for i in range(5)))
    common = ("--model", "none", "--domains", ratings, "--cache", cache)
    outputs = [tmp_path / "first.parquet", tmp_path / "second.parquet"]
    for output in outputs:
        assert run("score", posts, *common, "-o", output) == 0
        assert "0.7500" in capsys.readouterr().out
    assert outputs[0].read_bytes() == outputs[1].read_bytes()
    ratings.write_text("domain,score\nbad.example,0.5\n")  # kept scores are those of the list that made them
    assert run("score", posts, *common, "-o", outputs[1]) == 0
    assert "0.5000" in capsys.readouterr().out
    feed = tmp_path / "feed.csv"
    feed.write_text("request_id,post_id,like\nr,3,1\nr,1,2\n")
    assert run("rank", feed, "--scores", outputs[0], "-o", tmp_path / "ranking.parquet") == 0


def test_score_refuses_bad_input_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    posts, output = tmp_path / "posts.jsonl", ("-o", tmp_path / "scores.parquet")
    posts.write_text('{"post_id": "a", "text": "x"}\n{"post_id": null, "text": "y"}\n')
    ratings = tmp_path / "ratings.csv"
    ratings.write_text("domain,score\nbad.example,0.25\n")
    by_domain = ("--model", "none", "--domains", ratings)
    assert "post_id: expected a value, got null at row 1" in refused(
        capsys, "score", posts, *by_domain, *output
    )
    assert "expected --model or --domains" in refused(capsys, "score", posts, "--model", "none", *output)
    assert "ratings.csv: expected a score cache" in refused(
        capsys, "score", posts, *by_domain, "--cache", ratings, *output
    )
    missing = ("--model", "none", "--domains", tmp_path / "missing.csv")
    assert "missing.csv" in refused(capsys, "score", posts, *missing, *output)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["posts.jsonl", "ratings.csv"]


def test_bad_choices_of_what_reads_the_posts_are_told_in_one_line(
    feeds: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for options, message in (
        (("--prevalence", "toxicity"), "--prevalence: expected LABEL=SHARE, got 'toxicity'"),
        (("--prevalence", "toxicity=0"), "prevalence: expected a number in (0, 1), got 0.0"),
        (("--prevalence", "rudeness=0.1"), "prevalence: expected labels that a calibrated model here scores"),
        (("--speed", "warp"), "--speed: expected one of ['default', 'fast'], got 'warp'"),
        (("--speed", "fast", "--model", "none"), "--speed fast: expected --model bundled, got 'none'"),
        (("--model", "bundled:rudeness"), "bundled: expected a label that it scores, got 'rudeness'"),
    ):
        domains = ("--domains", DOMAIN_RATINGS)
        line = refused(capsys, "score", feeds[0], *domains, *options, "-o", tmp_path / "s.parquet")
        assert message in line
        assert not (tmp_path / "s.parquet").exists()


def test_a_stated_prevalence_reaches_the_scores(feeds: tuple[Path, Path], tmp_path: Path) -> None:
    out = tmp_path / "common.parquet", tmp_path / "rare.parquet"
    for path, share in zip(out, ("0.3", "0.001"), strict=True):
        assert run("score", feeds[0], "--prevalence", f"toxicity={share}", "-o", path) == 0
    common, rare = (pq.read_table(path)["p_toxicity"].drop_null().to_numpy() for path in out)
    assert (common >= rare).all()
    assert common.mean() > 3 * rare.mean()


def test_probabilities_agree_with_the_stated_share_over_a_sample_of_the_feed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("you are", "this is", "they were"), ("an idiot", "a lovely day", "a table", "awful scum")
    texts = [f"{a} {b}, number {i}" for i in range(12) for a in words[0] for b in words[1]]
    posts = tmp_path / "posts.jsonl"
    posts.write_text("".join(json.dumps({"post_id": f"{i}", "text": t}) + "\n" for i, t in enumerate(texts)))
    stated = ("--speed", "fast", "--prevalence", "toxicity=0.2", "--prevalence-sample")
    assert run("score", posts, *stated, posts, "-o", tmp_path / "s.parquet") == 0
    assert pq.read_table(tmp_path / "s.parquet")["p_toxicity"].to_numpy().mean() == pytest.approx(
        0.2, abs=1e-3
    )
    few = tmp_path / "few.jsonl"
    few.write_text(posts.read_text().split("\n")[0])
    line = refused(capsys, "score", posts, *stated, few, "-o", tmp_path / "t.parquet")
    assert "sample: expected at least 100 posts that can be judged, got 1 of 1" in line
    line = refused(capsys, "score", posts, "--prevalence-sample", posts, "-o", tmp_path / "t.parquet")
    assert "--prevalence-sample: expected --prevalence beside it, got none" in line
