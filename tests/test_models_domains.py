from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from models.domains import DomainRatings, domain_of
from models.scores import Content

RATINGS = DomainRatings({"example.co.uk": 0.8, "example.org": 0.2, "blog.example.org": 0.9}, "mine")


@pytest.mark.parametrize(
    ("url", "domain"),
    [
        ("https://WWW.Example.org/a?b=c", "example.org"),
        ("http://m.example.org:8080/x", "example.org"),
        ("https://amp.www.example.org", "www.example.org"),
        ("example.org/path", "example.org"),
        ("//example.org", "example.org"),
        ("https://user:secret@example.org/", "example.org"),
        ("https://bücher.example/", "xn--bcher-kva.example"),
        ("https://xn--bcher-kva.example/", "xn--bcher-kva.example"),
        ("m.org", "m.org"),
        ("", None),
        ("not a url", None),
        ("http://[::1", None),
        ("https://" + "ü" * 80 + ".org", None),
        ("mailto:someone", None),
    ],
)
def test_domain_of_a_url(url: str, domain: str | None) -> None:
    assert domain_of(url) == domain


def test_the_longest_rated_suffix_wins() -> None:
    assert RATINGS.rate_url("https://news.example.co.uk/story") == 0.8
    assert RATINGS.rate_url("https://blog.example.org") == 0.9
    assert RATINGS.rate_url("https://shop.example.org") == 0.2
    assert np.isnan(RATINGS.rate_url("https://notexample.org"))
    assert np.isnan(RATINGS.rate_url("https://org"))


def test_the_worst_url_decides_and_unrated_is_unscored() -> None:
    urls = [["https://example.org", "https://example.co.uk"], ["https://x.test"], None, []]
    content = Content(text=[None] * 4, language=[None] * 4, urls=urls)
    scores = RATINGS.score(content)
    np.testing.assert_allclose(scores.probability[:, 0], [0.8, np.nan, np.nan, np.nan], rtol=1e-6)
    assert scores.scored.tolist() == [True, False, False, False]
    assert scores.model == "domains:mine"


def test_a_feed_of_no_posts_is_scored() -> None:
    assert RATINGS.score(Content([], [], [])).n == 0


def test_csv_and_parquet_give_the_same_ratings(tmp_path: Path) -> None:
    (tmp_path / "r.csv").write_text("score,domain\n0.25,www.Example.org\n1,example.net\n")
    table = pa.table({"domain": ["example.org", "example.net"], "score": [0.25, 1.0]})
    pq.write_table(table, tmp_path / "r.parquet")
    read = [DomainRatings.read(tmp_path / name) for name in ("r.csv", "r.parquet")]
    assert read[0] == read[1] == DomainRatings({"example.org": 0.25, "example.net": 1.0}, "r")


def test_a_domain_counts_before_its_mobile_form(tmp_path: Path) -> None:
    (tmp_path / "r.csv").write_text("domain,score\nm.example.org,0.1\nexample.org,0.5\nwww.example.net,0.2\n")
    ratings = DomainRatings.read(tmp_path / "r.csv")
    assert ratings.score_of == {"example.org": 0.5, "example.net": 0.2}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            "domain,rating\nexample.org,1\n",
            r"expected the columns \['domain', 'score'\], got \['domain', 'rating'\]",
        ),
        ("domain,score,pc1\nexample.org,1,1\n", "'pc1'"),
        (
            "domain,score\nexample.org,1\nEXAMPLE.org,0.5\n",
            "one score for 'example.org', got 1.0 and 0.5",
        ),
        ("domain,score\nexample.org,high\n", "expected a number for 'example.org', got 'high'"),
        ("domain,score\nexample.org,7\n", r"in \[0, 1\], got 7.0 for 'example.org'"),
        ("domain,score\nexample.org,nan\n", r"in \[0, 1\]|one score"),
        ("domain,score\n,1\n", "expected a domain in row 0"),
    ],
)
def test_bad_files_are_refused(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "r.csv"
    path.write_text(content)
    with pytest.raises(ValueError, match=message):
        DomainRatings.read(path)


def test_the_real_ratings_are_read_when_they_are_there(tmp_path: Path) -> None:
    path = Path(__file__).parents[2] / "shared" / "data" / "misinformation" / "domain_quality.parquet"
    if not path.exists():
        pytest.skip("the shared data sets are not here")
    table = pq.read_table(path)
    rows = [i for i, source in enumerate(table["source"].to_pylist()) if source == "lin2023_pc1"]
    pq.write_table(table.take(rows).select(["domain", "score"]), tmp_path / "lin.parquet")
    ratings = DomainRatings.read(tmp_path / "lin.parquet")
    assert len(ratings.score_of) > 11_000
    assert ratings.rate(["https://www.reuters.com/world"]) > 0.8
