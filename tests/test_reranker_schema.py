from dataclasses import fields
from pathlib import Path

from reranker import schema
from reranker.feed import CANDIDATE_FIELDS, REQUEST_FIELDS, Feed
from reranker.interactions import Interactions
from reranker.reading import FEED_LAYOUT, INTERACTION_LAYOUT
from reranker.signals import SIGNAL_NAMES

# fields that hold the form of the feed and not a column: each with the columns that fill it
FORM = {
    "offsets": {"request_id"},
    "url_offsets": {"urls"},
    "attributes": {"attr_<name>"},
    "signals": set(),
    "interactions": set(),
}


def named(*levels):
    return {column.name for column in schema.COLUMNS if column.level in levels}


def test_the_committed_document_is_the_generated_one():
    committed = Path(__file__).parents[1] / "docs" / "feed-schema.md"
    assert committed.read_text(encoding="utf-8") == schema.markdown()


def test_the_table_has_every_field_of_feed_and_interactions():
    assert named("request") == set(REQUEST_FIELDS)
    assert named("candidate") == {*CANDIDATE_FIELDS, "urls", "attr_<name>"}
    own = {item.name for item in fields(Feed)} - FORM.keys()
    assert own <= named("request", "candidate")
    assert set().union(*FORM.values()) <= named("request", "candidate")
    assert named("interaction") == {item.name for item in fields(Interactions)}


def test_the_document_names_every_signal_and_every_column_that_a_file_may_have():
    text = schema.markdown()
    assert all(f"| `{name}` |" in text for name in SIGNAL_NAMES)
    probabilities = {f"p_{name}" for name in SIGNAL_NAMES}
    assert named("request", "candidate") - {"attr_<name>"} == FEED_LAYOUT.keys() - probabilities - {
        *SIGNAL_NAMES
    }
    assert named("interaction") == INTERACTION_LAYOUT.keys()


def test_types_in_the_document_agree_with_what_is_read():
    starts = {
        "id": ("string or integer",),
        "text": ("string", "one of", "a signal's name"),
        "number": ("number", "integer"),
        "time": ("time",),
        "flag": ("boolean",),
        "links": ("list of strings",),
    }
    for column in schema.COLUMNS:
        layout = INTERACTION_LAYOUT if column.level == "interaction" else FEED_LAYOUT
        if column.name in layout:
            assert column.type.startswith(starts[layout[column.name]]), column.name
    assert len({(column.level, column.name) for column in schema.COLUMNS}) == len(schema.COLUMNS)
