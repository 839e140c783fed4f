import tomllib
from collections import Counter

import numpy as np
import pytest
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupKFold, cross_val_predict

from models.taxonomy import label
from training import contrast
from training.contrast import DECIDED, contrast_rows, pairs
from training.corpora import Rows

BAG_OF_WORDS_AT_MOST = 0.75


@pytest.fixture(scope="module")
def rows() -> Rows:
    return contrast_rows(np.random.default_rng(0))


def test_there_are_thousands_of_distinct_rows_with_all_columns(rows: Rows) -> None:
    n = len(rows.text)
    assert 6_000 <= n <= 12_000
    assert len(set(rows.text)) == n
    assert len(rows.aspect) == len(rows.link) == n
    for name, target in rows.target.items():
        label(name)
        assert len(target) == len(rows.weight[name]) == n
        assert np.isin(target[~np.isnan(target)], [0, 1]).all()
        assert (rows.weight[name] > 0).all()
    assert set(DECIDED) <= set(rows.target)


def test_every_group_is_as_often_harmless_as_attacked(rows: Rows) -> None:
    toxicity = rows.target["toxicity"]
    groups = set(rows.aspect) - {""}
    assert len(groups) >= 35
    for group in groups:
        of_group = toxicity[[aspect == group for aspect in rows.aspect]]
        of_group = of_group[~np.isnan(of_group)]
        assert len(of_group) >= 40, group
        assert 0.4 <= of_group.mean() <= 0.6, group


def test_every_functionality_has_both_sides_of_at_least_ten_templates(rows: Rows) -> None:
    templates = Counter(pair.functionality for pair in pairs() if len(pair.sides) == 2)
    assert min(templates.values()) >= 10
    assert len(templates) >= 22
    for functionality in templates:
        mine = [link.split("/")[1] == functionality for link in rows.link]
        assert 0.35 <= np.nanmean(rows.target["toxicity"][mine]) <= 0.65, functionality


def test_both_sides_of_a_filled_pair_have_one_link(rows: Rows) -> None:
    sides: dict[str, set[float]] = {}
    for link, value in zip(rows.link, rows.target["toxicity"].tolist(), strict=True):
        if not np.isnan(value):
            sides.setdefault(link, set()).add(value)
    assert np.mean([len(values) == 2 for values in sides.values()]) > 0.95


def test_the_same_seed_gives_the_same_rows_and_another_gives_others(rows: Rows) -> None:
    again = contrast_rows(np.random.default_rng(0))
    assert again.text == rows.text
    assert again.link == rows.link
    np.testing.assert_array_equal(again.target["toxicity"], rows.target["toxicity"])
    assert contrast_rows(np.random.default_rng(1)).text != rows.text


def test_no_slot_is_left_open_and_length_varies(rows: Rows) -> None:
    assert not [text for text in rows.text if "{" in text or "}" in text]
    length = [len(text.split()) for text in rows.text]
    assert np.quantile(length, 0.05) <= 5
    assert np.quantile(length, 0.95) >= 17


def test_an_attack_on_a_party_leaves_identity_attack_open(rows: Rows) -> None:
    parties = np.isin(rows.aspect, ["tory", "labour", "left", "right"])
    attacked = parties & (rows.target["toxicity"] == 1)
    assert np.isnan(rows.target["identity_attack"][attacked]).all()


def test_swearing_is_found_by_word_and_not_in_names_and_places(rows: Rows) -> None:
    for text, value in zip(rows.text, rows.target["profanity"].tolist(), strict=True):
        if "holy shit" in text.lower():
            assert value == 1
        if "Dick Cockburn" in text or "Norway" in text or "Nishit" in text:
            assert value == 0
    swearing = (rows.target["profanity"] == 1) & (rows.target["toxicity"] == 0)
    assert (rows.weight["toxicity"][swearing] < 1).all()
    assert swearing.sum() >= 30


def test_each_further_label_has_clear_and_near_miss_sentences(rows: Rows) -> None:
    names = set()
    for file in contrast.DATA.glob("label_*.toml"):
        names |= set(tomllib.loads(file.read_text("utf-8")))
    assert len(names) >= 12
    for name in names:
        assert (rows.target[name] == 1).sum() >= 12, name
        assert (rows.target[name] == 0).sum() >= 12, name


def test_a_line_without_two_sides_is_refused(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = '[[set]]\nfunctionality = "x"\nharmful = "hate"\nharmless = "none"\npairs = "one side"\n'
    (tmp_path / "pairs_x.toml").write_text(text)
    monkeypatch.setattr(contrast, "DATA", tmp_path)
    with pytest.raises(ValueError, match=r"expected 'harmful \| harmless', got 'one side'"):
        pairs()


def test_a_bag_of_words_does_not_tell_the_classes_apart(rows: Rows) -> None:
    decided = ~np.isnan(rows.target["toxicity"])
    texts = [text for text, keep in zip(rows.text, decided, strict=True) if keep]
    words = CountVectorizer(binary=True, min_df=2).fit_transform(texts)
    toxic = rows.target["toxicity"][decided].astype(int)
    groups = np.array(rows.link)[decided]
    model = LogisticRegression(C=0.1, solver="liblinear")
    predicted = cross_val_predict(
        model, words, toxic, groups=groups, cv=GroupKFold(5), method="predict_proba"
    )[:, 1]
    assert roc_auc_score(toxic, predicted) < BAG_OF_WORDS_AT_MOST
