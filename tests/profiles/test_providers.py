"""What each provider's profile does to a request, by the ids of the contract."""

import json
import time
from typing import Any

import pytest
from issuer import Issuer, Signer
from provider_host import Hosts, error
from upstream import (
    DONE,
    chat_chunk,
    chunked,
    close,
    error_answer,
    event,
    free_port,
    json_answer,
    pause,
    send,
    stream_head,
)


def refused(got: tuple[Any, list[Any]]) -> tuple[int, Any, Any]:
    """Status, param and code of a refusal that no backend has seen."""
    answer, seen = got
    assert seen == []
    return answer.status, error(answer)["param"], error(answer)["code"]


def test_md_2_embeddings_are_nowhere(host: Hosts, door: str) -> None:
    got = host("mittwald-dedicated", door).ask("/v1/embeddings", {"model": "m", "input": "x"})
    assert refused(got) == (404, None, None)


def test_md_3_stream_options_need_a_stream(host: Hosts, door: str) -> None:
    got = host("mittwald-dedicated", door).chat(stream_options={"include_usage": True})
    assert refused(got) == (400, "stream_options", None)


@pytest.mark.parametrize("user", ["me", 5, None])
def test_md_5_user_never_reaches_the_engine(host: Hosts, door: str, user: Any) -> None:
    answer, seen = host("mittwald-dedicated", door).chat(user=user, seed=1)
    assert answer.status == 200
    assert list(seen[0]) == ["model", "messages", "seed"]


def test_md_11_a_stream_that_breaks_ends_with_its_connection(host: Hosts, door: str) -> None:
    one = host("mittwald-dedicated", door)
    one.script = (send(stream_head() + chunked(chat_chunk("a"), end=False)), close())
    answer, _ = one.chat(stream=True)
    assert (answer.status, answer.complete) == (200, False)
    assert b'"a"' in answer.body
    assert b"[DONE]" not in answer.body and b"error" not in answer.body


def test_ms_4_top_k_reaches_the_engine(host: Hosts, door: str) -> None:
    answer, seen = host("mittwald-shared", door).chat(top_k=10)
    assert (answer.status, seen[0]["top_k"]) == (200, 10)


def test_ms_5_response_format_is_ignored(host: Hosts, door: str) -> None:
    answer, seen = host("mittwald-shared", door).chat(response_format={"type": "json_object"})
    assert answer.status == 200
    assert "response_format" not in seen[0]


def test_ms_6_enable_thinking_counts_only_where_it_is_documented(host: Hosts, door: str) -> None:
    one = host("mittwald-shared", door)
    assert "enable_thinking" not in one.chat(enable_thinking=False)[1][0]
    nested = {"enable_thinking": False}
    assert one.chat(chat_template_kwargs=nested)[1][0]["chat_template_kwargs"] == nested
    got = one.chat(chat_template_kwargs={"chat_template": "{{ 1 }}"})
    assert refused(got) == (400, "chat_template_kwargs.chat_template", "unknown_parameter")


def test_io_1_top_p_of_minus_one_is_off(host: Hosts, door: str) -> None:
    one = host("ionos", door)
    assert "top_p" not in one.chat(top_p=-1)[1][0]
    assert one.chat(top_p=0.5)[1][0]["top_p"] == 0.5
    assert refused(one.chat(top_p=1.5)) == (400, "top_p", "decimal_above_max_value")


def test_io_3_five_stops_are_too_many(host: Hosts, door: str) -> None:
    got = host("ionos", door).chat(stop=list("abcde"))
    assert refused(got) == (400, "stop", "array_above_max_length")


def test_io_4_a_prompt_is_a_string(host: Hosts, door: str) -> None:
    got = host("ionos", door).ask("/v1/completions", {"model": "m", "prompt": ["x"]})
    assert refused(got) == (400, "prompt", "invalid_type")


def test_fx_2_only_a_single_choice(host: Hosts, door: str) -> None:
    one = host("flexai", door)
    assert refused(one.chat(n=2)) == (400, "n", None)
    assert [one.chat(n=n)[0].status for n in (1, None)] == [200, 200]


