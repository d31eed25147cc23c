"""Good answers of the endpoints beside chat, completions and embeddings. Pure: values only."""

from typing import Any

from levada.profiles import answers

TEXT = {"type": "output_text", "text": "Hello.", "annotations": []}
COUNTED = {"input_tokens": 5, "output_tokens": 3, "total_tokens": 8}
SCORES = [{"index": 0, "relevance_score": 0.9}, {"index": 1, "relevance_score": 0.1}]
PICTURES = {"created": 1_700_000_000, "data": [{"b64_json": "eA=="}]}
HEARD = {"text": "Hello."}


def right(name: str, model: str) -> Any:
    """The body of an answer; sound is a text."""
    every: dict[str, Any] = {
        "responses": response(model, "completed"),
        "messages": message(model, [{"type": "text", "text": "Hello."}]),
        "messages.count_tokens": {"input_tokens": 5},
        "rerank": {"id": "rerank-1", "model": model, "results": SCORES},
        "score": {
            "object": "list",
            "model": model,
            "data": [{"index": 0, "object": "score", "score": 0.9}],
        },
        "tokenize": {"count": 2, "tokens": [1, 2]},
        "detokenize": {"prompt": "Hello."},
        "moderations": {"id": "modr-1", "model": model, "results": [{"flagged": False}]},
        "images.generations": PICTURES,
        "images.edits": PICTURES,
        "audio.transcriptions": HEARD,
        "audio.translations": HEARD,
        "audio.speech": "a sound",
    }
    return every[name]


def media(name: str) -> str:
    """The type of an answer."""
    return answers.answer(name).media.replace("*", "mpeg")


def response(model: str, status: str) -> dict[str, Any]:
    output = [{"type": "message", "id": "msg_1", "role": "assistant", "content": [TEXT]}]
    return {
        "id": "resp_1",
        "object": "response",
        "created_at": 1_700_000_000,
        "model": model,
        "status": status,
        "output": output if status == "completed" else [],
        "usage": COUNTED if status == "completed" else None,
    }


def message(model: str, content: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": content,
        "stop_reason": "end_turn" if content else None,
        "usage": {"input_tokens": 5, "output_tokens": 3},
    }


def typed(name: str, model: str) -> list[dict[str, Any]]:
    """The events of a stream."""
    if name == "messages":
        block = {"type": "text", "text": ""}
        delta = {"type": "text_delta", "text": "Hello."}
        return [
            {"type": "message_start", "message": message(model, [])},
            {"type": "content_block_start", "index": 0, "content_block": block},
            {"type": "content_block_delta", "index": 0, "delta": delta},
            {"type": "content_block_stop", "index": 0},
            {
                "type": "message_delta",
                "delta": {"stop_reason": "end_turn"},
                "usage": {"output_tokens": 3},
            },
            {"type": "message_stop"},
        ]
    events: list[dict[str, Any]] = [
        {"type": "response.created", "response": response(model, "in_progress")},
        {"type": "response.output_text.delta", "item_id": "msg_1", "delta": "Hello."},
        {"type": "response.completed", "response": response(model, "completed")},
    ]
    return [{**one, "sequence_number": at} for at, one in enumerate(events)]
