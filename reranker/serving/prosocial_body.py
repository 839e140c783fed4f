"""From the bytes of a `/rank` request to a checked `RankRequest`, or to one clear error.

The content type is not looked at: browsers send `text/plain` to spare themselves the CORS preflight. Errors
say where, what was expected and what was found, without a word of anybody's text.
"""

import json
import re
from collections.abc import Hashable
from typing import Any

from pydantic import ValidationError

from reranker.serving.prosocial_schema import READERS, Engagements, RankRequest
from reranker.serving.settings import ServeSettings

_NUMERAL = re.compile(r"[-+0-9.,:/ TZ]{1,40}")  # nothing that could be prose

_EXPECTED = {
    **dict.fromkeys(("model_type", "model_attributes_type", "dict_type"), "an object"),
    **dict.fromkeys(
        ("int_type", "int_parsing", "int_parsing_size", "int_from_float", "finite_number"), "an integer"
    ),
    **dict.fromkeys(("bool_type", "bool_parsing"), "true or false"),
    "list_type": "a list",
    "string_type": "text",
}


class RequestError(ValueError):
    """A request that is refused, and the HTTP status that says so."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


def read_request(raw: bytes, settings: ServeSettings) -> RankRequest[Engagements]:
    """The checked request.

    Raises:
        RequestError: 413 for more items or longer texts than the settings allow, 400 for anything else.
    """
    content = _parsed(raw)
    items = content.get("items") if isinstance(content, dict) else None
    if isinstance(items, list) and len(items) > settings.max_items:
        raise RequestError(f"items: expected at most {settings.max_items}, got {len(items)}", 413)
    reader = READERS.get(_platform(content), READERS["twitter"])
    try:
        request = reader.validate_python(content)
    except ValidationError as error:
        raise RequestError(_first_problem(error)) from None
    _check_unique(request)
    _check_texts(request, settings.max_text_bytes)
    return request


def _refuse_constant(name: str) -> None:
    raise ValueError(f"expected JSON, got the number {name}")


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)


def _parsed(raw: bytes) -> Any:
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise RequestError(f"body: expected UTF-8, got another byte at {error.start}") from None
    try:
        return _DECODER.decode(text)
    except json.JSONDecodeError as error:
        got = "nothing" if not text.strip() else f"{error.msg[:1].lower()}{error.msg[1:]} at {error.pos}"
        raise RequestError(f"body: expected JSON, got {got}") from None
    except RecursionError:
        raise RequestError("body: expected a request, got JSON that is nested too deeply") from None
    except ValueError as error:  # NaN and its like, or an integer of thousands of digits
        got = (
            str(error)
            if str(error).startswith("expected")
            else "expected JSON, got a number too long to read"
        )
        raise RequestError(f"body: {got}") from None


def _platform(content: Any) -> Any:
    session = content.get("session") if isinstance(content, dict) else None
    platform = session.get("platform") if isinstance(session, dict) else None
    return platform if isinstance(platform, Hashable) else None


def _check_unique(request: RankRequest[Engagements]) -> None:
    first: dict[str, int] = {}
    for i, item in enumerate(request.items):
        if first.setdefault(item.id, i) != i:
            raise RequestError(f"items.{i}.id: expected each id once, got that of items.{first[item.id]}")


def _check_texts(request: RankRequest[Engagements], most: int) -> None:
    for i, item in enumerate(request.items):
        for name, text in (("text", item.text), ("title", item.title or "")):
            if len(text) * 4 > most and (size := len(text.encode())) > most:
                raise RequestError(f"items.{i}.{name}: expected at most {most} bytes, got {size}", 413)


def _first_problem(error: ValidationError) -> str:
    problem = error.errors(include_url=False)[0]
    # The members of a union stand in the path by the names of their classes.
    path = [str(part) for part in problem["loc"] if isinstance(part, int) or part.islower()]
    where = ".".join(path) or "body"
    if problem["type"] == "missing":
        return f"{where}: expected a value, got nothing"
    return f"{where}: expected {_expected(problem['type'], problem['msg'])}, got {_got(problem['input'])}"


def _expected(kind: str, message: str) -> str:
    if kind == "value_error":
        return message.removeprefix("Value error, ")
    if kind.startswith("datetime"):
        return "a time such as 2024-10-01T12:30:00Z, 2024-10-01 12:30:00 or 1727785800"
    if kind in _EXPECTED:
        return _EXPECTED[kind]
    words = message.removeprefix("Input should be ")
    return words.replace("greater than or equal to", "at least").replace("less than or equal to", "at most")


def _got(value: Any) -> str:
    """What was found, in words that repeat no text."""
    if value is None or isinstance(value, bool | float):
        return json.dumps(value)
    if isinstance(value, int):
        return str(value) if abs(value) < 10**20 else "a number of more than 20 digits"
    if isinstance(value, str):
        return f'"{value}"' if _NUMERAL.fullmatch(value) else f"text of length {len(value)}"
    return f"a list of {len(value)}" if isinstance(value, list) else "an object"
