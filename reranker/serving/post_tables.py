"""The tables of a post store. Another layout is another `SCHEMA_VERSION`, and old stores are refused."""

from reranker.serving.bluesky_records import POST

SCHEMA_VERSION = 1
APPLICATION_ID = 0x48415246  # tells our files from other programs'
SIGNALS = (
    "like",
    "reshare",
    "comment",
    "significant_comment",
    "reshare_with_text",
    "significant_reshare",
)
COUNTS = ", ".join(f'"{name}"' for name in SIGNALS)

TABLES = tuple(
    f"""
CREATE TABLE posts (
    id INTEGER PRIMARY KEY, uri TEXT NOT NULL UNIQUE, author TEXT NOT NULL, rev TEXT NOT NULL, parent TEXT,
    text TEXT, language TEXT, urls TEXT NOT NULL, media TEXT NOT NULL, sort_us INTEGER NOT NULL,
    n_acts INTEGER NOT NULL DEFAULT 0, {COUNTS.replace('",', '" INTEGER NOT NULL DEFAULT 0,')}
    INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX posts_by_time ON posts (sort_us);
CREATE INDEX posts_by_acts ON posts (n_acts, sort_us) WHERE n_acts > 0;
CREATE INDEX posts_by_author ON posts (author);
CREATE TABLE acts (
    id INTEGER PRIMARY KEY AUTOINCREMENT, actor TEXT NOT NULL, collection TEXT NOT NULL, rkey TEXT NOT NULL,
    signal TEXT NOT NULL, post INTEGER NOT NULL REFERENCES posts (id) ON DELETE CASCADE
);
CREATE UNIQUE INDEX acts_by_record ON acts (actor, rkey, collection, signal);
CREATE UNIQUE INDEX acts_by_post
    ON acts (post, actor, signal, CASE collection WHEN '{POST}' THEN rkey ELSE '' END);
CREATE TABLE hidden (did TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE stream (cursor_us INTEGER);
INSERT INTO stream VALUES (NULL);
CREATE TABLE snapshots (
    id TEXT PRIMARY KEY, feed TEXT NOT NULL, made_us INTEGER NOT NULL, posts TEXT NOT NULL, degraded TEXT
);
CREATE INDEX snapshots_by_time ON snapshots (feed, made_us);
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {SCHEMA_VERSION}
""".split(";")
)
