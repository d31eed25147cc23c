"""`GET /v1/usage` as OpenAPI: it is ours, and the same under every profile.

Pure. What may be asked is read by `levada.usage.query`; a test holds the two against each other.
"""

from typing import Any

PATH = "/v1/usage"
COUNT = {"type": "integer", "minimum": 0}
LATEST = 2**43


def parameters() -> list[dict[str, Any]]:
    """What the query may say."""
    time = {"type": "integer", "minimum": 0, "maximum": LATEST}
    return [
        _parameter("start_time", time, "From when on, in Unix seconds.", required=True),
        _parameter("end_time", time, "Until before when; if absent, up to now."),
        _parameter("bucket_width", {"enum": ["1m", "1h", "1d"], "default": "1d"}, "In UTC."),
        _parameter(
            "group_by",
            {"type": "array", "items": {"const": "model"}, "maxItems": 1},
            "A result for each.",
        ),
        _parameter(
            "limit",
            {"type": "integer", "minimum": 1, "maximum": 1440},
            "Buckets of a page: 60 of 1m (1440 at most), 24 of 1h (168), 7 of 1d (31).",
        ),
        _parameter("page", {"type": "string"}, "The `next_page` of the page before."),
    ]


def schemas() -> dict[str, dict[str, Any]]:
    """The page, and what it is made of."""
    result = {
        "object": {"const": "usage.result"},
        "model": {"type": ["string", "null"]},
        "input_tokens": COUNT,
        "output_tokens": COUNT,
        "input_cached_tokens": COUNT,
        "num_model_requests": COUNT,
    }
    bucket = {
        "object": {"const": "bucket"},
        "start_time": COUNT,
        "end_time": COUNT,
        "results": {"type": "array", "items": {"$ref": "#/components/schemas/UsageResult"}},
    }
    page = {
        "object": {"const": "page"},
        "data": {"type": "array", "items": {"$ref": "#/components/schemas/UsageBucket"}},
        "has_more": {"type": "boolean"},
        "next_page": {"type": ["string", "null"]},
    }
    shapes = {"UsageResult": result, "UsageBucket": bucket, "UsagePage": page}
    return {name: _object(members) for name, members in shapes.items()}


def _parameter(name: str, schema: Any, words: str, *, required: bool = False) -> dict[str, Any]:
    told = {"name": name, "in": "query", "required": required, "schema": schema}
    return {**told, "description": words}


def _object(members: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": members, "required": list(members)}