def test_fx_3_an_unknown_field_reaches_the_engine(host: Hosts, door: str) -> None:
    assert host("flexai", door).chat(zzz={"a": [1]})[1][0]["zzz"] == {"a": [1]}


def test_fx_4_logprobs_reach_the_engine(host: Hosts, door: str) -> None:
    assert host("flexai", door).chat(logprobs="any")[1][0]["logprobs"] == "any"


def test_fx_5_an_encoding_of_null_is_refused(host: Hosts, door: str) -> None:
    one = host("flexai", door)
    body = {"model": "m", "input": "x"}
    got = one.ask("/v1/embeddings", {**body, "encoding_format": None})
    assert refused(got) == (400, "encoding_format", None)
    assert one.ask("/v1/embeddings", {**body, "encoding_format": "base64"})[0].status == 200
    assert one.ask("/v1/embeddings", body)[0].status == 200


WRONG = {
    "messages": ["x"],
    "temperature": "x",
    "top_p": "x",
    "max_tokens": 0,
    "stop": 1,
    "seed": "x",
    "user": 1,
    "stream": 1,
    "tools": "x",
    "tool_choice": 1,
    "response_format": 1,
    "presence_penalty": "x",
    "frequency_penalty": "x",
}


@pytest.mark.parametrize("field", WRONG)
def test_fx_6_a_wrong_type_is_refused_with_its_path(host: Hosts, door: str, field: str) -> None:
    status, param, code = refused(host("flexai", door).chat(**{field: WRONG[field]}))
    assert (status, code) == (400, None)
    assert param == ("messages[0]" if field == "messages" else field)


@pytest.mark.parametrize("field", ["user", "tools", "tool_choice", "response_format"])
def test_fx_6_a_null_counts_where_the_types_know_none(host: Hosts, door: str, field: str) -> None:
    assert refused(host("flexai", door).chat(**{field: None})) == (400, field, None)


def test_fx_7_a_401_says_where_to_get_a_key(host: Hosts, door: str) -> None:
    one = host("flexai", door)
    answer, _ = one.ask("/v1/models", method="GET", key="sk-wrong")
    assert (answer.status, error(answer)["type"]) == (401, "authentication_error")
    assert error(answer)["doc_url"] == "https://tokens.flex.ai/dashboard/keys"
    assert "doc_url" not in error(one.chat(n=2)[0])


def test_fx_an_unknown_model_is_a_400(host: Hosts, door: str) -> None:
    got = host("flexai", door).chat(model="foo")
    assert refused(got) == (400, None, "model_not_found")
    assert error(got[0])["message"] == (
        "Invalid 'model'. The model 'foo' does not exist or you do not have access."
    )


def test_fx_13_an_organization_changes_nothing(host: Hosts, door: str) -> None:
    message = {"role": "user", "content": "hello"}
    body = {"model": "m", "messages": [message]}
    answer, seen = host("flexai", door).ask(
        "/v1/chat/completions", body, openai_organization="org-x", openai_project="p"
    )
    assert answer.status == 200
    assert seen == [body]


MODEL = {"name": "m", "backends": ["one"]}
USAGE = {
    "prompt_tokens": 9,
    "completion_tokens": 4,
    "total_tokens": 13,
    "prompt_tokens_details": {"cached_tokens": 5},
}


def with_model(**words: Any) -> dict[str, Any]:
    """A configuration in which the model is declared."""
    return {"models": [{**MODEL, **words}]}


def chunk(**members: Any) -> bytes:
    base = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    return event({**base, **members})


def test_md_1_a_401_in_the_providers_own_form(host: Hosts, door: str) -> None:
    one = host("mittwald-dedicated", door, "strict_quirks: true")
    answer, _ = one.ask("/v1/models", method="GET", key="sk-wrong")
    assert (answer.status, answer.body) == (401, b'{"error": "Unauthorized"}')
    plain, _ = host("mittwald-dedicated", door).ask("/v1/models", method="GET", key="sk-wrong")
    assert error(plain)["code"] == "invalid_api_key"


