"""How three kinds of server say the same: vLLM, llama.cpp, and one that counts at the end.

Law: pure; values only. Each says with every chunk how many tokens there are by then and what it has
told of them: (prompt, completion, cached, reasoning), or nothing as long as nothing was told.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

from loadtests.chaos.script import Script

Told = tuple[int, int, int, int]


class Plain:
    """Tells usage with a whole answer, and at the end of a stream where it is asked to."""

    owner: ClassVar[dict[str, Any]] = {"owned_by": "someone"}

    def __init__(self, script: Script, asked: Any, path: str, model: str) -> None:
        self.script, self.model = script, asked.get("model", model)
        self.chat = path.endswith("/chat/completions")
        self.vectors = path.endswith("/embeddings")
        options = asked.get("stream_options") or {}
        self.final = bool(options.get("include_usage"))
        self.runs = self.final and bool(options.get("continuous_usage_stats"))
        self.timed = asked.get("timings_per_token") is True
        # A gateway that asks once for each choice asks for one.
        self.n = 1 if self.vectors else asked.get("n") or 1
        self.counts = [0] * self.n
        self.generated = 0

    def text(self, start: int, count: int) -> str:
        """Tokens that say whose they are, and which."""
        return "".join(f"{self.script.nonce}.{at} " for at in range(start, start + count))

    def told(self) -> Told:
        script = self.script
        made = sum(self.counts)
        return script.prompt, made, min(script.cached, script.prompt), self.reasoned(made)

    def reasoned(self, made: int) -> int:
        return min(self.script.reasoning, made)

    def usage(self, told: Told) -> dict[str, Any]:
        prompt, completion, cached, reasoning = told
        return {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
            "prompt_tokens_details": {"cached_tokens": cached},
            "completion_tokens_details": {"reasoning_tokens": reasoning},
        }

    def frame(self, choices: list[Any], **more: Any) -> dict[str, Any]:
        kind = "chat.completion.chunk" if self.chat else "text_completion"
        base = {"id": "x-1", "object": kind, "created": 1_700_000_000, "model": self.model}
        return {**base, "choices": choices, **more}

    def choice(self, at: int, text: str, finish: str | None = None) -> dict[str, Any]:
        said: dict[str, Any] = {"delta": {"content": text} if text else {}}
        return {"index": at, **(said if self.chat else {"text": text}), "finish_reason": finish}

    def whole(self) -> tuple[Told | None, dict[str, Any]]:
        if self.vectors:
            data = [{"object": "embedding", "index": 0, "embedding": [0.5, -0.25]}]
            prompt = self.script.prompt
            usage = {"prompt_tokens": prompt, "total_tokens": prompt}
            return (prompt, 0, 0, 0), {"object": "list", "data": data, "usage": usage}
        text = self.text(0, self.script.tokens)
        said = {"message": {"role": "assistant", "content": text}} if self.chat else {"text": text}
        choices = [{"index": at, **said, "finish_reason": "stop"} for at in range(self.n)]
        self.counts = [self.script.tokens] * self.n
        self.generated = sum(self.counts)
        value = self.frame(choices, object="chat.completion" if self.chat else "text_completion")
        if not self.script.told:
            return None, value
        return self.told(), {**value, "usage": self.usage(self.told())}

    def stream(self) -> Iterator[tuple[int, Told | None, list[Any]]]:
        """The chunks up to the last token."""
        yield self.begin()
        packed = self.script.packed
        while any(count < self.script.tokens for count in self.counts):
            for at in range(self.n):
                start = self.counts[at]
                count = min(packed, self.script.tokens - start)
                if count:
                    self.counts[at] += count
                    self.generated += count
                    choice = self.choice(at, self.text(start, count))
                    yield self.chunk(choice, at)

    def begin(self) -> tuple[int, Told | None, list[Any]]:
        role = {"delta": {"role": "assistant", "content": ""}} if self.chat else {"text": ""}
        return self.chunk({"index": 0, **role, "finish_reason": None}, 0)

    def chunk(self, choice: Any, at: int) -> tuple[int, Told | None, list[Any]]:
        return self.generated, None, [self.frame([choice])]

    def finish(self) -> list[Any]:
        return [self.frame([self.choice(at, "", "stop")]) for at in range(self.n)]

    def last(self, absurd: bool) -> tuple[Told | None, list[Any]]:
        """What is told behind the last token."""
        if not self.final or not self.script.told:
            return None, []
        usage = self.usage(self.told())
        if absurd:
            usage["completion_tokens"] = [-1, 2**63, "7"][self.generated % 3]
            return None, [self.frame([], usage=usage)]
        return self.told(), [self.frame([], usage=usage)]


class Vllm(Plain):
    """Tells the count of its choice with every chunk, where it is asked to."""

    owner: ClassVar[dict[str, Any]] = {"owned_by": "vllm", "max_model_len": 100_000}

    def chunk(self, choice: Any, at: int) -> tuple[int, Told | None, list[Any]]:
        if not self.runs or not self.script.told:
            return super().chunk(choice, at)
        prompt, _, cached, _ = self.told()
        own = self.counts[at]
        # Reasoning is told at the end alone.
        usage = self.usage((prompt, own, cached, 0))
        return self.generated, (*self.told()[:3], 0), [self.frame([choice], usage=usage)]


class LlamaCpp(Plain):
    """Tells timings with every chunk, where it is asked to; and its usage once for each choice."""

    owner: ClassVar[dict[str, Any]] = {"owned_by": "llamacpp", "meta": {"n_vocab": 32000}}

    def reasoned(self, made: int) -> int:
        return 0

    def usage(self, told: Told) -> dict[str, Any]:
        usage = super().usage(told)
        del usage["completion_tokens_details"]
        return usage

    def timings(self, at: int) -> dict[str, Any]:
        prompt, _, cached, _ = self.told()
        return {"cache_n": cached, "prompt_n": prompt - cached, "predicted_n": self.counts[at]}

    def chunk(self, choice: Any, at: int) -> tuple[int, Told | None, list[Any]]:
        if not self.timed or not self.script.told:
            return super().chunk(choice, at)
        return self.generated, self.told(), [self.frame([choice], timings=self.timings(at))]

    def last(self, absurd: bool) -> tuple[Told | None, list[Any]]:
        told, values = super().last(absurd)
        if told is None:
            return told, values
        prompt, _, cached, _ = told
        each = [self.usage((prompt, count, cached, 0)) for count in self.counts]
        return told, [
            self.frame([], usage=usage, timings=self.timings(at)) for at, usage in enumerate(each)
        ]


SHAPES = {"plain": Plain, "vllm": Vllm, "llama.cpp": LlamaCpp}


def models(shape: str, served: list[str]) -> dict[str, Any]:
    """The list of models, by which the gateway knows the engine."""
    card = {"object": "model", "created": 1_700_000_000, **SHAPES[shape].owner}
    return {"object": "list", "data": [{"id": name, **card} for name in served]}
