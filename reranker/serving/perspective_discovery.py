"""The discovery document, from which Google's client libraries build themselves.

Its schemas are made from the types that requests are checked with, so the two cannot drift apart.
"""

import re
from typing import Any
from urllib.parse import quote

from fastapi import Request

from reranker.serving.perspective_errors import invalid_request
from reranker.serving.perspective_schema import (
    AnalyzeCommentRequest,
    AnalyzeCommentResponse,
    Message,
    SuggestCommentScoreRequest,
    SuggestCommentScoreResponse,
)

NAME, VERSION = "commentanalyzer", "v1alpha1"

_HOST = re.compile(
    r"(?:[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,251}[A-Za-z0-9])?|\[[0-9A-Fa-f:.]{2,45}\])(?::\d{1,5})?"
)
_FORMATS = {"integer": "int32", "number": "float"}
_KEPT = ("type", "description", "minimum", "maximum")

Json = dict[str, Any]


def discovery_document(root: str, key: str | None = None) -> Json:
    """The document of a server at `root`, a URL that ends in "/".

    The Python client puts its key into single calls, but sends a batch to the address given here as it is:
    so the `key` that it sent when asking for this document becomes part of that address.
    """
    messages = (
        AnalyzeCommentRequest,
        AnalyzeCommentResponse,
        SuggestCommentScoreRequest,
        SuggestCommentScoreResponse,
    )
    schemas: Json = {}
    for message in messages:
        schemas |= _schemas(message)
    methods = {
        "analyze": _method("analyze", "Scores a comment.", messages[0], messages[1]),
        "suggestscore": _method("suggestscore", "Takes a better score.", messages[2], messages[3]),
    }
    return {
        "kind": "discovery#restDescription",
        "discoveryVersion": "v1",
        "id": f"{NAME}:{VERSION}",
        "name": NAME,
        "version": VERSION,
        "revision": "1",
        "title": "Comment analyzer",
        "description": "Scores comments with the model that this server has loaded.",
        "protocol": "rest",
        "rootUrl": root,
        "baseUrl": root,
        "basePath": "",
        "servicePath": "",
        "batchPath": "batch" if key is None else f"batch?key={quote(key, safe='')}",
        "parameters": {
            "alt": {"type": "string", "location": "query", "default": "json", "description": "json"},
            "fields": {"type": "string", "location": "query", "description": "Ignored."},
            "key": {"type": "string", "location": "query", "description": "API key, if there are keys."},
            "prettyPrint": {"type": "boolean", "location": "query", "description": "Ignored."},
            "quotaUser": {"type": "string", "location": "query", "description": "Ignored."},
        },
        "schemas": schemas,
        "resources": {"comments": {"methods": methods}},
    }


def root_url(request: Request) -> str:
    """The URL that the request came to, up to the root of this application.

    Raises:
        ApiError: the host of the request is no host name.
    """
    host = request.headers.get("host", "")
    if not _HOST.fullmatch(host):
        raise invalid_request("Host: expected a host name or address, and a port if need be")
    return f"{request.url.scheme}://{host}{request.scope.get('root_path', '').rstrip('/')}/"


def json_schema(message: type[Message]) -> Json:
    """The JSON schema of a message without references, as OpenAPI takes it in one place."""
    schema = message.model_json_schema()
    definitions = schema.pop("$defs", {})
    found: Json = _inlined(schema, definitions)
    return found


def _method(name: str, about: str, request: type[Message], response: type[Message]) -> Json:
    path = f"{VERSION}/comments:{name}"
    return {
        "id": f"{NAME}.comments.{name}",
        "description": about,
        "httpMethod": "POST",
        "path": path,
        "flatPath": path,
        "parameters": {},
        "parameterOrder": [],
        "request": {"$ref": request.__name__},
        "response": {"$ref": response.__name__},
    }


def _schemas(message: type[Message]) -> Json:
    """The message and those that it holds, in the dialect of discovery documents."""
    schema = message.model_json_schema(ref_template="{model}")
    found = schema.pop("$defs", {}) | {message.__name__: schema}
    return {
        name: {
            "id": name,
            "type": "object",
            "description": entry["description"],
            "properties": {field: _property(value) for field, value in entry["properties"].items()},
        }
        for name, entry in found.items()
    }


def _property(value: Json) -> Json:
    """A field; that every one may be null goes without saying in this dialect."""
    (kind,) = [one for one in value.get("anyOf", [value]) if one.get("type") != "null"]
    if "$ref" in kind:
        return {"$ref": kind["$ref"]}
    found: Json = {key: str(entry) for key, entry in (value | kind).items() if key in _KEPT}
    if kind["type"] in _FORMATS:
        found["format"] = _FORMATS[kind["type"]]
    if kind["type"] == "array":
        found["items"] = _property(kind["items"])
    if kind["type"] == "object":
        found["additionalProperties"] = _property(kind["additionalProperties"])
    return found


def _inlined(value: Any, definitions: Json) -> Any:
    if isinstance(value, list):
        return [_inlined(one, definitions) for one in value]
    if not isinstance(value, dict):
        return value
    if "$ref" in value:
        return _inlined(definitions[value["$ref"].rpartition("/")[2]], definitions)
    return {key: _inlined(one, definitions) for key, one in value.items()}
