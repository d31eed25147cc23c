"""Makes a model for llama.cpp out of nothing: a Llama of two layers with random weights, half a
megabyte, as GGUF.

Every byte is a token, so any text can be read and a stream may cut a character in two; some words
are tokens too, so that what it says looks like text. The file is the same on every machine. It is
there for the wire, not for the words.
"""

import array
import random
import struct
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

WIDTH, LAYERS, HEADS, KV_HEADS, INNER, CONTEXT = 64, 2, 4, 2, 128, 8192
CONTROLS = ("<unk>", "<s>", "</s>", "<|turn|>", "<|end|>")
WORDS = (
    "▁ ▁the ▁water ▁runs ▁down ▁from ▁a ▁hill ▁to ▁field ▁and ▁each ▁gate ▁opens ▁once ▁at "
    "▁its ▁hour ▁then ▁closes ▁stone ▁by ▁wall ▁rain ▁north ▁south ▁green ▁slow ▁cool ▁long "
    "▁over ▁under ▁goes ▁over. ▁here, ▁there; ing ed s ly ▁é ▁ção ▁水 ▁🌊 ▁мир . , ! ?"
).split()
TEMPLATE = (
    "{%- for message in messages %}<|turn|>{{ message.role }}: {{ message.content }}<|end|>"
    "{%- endfor %}{%- if add_generation_prompt %}<|turn|>assistant: {%- endif %}"
)

# Kinds of tokens and of values, as GGUF numbers them.
NORMAL, UNKNOWN, CONTROL, BYTE = 1, 2, 3, 6
U32, I32, F32, BOOL, TEXT, LIST = 4, 5, 6, 7, 8, 9
ALIGNMENT = 32


def vocabulary() -> list[tuple[str, int]]:
    """Each token with its kind; the index is the token's number."""
    tokens = [(name, UNKNOWN if name == "<unk>" else CONTROL) for name in CONTROLS]
    tokens += [(f"<0x{code:02X}>", BYTE) for code in range(256)]
    return tokens + [(word, NORMAL) for word in dict.fromkeys(WORDS)]


def text(value: str) -> bytes:
    data = value.encode()
    return struct.pack("<Q", len(data)) + data


def entry(key: str, kind: int, value: str | float) -> bytes:
    head = text(key) + struct.pack("<I", kind)
    if kind == TEXT:
        return head + text(str(value))
    return head + struct.pack({U32: "<I", F32: "<f", BOOL: "<?"}[kind], value)


def entries(key: str, kind: int, values: Iterable[str | float]) -> bytes:
    items = list(values)
    head = text(key) + struct.pack("<IIQ", LIST, kind, len(items))
    if kind == TEXT:
        return head + b"".join(text(str(item)) for item in items)
    return head + struct.pack(f"<{len(items)}{'f' if kind == F32 else 'i'}", *items)


