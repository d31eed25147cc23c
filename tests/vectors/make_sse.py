"""Writes sse.tsv: what comes in from a backend's event stream, and what the re-framer lets out.

One line a case: `name<TAB>input hex<TAB>output hex`. Only whole events come out; every line end
(CR, LF, CRLF) becomes LF; a byte order mark at the very start and empty lines before an event are
dropped; an event ends with exactly one empty line; a comment is an event like another; what is
unfinished when the input ends stays inside. The bytes of a line are never touched. The answer is
the same however the input is cut into pieces.

    python tests/vectors/make_sse.py
"""

from pathlib import Path

BOM = b"\xef\xbb\xbf"
CHUNK = b'{"choices":[{"index":0,"delta":{"content":"h\\u00e9 \xf0\x9f\x99\x82"}}]}'

CASES: dict[str, tuple[bytes, bytes]] = {
    "nothing": (b"", b""),
    "one_lf": (b"data: a\n\n", b"data: a\n\n"),
    "one_crlf": (b"data: a\r\n\r\n", b"data: a\n\n"),
    "one_cr": (b"data: a\r\r", b"data: a\n\n"),
    "two_lf": (b"data: a\n\ndata: b\n\n", b"data: a\n\ndata: b\n\n"),
    "two_crlf": (b"data: a\r\n\r\ndata: b\r\n\r\n", b"data: a\n\ndata: b\n\n"),
    "two_cr": (b"data: a\r\rdata: b\r\r", b"data: a\n\ndata: b\n\n"),
    "lf_then_crlf": (b"data: a\n\r\ndata: b\n\r\n", b"data: a\n\ndata: b\n\n"),
    "crlf_then_lf": (b"data: a\r\n\ndata: b\r\n\n", b"data: a\n\ndata: b\n\n"),
    "crlf_then_cr": (b"data: a\r\n\rdata: b\r\n\r", b"data: a\n\ndata: b\n\n"),
    "cr_then_crlf": (b"data: a\r\r\ndata: b\r\r\n", b"data: a\n\ndata: b\n\n"),
    "lf_then_cr": (b"data: a\n\rdata: b\n\r", b"data: a\n\ndata: b\n\n"),
    "each_line_another_end": (
        b"event: x\rid: 1\ndata: a\r\n\r\ndata: b\r\r",
        b"event: x\nid: 1\ndata: a\n\ndata: b\n\n",
    ),
    "bom": (BOM + b"data: a\n\n", b"data: a\n\n"),
    "bom_alone": (BOM, b""),
    "bom_then_empty_line": (BOM + b"\ndata: a\n\n", b"data: a\n\n"),
    "bom_cut": (BOM[:2], b""),
    "bom_cut_then_data": (BOM[:2] + b"data: a\n\n", BOM[:2] + b"data: a\n\n"),
    "bom_twice": (BOM + BOM + b"data: a\n\n", BOM + b"data: a\n\n"),
    "bom_in_data": (b"data: " + BOM + b"\n\n", b"data: " + BOM + b"\n\n"),
    "bom_at_second_event": (
        b"data: a\n\n" + BOM + b"data: b\n\n",
        b"data: a\n\n" + BOM + b"data: b\n\n",
    ),
    "empty_lines_first": (b"\n\n\ndata: a\n\n", b"data: a\n\n"),
    "empty_lines_first_crlf": (b"\r\n\r\ndata: a\r\n\r\n", b"data: a\n\n"),
    "empty_lines_first_cr": (b"\r\r\rdata: a\r\r", b"data: a\n\n"),
    "empty_lines_between": (b"data: a\n\n\n\n\ndata: b\n\n", b"data: a\n\ndata: b\n\n"),
    "empty_lines_between_mixed": (b"data: a\r\n\r\n\n\r\rdata: b\n\n", b"data: a\n\ndata: b\n\n"),
    "empty_lines_last": (b"data: a\n\n\n\n\n", b"data: a\n\n"),
    "empty_lines_only": (b"\n\r\n\r\n\n", b""),
    "comment": (b": ping\n\n", b": ping\n\n"),
    "comment_bare": (b":\n\n", b":\n\n"),
    "comment_crlf": (b": ping\r\n\r\n", b": ping\n\n"),
    "comment_between": (b"data: a\n\n: ping\n\ndata: b\n\n", b"data: a\n\n: ping\n\ndata: b\n\n"),
    "comment_inside": (b": note\ndata: a\n\n", b": note\ndata: a\n\n"),
    "comment_after_data": (b"data: a\n: note\n\n", b"data: a\n: note\n\n"),
    "comment_unfinished": (b"data: a\n\n: pi", b"data: a\n\n"),
    "multi_line_data": (b"data: a\ndata: b\ndata: c\n\n", b"data: a\ndata: b\ndata: c\n\n"),
    "multi_line_data_crlf": (b"data: a\r\ndata: b\r\n\r\n", b"data: a\ndata: b\n\n"),
    "multi_line_data_cr": (b"data: a\rdata: b\r\r", b"data: a\ndata: b\n\n"),
    "all_fields": (
        b"event: error\nid: 7\nretry: 1000\ndata: {}\n\n",
        b"event: error\nid: 7\nretry: 1000\ndata: {}\n\n",
    ),
    "event_alone": (b"event: ping\n\n", b"event: ping\n\n"),
    "id_alone": (b"id: 1\n\n", b"id: 1\n\n"),
    "retry_alone": (b"retry: 10\n\n", b"retry: 10\n\n"),
    "unknown_field": (b"colour: red\ndata: a\n\n", b"colour: red\ndata: a\n\n"),
    "field_without_colon": (b"data\n\n", b"data\n\n"),
    "empty_data": (b"data:\n\n", b"data:\n\n"),
    "empty_data_space": (b"data: \n\n", b"data: \n\n"),
    "no_space": (b"data:a\n\n", b"data:a\n\n"),
    "two_spaces": (b"data:  a\n\n", b"data:  a\n\n"),
    "trailing_space": (b"data: a \n\n", b"data: a \n\n"),
    "leading_space_in_line": (b" data: a\n\n", b" data: a\n\n"),
    "space_line_is_not_empty": (b"data: a\n \n\n", b"data: a\n \n\n"),
    "colons_in_data": (b"data: a: b: c\n\n", b"data: a: b: c\n\n"),
    "done": (b"data: [DONE]\n\n", b"data: [DONE]\n\n"),
    "done_crlf": (b"data: [DONE]\r\n\r\n", b"data: [DONE]\n\n"),
    "done_without_empty_line": (b"data: [DONE]\n", b""),
    "data_null": (b"data: null\n\n", b"data: null\n\n"),
    "nul_byte": (b"data: a\x00b\n\n", b"data: a\x00b\n\n"),
    "not_utf8": (b"data: \xff\xfe\n\n", b"data: \xff\xfe\n\n"),
    "cut_utf8": (b"data: \xf0\x9f\n\ndata: \x99\x82\n\n", b"data: \xf0\x9f\n\ndata: \x99\x82\n\n"),
    "next_line_is_no_line_end": (b"data: a\xc2\x85b\n\n", b"data: a\xc2\x85b\n\n"),
    "line_separator_is_no_line_end": (b"data: a\xe2\x80\xa8b\n\n", b"data: a\xe2\x80\xa8b\n\n"),
    "form_feed_is_no_line_end": (b"data: a\x0cb\x0b\n\n", b"data: a\x0cb\x0b\n\n"),
    "escaped_line_ends": (b'data: "a\\r\\n\\nb"\n\n', b'data: "a\\r\\n\\nb"\n\n'),
    "unfinished": (b"data: a", b""),
    "unfinished_line": (b"data: a\n", b""),
    "unfinished_cr": (b"data: a\r", b""),
    "unfinished_crlf": (b"data: a\r\n", b""),
    "unfinished_second": (b"data: a\n\ndata: b\n", b"data: a\n\n"),
    "unfinished_mid_utf8": (b"data: a\n\ndata: \xf0\x9f", b"data: a\n\n"),
    "last_cr_ends_it": (b"data: a\r\n\r", b"data: a\n\n"),
    "last_lf_after_cr": (b"data: a\r\r\n", b"data: a\n\n"),
    "chunk": (
        b"data: " + CHUNK + b"\n\ndata: [DONE]\n\n",
        b"data: " + CHUNK + b"\n\ndata: [DONE]\n\n",
    ),
    "chunk_crlf": (
        b"data: " + CHUNK + b"\r\n\r\ndata: [DONE]\r\n\r\n",
        b"data: " + CHUNK + b"\n\ndata: [DONE]\n\n",
    ),
    "role_and_token_together": (
        b'data: {"delta":{"role":"assistant"}}\n\ndata: {"delta":{"content":"H"}}\n\n',
        b'data: {"delta":{"role":"assistant"}}\n\ndata: {"delta":{"content":"H"}}\n\n',
    ),
    "error_event": (
        b'event: error\ndata: {"error":{"message":"m"}}\n\n',
        b'event: error\ndata: {"error":{"message":"m"}}\n\n',
    ),
    "long_line": (b"data: " + b"x" * 3000 + b"\r\n\r\n", b"data: " + b"x" * 3000 + b"\n\n"),
    "hundred_events": (b"data: 1\r\n\r\n" * 100, b"data: 1\n\n" * 100),
    "hundred_lines": (b"data: 1\r" * 100 + b"\r", b"data: 1\n" * 100 + b"\n"),
}


def lines() -> list[str]:
    return [f"{name}\t{given.hex()}\t{wanted.hex()}" for name, (given, wanted) in CASES.items()]


if __name__ == "__main__":
    Path(__file__).with_name("sse.tsv").write_text("\n".join(lines()) + "\n", encoding="ascii")
