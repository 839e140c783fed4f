import numpy as np
import pytest

from reranker.assembly import interactions_from_columns
from reranker.columns import FeedError
from reranker.interactions import Interactions


def test_acts_keep_what_was_given_and_the_rest_is_null():
    acts = interactions_from_columns(
        {
            "post_id": ["a", "b"],
            "kind": ["comment", "like"],
            "relation": ["friend", None],
            "has_photo": [True, None],
            "text": ["hi", None],
            "time": ["2024-01-01T01:00:00+01:00", None],
        }
    )
    assert len(acts) == 2
    assert acts.relation.tolist() == [1, -1]
    assert acts.has_photo.tolist() == [True, False]
    assert acts.is_avatar.tolist() == [False, False]
    assert acts.time.tolist()[0].isoformat() == "2024-01-01T00:00:00"
    assert np.isnat(acts.deleted_at).all()
    assert acts.actor.to_list() == [None, None]
    assert acts.content().text == ["hi", None]
    with pytest.raises(ValueError, match="read-only"):
        acts.relation[0] = 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"post_id": ["a", None]}, "interactions.post_id: expected a value, got null at row 1"),
        ({"kind": [None, "like"]}, "interactions.kind: expected a value, got null at row 0"),
        (
            {"kind": ["like", "coment"]},
            'interactions.kind: unknown signal "coment" at row 1; did you mean "comment"?',
        ),
        (
            {"kind": ["like", "significant_comment"]},
            'interactions.kind: "significant_comment" is made from the text; give the plain kind at row 1',
        ),
        ({"relation": ["friend", "foe"]}, "interactions.relation: expected one of close_friend, friend"),
        ({"relation": np.array([0, 9])}, "interactions.relation: expected codes -1 to 5, got 9 at row 1"),
        ({"has_photo": [True, "yes"]}, "interactions.has_photo: expected true or false, got 'yes' at row 1"),
        ({"time": ["soon", None]}, "interactions.time: expected an ISO 8601 time, got 'soon' at row 0"),
        ({"actor": ["x"]}, "interactions.actor: expected 2 rows, got 1"),
        ({"actr": ["x", "y"]}, 'interactions: unknown column "actr"; did you mean "actor"?'),
    ],
)
def test_a_bad_act_is_refused_with_its_column_and_row(changes, message):
    with pytest.raises(FeedError) as caught:
        interactions_from_columns({"post_id": ["a", "b"], "kind": ["like", "like"]} | changes)
    assert str(caught.value).startswith(message)


def test_acts_need_a_post_and_a_kind():
    with pytest.raises(FeedError, match=r"^interactions.kind: expected a column, got post_id$"):
        interactions_from_columns({"post_id": ["a"]})


def test_the_type_itself_refuses_unequal_lengths_and_unknown_relations():
    acts = interactions_from_columns({"post_id": ["a"], "kind": ["like"], "is_avatar": np.array([True])})
    parts = {name: getattr(acts, name) for name in acts.__dataclass_fields__}
    with pytest.raises(FeedError, match=r"^interactions.relation: expected 1 rows, got 2$"):
        Interactions(**parts | {"relation": np.array([0, 0], dtype=np.int8)})
    with pytest.raises(
        FeedError, match=r"^interactions.relation: expected codes from -1 to 5, got 6 at row 0$"
    ):
        Interactions(**parts | {"relation": np.array([6], dtype=np.int8)})