def test_md_4_a_token_beyond_the_vocabulary(host: Hosts, door: str) -> None:
    one = host("mittwald-dedicated", door, **with_model(abilities={"vocabulary": 100}))
    got = one.chat(logit_bias={"7": 1, "100": 1})
    assert refused(got) == (400, "logit_bias", None)
    assert error(got[0])["message"] == "Invalid key in 'logit_bias': 100. Maximum value is 99."
    assert one.chat(logit_bias={"99": 1})[0].status == 200


CALLS = [
    {
        "index": at,
        "id": f"call_{at}",
        "type": "function",
        "function": {"name": "f", "arguments": "{}"},
    }
    for at in range(3)
]


def test_md_6_at_most_one_tool_call(host: Hosts, door: str) -> None:
    one = host("mittwald-dedicated", door)
    message = {"role": "assistant", "content": None, "tool_calls": CALLS}
    choice = {"index": 0, "message": message, "finish_reason": "tool_calls"}
    whole = {
        "id": "c",
        "object": "chat.completion",
        "model": "m",
        "choices": [choice],
        "usage": USAGE,
    }
    tool = {"type": "function", "function": {"name": "f"}}
    for parallel, count in ((False, 1), (True, 3), (None, 3)):
        one.script = (send(json_answer(whole)),)
        answer, seen = one.chat(tools=[tool], parallel_tool_calls=parallel)
        assert seen[0]["parallel_tool_calls"] is parallel
        calls = json.loads(answer.body)["choices"][0]["message"]["tool_calls"]
        assert calls == CALLS[:count]


