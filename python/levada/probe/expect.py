"""What an answer must be: a success, or an error in the profile's words.

Pure. Status, type, param and code are exact; a message is read only for the name of the field.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from levada.probe.client import Answer
from levada.probe.rows import BrokenError, Judge
from levada.profiles import Profile

INVALID = "invalid_request_error"
ENVELOPE = {"message", "type", "param", "code"}
# What Anthropic's clients are told, where it is not INVALID.
ANTHROPIC = {401: "authentication_error", 404: "not_found_error", 413: "request_too_large"}
# In such an answer a strict server calls a field unknown that goes to the engine here.
UNKNOWN = ("unknown_parameter", "unknown parameter", "unrecognized request argument")


def body_of(answer: Answer) -> Any:
    """The JSON of an answer that says it is JSON."""
    kind = (answer.header("content-type") or "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise BrokenError(f"the content type is '{kind}', not application/json")
    try:
        return json.loads(answer.body)
    except ValueError:
        raise BrokenError("the body is not JSON") from None


def success(answer: Answer) -> dict[str, Any]:
    """The object of a 200."""
    accepted(answer)
    found = body_of(answer)
    if not isinstance(found, dict):
        raise BrokenError("the body is no object")
    return found


def objects(found: dict[str, Any], name: str) -> list[dict[str, Any]]:
    """The member that must be a list of objects."""
    value = found.get(name)
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
        raise BrokenError(f"'{name}' is no list of objects")
    return value


def is_stream(answer: Answer) -> bool:
    """Whether it says it is a stream of events."""
    return (answer.header("content-type") or "").lower().startswith("text/event-stream")


def accepted(answer: Answer) -> None:
    """A 200, whatever is in it."""
    if answer.status != 200:
        raise BrokenError(f"the status is {answer.status}, not 200")


def exactly(status: int, body: str) -> Judge:
    """This status, and this body byte by byte."""

    def judge(answer: Answer) -> None:
        if answer.status != status:
            raise BrokenError(f"the status is {answer.status}, not {status}")
        if answer.body != body.encode():
            raise BrokenError(f"the body is not {body}")

    return judge


def passed_on(answer: Answer) -> None:
    """The engine decides: a success or its own refusal, but no fault, and not unknown."""
    if answer.status >= 500:
        raise BrokenError(f"the status is {answer.status}: a fault for what a client sent")
    said = answer.body.decode(errors="replace").lower()
    if answer.status >= 400 and any(words in said for words in UNKNOWN):
        raise BrokenError("it is refused as unknown, not passed on")


def error(profile: Profile, answer: Answer, status: int) -> dict[str, Any]:
    """The error of an answer with this status: the envelope, and exactly its keys."""
    if answer.status != status:
        raise BrokenError(f"the status is {answer.status}, not {status}")
    body = body_of(answer)
    inner = body.get("error") if isinstance(body, dict) else None
    if not isinstance(inner, dict) or set(body) != {"error"}:
        raise BrokenError('the body is not {"error": {...}}')
    promised = ENVELOPE | ({"doc_url"} if status == 401 and profile.errors.doc_url else set())
    if set(inner) != promised:
        raise BrokenError(f"the error has the keys {sorted(inner)}, not {sorted(promised)}")
    for key in ("message", "type"):
        if not isinstance(inner[key], str) or not inner[key]:
            raise BrokenError(f"'{key}' is no text")
    for key in ("param", "code"):
        if not isinstance(inner[key], str | None):
            raise BrokenError(f"'{key}' is neither a text nor null")
    return inner


@dataclass(frozen=True)
class Refused:
    """A judge: refused with exactly these. It needs no model that answers."""

    profile: Profile
    param: str | None
    code: str | None
    status: int
    kind: str
    names: str
    message: str | None
    dialect: str

    def __call__(self, *answers: Answer) -> None:
        if self.dialect == "anthropic":
            found = anthropic_error(answers[-1], self.status)
        else:
            found = error(self.profile, answers[-1], self.status)
            wanted = {"type": self.kind, "param": self.param, "code": self.kept()}
            for key, value in wanted.items():
                if found[key] != value:
                    text = f"'{key}' is {json.dumps(found[key])}, not {json.dumps(value)}"
                    raise BrokenError(text)
        if self.names not in found["message"]:
            raise BrokenError(f"the message does not name '{self.names}'")
        if self.message is not None and found["message"] != self.message:
            raise BrokenError(f"the message is not {json.dumps(self.message)}")

    def kept(self) -> str | None:
        """The code as the profile tells it."""
        errors = self.profile.errors
        nulled = errors.code_null and self.status == 400 and self.code not in errors.code_keep
        return None if nulled else self.code


def refused(
    profile: Profile,
    param: str | None,
    code: str | None,
    status: int = 400,
    *,
    kind: str = INVALID,
    names: str = "",
    message: str | None = None,
    dialect: str = "openai",
) -> Refused:
    """Refused with exactly these; `names` stands in the message, `message` is all of it.
    Anthropic's clients are told a type and a message only.
    """
    return Refused(profile, param, code, status, kind, names, message, dialect)


def anthropic_error(answer: Answer, status: int) -> dict[str, Any]:
    """The error of an answer to Anthropic's clients, whose type follows from the status."""
    if answer.status != status:
        raise BrokenError(f"the status is {answer.status}, not {status}")
    body = body_of(answer)
    inner = body.get("error") if isinstance(body, dict) else None
    if not isinstance(inner, dict) or body.get("type") != "error":
        raise BrokenError('the body is not {"type": "error", "error": {...}}')
    wanted = ANTHROPIC.get(status, INVALID)
    if inner.get("type") != wanted:
        raise BrokenError(f"'type' is {json.dumps(inner.get('type'))}, not {json.dumps(wanted)}")
    if not isinstance(inner.get("message"), str) or not inner["message"]:
        raise BrokenError("'message' is no text")
    return inner
