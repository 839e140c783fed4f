"""A change in how posts are read shows here, so that READING_VERSION is raised with it."""

import hashlib
import json

import numpy as np

from models.calibration import Platt, calibrated
from models.emoji import with_emoji_words
from models.familiarity import familiarity
from models.language import languages_of
from models.links import LinkEvidence
from models.normalise import normalised
from models.scores import READING_VERSION
from models.windows import pieces

DIGEST = "4ad4e22fdd9b006a"
TEXTS = [
    "Thanks, that helped me a lot!",
    "RT @user1 @user2: look at https://example.org/a?b=c &amp;amp; tell me@example.org",
    "you are an i d i o t, a m0ron and a st\u00fcpid f*ck",
    "1d10t n00b covid19 h1n1 4th C3PO XVIII KKK stuuuupid",
    "\u0430 f\u0430ke \u0456diot\u200b with\u00ad hidden l\u0336e\u0336t\u0336t\u0336ers",
    "you \U0001f412 \U0001f44d\U0001f3fd \U0001f52a \u2764\ufe0f",
    "<b>bold</b> [URL] {{name}} <user>",
    "Das war sehr hilfreich, danke euch allen und bis morgen.",
    "C'est vraiment une tr\u00e8s bonne id\u00e9e, merci beaucoup.",
    "\u043f\u0440\u0438\u0432\u0435\u0442 \u043c\u0438\u0440, \u043a\u0430\u043a \u0434\u0435\u043b\u0430",
    "lol omg wtf hahaha",
    "12345 !!!",
    "",
]


def test_what_is_read_is_that_of_the_stated_version() -> None:
    """After a change on purpose: raise READING_VERSION, then put the digest of the message here."""
    clean = [normalised(text) for text in TEXTS]
    distance = np.array([0.5, 2.0, 8.0])
    platt = Platt(1.3, -2.0, (0.02, 0.001, 0.001, 0.01), 0.05, True, 100, 10)
    numbers = [
        *calibrated(np.array([[-3.0], [0.5], [4.0]]), [platt], familiarity(distance, 1.5)),
        LinkEvidence(0.05).combine(np.array([0.02, 0.6], np.float32), np.array([0.1, np.nan])),
    ]
    read = {
        "text": clean,
        "emoji": [with_emoji_words(text) for text in clean],
        "language": languages_of(clean, [None] * len(clean), ["en"]),
        "pieces": list(pieces(" ".join(TEXTS), size=120, shared=30)),
        "numbers": [np.round(found.astype(float), 4).tolist() for found in numbers],
    }
    digest = hashlib.sha256(json.dumps(read).encode()).hexdigest()[:16]
    assert (READING_VERSION, digest) == (1, DIGEST)