def test_md_6_at_most_one_tool_call_in_a_stream(host: Hosts, door: str) -> None:
    one = host("mittwald-dedicated", door)
    events = [
        chunk(choices=[{"index": 0, "delta": {"tool_calls": [call]}, "finish_reason": None}])
        for call in CALLS
    ]
    events.append(chunk(choices=[{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]))
    for parallel, kept in ((False, [events[0], events[3]]), (True, events)):
        one.script = (send(stream_head() + chunked(b"".join(events) + DONE)),)
        answer, _ = one.chat(
            stream=True,
            parallel_tool_calls=parallel,
            tools=[{"type": "function", "function": {"name": "f"}}],
        )
        assert answer.body == b"".join(kept) + DONE


def test_md_8_several_choices_pass(host: Hosts, door: str) -> None:
    one = host("mittwald-dedicated", door)
    choices = [
        {"index": at, "message": {"role": "assistant", "content": "x"}, "finish_reason": "stop"}
        for at in range(3)
    ]
    one.script = (send(json_answer({"object": "chat.completion", "choices": choices})),)
    answer, seen = one.chat(n=3)
    assert (seen[0]["n"], json.loads(answer.body)["choices"]) == (3, choices)


def test_md_9_no_models_is_an_answer(host: Hosts, door: str) -> None:
    gone = {"name": "gone", "url": f"http://127.0.0.1:{free_port()}", "models": ["m"]}
    one = host("mittwald-dedicated", door, backends=[gone], breaker={"failures": 1})
    assert one.chat()[0].status == 503
    answer, _ = one.ask("/v1/models", method="GET")
    assert (answer.status, answer.body) == (200, b'{"object":"list","data":[]}')


def test_md_10_a_prompt_too_long_in_both_forms(host: Hosts, door: str) -> None:
    said = "This model's maximum context length is 16 tokens. However, you requested 20 tokens."
    flat = {
        "object": "error",
        "message": said,
        "type": "BadRequestError",
        "param": None,
        "code": 400,
    }
    for words in ("", "strict_quirks: true"):
        one = host("mittwald-dedicated", door, words)
        one.script = (send(json_answer(flat, status=400)),)
        answer, _ = one.chat()
        found = json.loads(answer.body)
        wanted = {"message": said, "type": "invalid_request_error", "param": "messages"}
        if words:
            assert found == {"object": "error", **wanted, "code": 400}
        else:
            assert found == {"error": {**wanted, "code": "context_length_exceeded"}}
        assert answer.status == 400


def test_md_12_a_body_over_25_mb(host: Hosts, door: str) -> None:
    one = host("mittwald-dedicated", door)
    body = b'{"model":"m","x":"' + b"x" * (26 * 1024 * 1024) + b'"}'
    answer, seen = one.ask("/v1/chat/completions", body)
    assert (answer.status, seen) == (413, [])
    assert error(answer)["message"].startswith("Maximum content size limit (26214400) exceeded")


def test_md_13_nothing_speaks_of_rates(host: Hosts, door: str) -> None:
    answer, _ = host("mittwald-dedicated", door).chat()
    assert not [name for name, _ in answer.headers if name.startswith("x-ratelimit")]


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/chat/completions"])
def test_ms_1_with_and_without_v1(host: Hosts, door: str, path: str) -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
    assert host("mittwald-shared", door).ask(path, body)[0].status == 200


def test_ms_2_models_need_a_key(host: Hosts, door: str) -> None:
    one = host("mittwald-shared", door)
    assert one.ask("/v1/models", method="GET", key="")[0].status == 401
    answer, _ = one.ask("/v1/models", method="GET", content_type="application/json")
    assert answer.status == 200


@pytest.mark.parametrize("profile", ["mittwald-shared", "ionos"])
def test_ms_3_and_io_9_when_to_come_again(host: Hosts, door: str, profile: str) -> None:
    one = host(profile, door)
    one.script = (send(error_answer(429, "slow down")),)
    answer, _ = one.chat()
    names = {name for name, _ in answer.headers}
    assert answer.status == 429
    assert ("retry-after" in names) == (profile == "ionos")
    assert "retry-after-ms" not in names


def test_ms_7_only_images_that_come_along(host: Hosts, door: str) -> None:
    one = host("mittwald-shared", door)

    def image(url: str) -> Any:
        part = {"type": "image_url", "image_url": {"url": url}}
        return one.chat(messages=[{"role": "user", "content": [part]}])

    got = image("https://example.test/a.png")
    assert refused(got) == (400, "messages[0].content[0].image_url.url", "invalid_value")
    assert image("data:application/pdf;base64,eA==")[0].status == 200


def test_ms_8_what_takes_too_long_is_408(host: Hosts, door: str) -> None:
    one = host("mittwald-shared", door, deadlines={"total": 1, "first_byte": 1, "idle": 1})
    one.script = (pause(3),)
    answer, _ = one.chat()
    assert (answer.status, error(answer)["type"]) == (408, "timeout_error")


def test_ms_9_dimensions_where_there_are_none(host: Hosts, door: str) -> None:
    one = host("mittwald-shared", door, **with_model(abilities={"dimensions": False}))
    body = {"model": "m", "input": "x"}
    got = one.ask("/v1/embeddings", {**body, "dimensions": 8})
    assert refused(got) == (400, "dimensions", "unsupported_parameter")
    assert one.ask("/v1/embeddings", body)[0].status == 200
    assert (
        host("mittwald-shared", door).ask("/v1/embeddings", {**body, "dimensions": 8})[0].status
        == 200
    )


def test_ms_10_images_are_nowhere(host: Hosts, door: str) -> None:
    got = host("mittwald-shared", door).ask("/v1/images/generations", {"model": "m", "prompt": "x"})
    assert refused(got) == (404, None, None)


def test_io_2_sixteen_tokens_by_the_letter(host: Hosts, door: str) -> None:
    strict = host("ionos", door, "strict_quirks: true")
    assert strict.chat()[1][0]["max_tokens"] == 16
    assert "max_tokens" not in strict.chat(max_completion_tokens=40)[1][0]
    assert "max_tokens" not in host("ionos", door).chat()[1][0]


def test_io_5_both_spellings_of_a_size(host: Hosts, door: str) -> None:
    one = host("ionos", door)

    def draw(size: str) -> Any:
        one.script = (send(json_answer({"created": 1, "data": [{"b64_json": "eA=="}]})),)
        return one.ask("/v1/images/generations", {"model": "m", "prompt": "x", "size": size})

    sizes = [draw(size)[1][0]["size"] for size in ("1024*1024", "1024x1024", "1024*1792")]
    assert sizes == ["1024x1024", "1024x1024", "1024x1792"]
    assert refused(draw("999*999")) == (400, "size", "invalid_value")
    one.backend.queue.clear()


def test_io_6_the_sdks_encoding_is_tolerated(host: Hosts, door: str) -> None:
    body = {"model": "m", "input": "x", "encoding_format": "base64"}
    assert host("ionos", door).ask("/v1/embeddings", body)[0].status == 200


def test_io_an_embedding_without_a_model(host: Hosts, door: str) -> None:
    body = {"input": "x"}
    assert refused(host("ionos", door).ask("/v1/embeddings", body)) == (400, None, None)
    one = host("ionos", door, **with_model(default_for=["embeddings"], upstream="big"))
    answer, seen = one.ask("/v1/embeddings", body)
    assert (answer.status, seen) == (200, [{"input": "x", "model": "big"}])
    assert json.loads(answer.body)["model"] == "m"


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "f"}}])
def test_io_7_tool_choice(host: Hosts, door: str, choice: Any) -> None:
    tool = {"type": "function", "function": {"name": "f"}}
    assert host("ionos", door).chat(tools=[tool], tool_choice=choice)[1][0]["tool_choice"] == choice