def metadata(tokens: list[tuple[str, int]]) -> list[bytes]:
    number = {name: at for at, (name, _) in enumerate(tokens)}
    return [
        entry("general.architecture", TEXT, "llama"),
        entry("general.name", TEXT, "levada-test"),
        entry("llama.block_count", U32, LAYERS),
        entry("llama.context_length", U32, CONTEXT),
        entry("llama.embedding_length", U32, WIDTH),
        entry("llama.feed_forward_length", U32, INNER),
        entry("llama.attention.head_count", U32, HEADS),
        entry("llama.attention.head_count_kv", U32, KV_HEADS),
        entry("llama.attention.layer_norm_rms_epsilon", F32, 1e-5),
        entry("llama.rope.dimension_count", U32, WIDTH // HEADS),
        entry("llama.vocab_size", U32, len(tokens)),
        entry("tokenizer.ggml.model", TEXT, "llama"),
        entries("tokenizer.ggml.tokens", TEXT, (name for name, _ in tokens)),
        entries("tokenizer.ggml.scores", F32, (-float(at) for at in range(len(tokens)))),
        entries("tokenizer.ggml.token_type", I32, (kind for _, kind in tokens)),
        entry("tokenizer.ggml.unknown_token_id", U32, number["<unk>"]),
        entry("tokenizer.ggml.bos_token_id", U32, number["<s>"]),
        entry("tokenizer.ggml.eos_token_id", U32, number["<|end|>"]),
        entry("tokenizer.ggml.add_bos_token", BOOL, False),
        entry("tokenizer.ggml.add_space_prefix", BOOL, False),
        entry("tokenizer.chat_template", TEXT, TEMPLATE),
    ]


def noise(source: random.Random, count: int, scale: float) -> array.array:
    """Numbers spread evenly over -scale..scale."""
    raw = array.array("H", source.randbytes(2 * count))
    if sys.byteorder == "big":
        raw.byteswap()
    return array.array("f", ((number / 32767.5 - 1.0) * scale for number in raw))


def output_rows(source: random.Random, tokens: list[tuple[str, int]]) -> array.array:
    """The last matrix: loud for words and letters, faint for other bytes, silent for the end of a
    turn.
    """
    rows = array.array("f")
    for name, kind in tokens:
        printable = kind == BYTE and 0x20 <= int(name[3:5], 16) < 0x7F
        loud = {NORMAL: 0.6, BYTE: 0.35 if printable else 0.2}.get(kind, 0.0)
        rows += noise(source, WIDTH, loud)
    return rows


def tensors(
    source: random.Random, tokens: list[tuple[str, int]]
) -> Iterator[tuple[str, list[int], array.array]]:
    """Name, shape (fastest first) and values of every tensor."""

    def matrix(name: str, *shape: int) -> tuple[str, list[int], array.array]:
        return f"{name}.weight", list(shape), noise(source, shape[0] * shape[1], 0.15)

    ones = array.array("f", [1.0] * WIDTH)
    keys = KV_HEADS * (WIDTH // HEADS)
    yield "token_embd.weight", [WIDTH, len(tokens)], noise(source, WIDTH * len(tokens), 1.2)
    yield "output_norm.weight", [WIDTH], ones
    yield "output.weight", [WIDTH, len(tokens)], output_rows(source, tokens)
    for layer in range(LAYERS):
        yield f"blk.{layer}.attn_norm.weight", [WIDTH], ones
        yield matrix(f"blk.{layer}.attn_q", WIDTH, WIDTH)
        yield matrix(f"blk.{layer}.attn_k", WIDTH, keys)
        yield matrix(f"blk.{layer}.attn_v", WIDTH, keys)
        yield matrix(f"blk.{layer}.attn_output", WIDTH, WIDTH)
        yield f"blk.{layer}.ffn_norm.weight", [WIDTH], ones
        yield matrix(f"blk.{layer}.ffn_gate", WIDTH, INNER)
        yield matrix(f"blk.{layer}.ffn_up", WIDTH, INNER)
        yield matrix(f"blk.{layer}.ffn_down", INNER, WIDTH)


def padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % ALIGNMENT)


def tiny_model(seed: int = 1) -> bytes:
    """The whole GGUF file."""
    tokens = vocabulary()
    fields = metadata(tokens)
    directory, data = b"", b""
    count = 0
    for name, shape, values in tensors(random.Random(seed), tokens):
        sizes = struct.pack(f"<{len(shape)}Q", *shape)
        directory += text(name) + struct.pack("<I", len(shape)) + sizes
        directory += struct.pack("<IQ", 0, len(data))  # 0: 32-bit floats
        if sys.byteorder == "big":
            values.byteswap()
        data += padded(values.tobytes())
        count += 1
    head = b"GGUF" + struct.pack("<IQQ", 3, count, len(fields))
    return padded(head + b"".join(fields) + directory) + data


def write_tiny_model(path: Path) -> Path:
    path.write_bytes(tiny_model())
    return path
