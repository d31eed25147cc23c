"""What each provider's profile does to a request, by the ids of the contract."""

from collections.abc import Callable
from typing import Any

import pytest
from provider_host import Host, error
from upstream import chat_chunk, chunked, close, send, stream_head

Hosts = Callable[[str, str], Host]


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