@pytest.mark.parametrize("words", ["", "strict_quirks: true"])
def test_io_8_an_expired_token_in_the_providers_own_form(
    host: Hosts, door: str, words: str
) -> None:
    signer = Signer("RS256", "one")
    with Issuer(signer).serving() as issuer:
        one = host("ionos", door, words, auth={"jwt": [issuer.entry()]})
        token = signer.token(exp=time.time() - 27)  # thirty seconds count as the clocks' difference
        assert one.ask("/v1/models", method="GET", key=token)[0].status == 200
        time.sleep(3.5)
        answer, _ = one.ask("/v1/models", method="GET", key=token)
        never, _ = one.ask("/v1/models", method="GET", key=signer.token(exp=time.time() - 31))
        unknown, _ = one.ask("/v1/models", method="GET", key="nobody")
    assert answer.status == never.status == 401
    assert answer.body == never.body == unknown.body
    if words:
        assert json.loads(answer.body)["messages"][0]["errorCode"] == "paas-auth-1"
    else:
        assert error(answer)["message"] == "Incorrect API key provided: ****."


def test_io_10_a_fingerprint_on_chat_and_none_on_completions(host: Hosts, door: str) -> None:
    one = host("ionos", door)
    assert json.loads(one.chat()[0].body)["system_fingerprint"] is None
    answer, _ = one.ask("/v1/completions", {"model": "m", "prompt": "x"})
    assert "system_fingerprint" not in json.loads(answer.body)


def test_fx_8_and_9_counters_and_no_fingerprint(host: Hosts, door: str) -> None:
    one = host("flexai", door)
    choice = {"index": 0, "message": {"role": "assistant", "content": "x"}, "finish_reason": "stop"}
    whole = {"system_fingerprint": "fp_1", "choices": [choice], "usage": USAGE}
    one.script = (send(json_answer(whole)),)
    answer, _ = one.chat()
    counters = {"cache_read_input_tokens": 5, "cache_creation_input_tokens": 0}
    assert json.loads(answer.body) == {"choices": [choice], "usage": {**USAGE, **counters}}
    events = [
        chunk(
            system_fingerprint="fp_1",
            choices=[{"index": 0, "delta": {"content": "x"}, "finish_reason": "stop"}],
        ),
        chunk(system_fingerprint="fp_1", choices=[], usage=USAGE),
    ]
    one.script = (send(stream_head() + chunked(b"".join(events) + DONE)),)
    answer, _ = one.chat(stream=True, stream_options={"include_usage": True})
    first, last, done = answer.body.removesuffix(b"\n\n").split(b"\n\n")
    assert b"system_fingerprint" not in first + last and done == b"data: [DONE]"
    assert json.loads(last[5:])["usage"] == {**USAGE, **counters}


def test_fx_10_only_what_is_served_now_is_listed(host: Hosts, door: str) -> None:
    backends = [{"name": "gone", "url": f"http://127.0.0.1:{free_port()}", "models": ["n"]}]
    one = host("flexai", door)
    backends.append({"name": "one", "url": one.backend.url, "models": ["m"]})
    models = [
        {**MODEL, "category": "code"},
        {"name": "n", "backends": ["gone"]},
    ]
    other = host("flexai", door, backends=backends, models=models, breaker={"failures": 1})
    assert other.chat(model="n")[0].status == 503
    answer, _ = other.ask("/v1/models", method="GET")
    (entry,) = json.loads(answer.body)["data"]
    assert (entry["id"], entry["category"]) == ("m", "code")


def test_fx_12_no_foreign_page_may_ask(host: Hosts, door: str) -> None:
    answer, _ = host("flexai", door).ask(
        "/v1/chat/completions",
        method="OPTIONS",
        key="",
        origin="https://example.test",
        access_control_request_method="POST",
    )
    assert not [name for name, _ in answer.headers if name.startswith("access-control")]


SCHEMA = {"type": "json_schema", "json_schema": {"name": "s", "schema": {"type": "object"}}}


def test_fx_14_a_schema_on_a_model_without(host: Hosts, door: str) -> None:
    without = with_model(abilities={"json_schema": False})
    answer, seen = host("flexai", door, **without).chat(response_format=SCHEMA)
    assert seen[0]["response_format"] == {"type": "json_object"}
    assert ("x-levada-response-format", "json_object") in answer.headers
    strict = host("flexai", door, "json_schema_fallback: reject", **without)
    assert refused(strict.chat(response_format=SCHEMA)) == (400, "response_format", None)
    answer, seen = host("flexai", door).chat(response_format=SCHEMA)
    assert seen[0]["response_format"] == SCHEMA
    assert "x-levada-response-format" not in dict(answer.headers)


def test_a_model_is_taken_where_its_category_serves(host: Hosts, door: str) -> None:
    one = host("openai", door, **with_model(category="embedding", abilities={"tools": False}))
    got = one.chat()
    assert refused(got) == (400, "model", "unsupported_model")
    assert one.ask("/v1/embeddings", {"model": "m", "input": "x"})[0].status == 200
    text = host("openai", door, **with_model(abilities={"tools": False}))
    tool = {"type": "function", "function": {"name": "f"}}
    assert refused(text.chat(tools=[tool])) == (400, "tools", "unsupported_parameter")


def test_reasoning_is_told_under_both_names_where_a_profile_says_so(host: Hosts, door: str) -> None:
    words = "endpoints: {chat.completions: {response: {reasoning: both}}}"
    one = host("openai", door, words)
    thought = {"choices": [{"delta": {"reasoning": "Hm. \u00e9"}, "finish_reason": "stop"}]}
    one.script = (send(stream_head() + chunked(event(thought), DONE)),)
    first, _ = one.chat(stream=True)[0].events
    delta = json.loads(first[6:])["choices"][0]["delta"]
    assert delta == {"reasoning": "Hm. \u00e9", "reasoning_content": "Hm. \u00e9"}
    whole = {
        "choices": [{"message": {"content": "x", "reasoning_content": "y", "reasoning": None}}]
    }
    one.script = (send(json_answer(whole)),)
    message = json.loads(one.chat()[0].body)["choices"][0]["message"]
    assert message == {"content": "x", "reasoning_content": "y", "reasoning": "y"}
