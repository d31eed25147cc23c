"""Small tokenizers of the kinds that models are published with, made by Hugging Face's own library.

It is the judge: what it counts is what we must count.
"""

import json
import random
from functools import cache
from pathlib import Path

from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers

KINDS = ("bytes", "pattern", "marks", "pieces", "lower")
SENTENCES = [
    "The quick brown fox jumps over the lazy dog, again and again.",
    "It's what they've said: 1234 times, in 56 places!\n\nAnd then?\n  - once\n  - twice\n",
    "def main():\n    return the_answer(42)\n",
    "Über den Wolken, où la liberté, где свобода, 自由はどこですか。\n自由在哪里。\n",
]
PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|"
    r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


@cache
def made(kind: str) -> Tokenizer:
    """GPT-2's bytes, Llama 3's pattern, Llama 2's marks without a pattern, T5's pieces, or BERT's
    lower case.
    """
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    common = {"vocab_size": 400, "show_progress": False}
    if kind == "bytes":
        one = Tokenizer(models.BPE())
        one.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        trainer = trainers.BpeTrainer(initial_alphabet=alphabet, **common)
        one.enable_truncation(5)
        one.enable_padding(length=9)
    elif kind == "pattern":
        one = Tokenizer(models.BPE(ignore_merges=True))
        one.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(Regex(PATTERN), behavior="isolated"),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
            ]
        )
        trainer = trainers.BpeTrainer(initial_alphabet=alphabet, **common)
    elif kind == "marks":
        one = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True))
        one.pre_tokenizer = pre_tokenizers.Metaspace()
        trainer = trainers.BpeTrainer(special_tokens=["<unk>"], **common)
    elif kind == "pieces":
        one = Tokenizer(models.Unigram())
        one.normalizer = normalizers.NFKC()
        one.pre_tokenizer = pre_tokenizers.Metaspace()
        trainer = trainers.UnigramTrainer(unk_token="<unk>", special_tokens=["<unk>"], **common)
    else:
        one = Tokenizer(models.WordPiece(unk_token="[UNK]"))
        one.normalizer = normalizers.BertNormalizer()
        one.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        trainer = trainers.WordPieceTrainer(special_tokens=["[UNK]"], **common)
    one.train_from_iterator(SENTENCES * 20, trainer)
    if kind == "marks":
        # As Llama 2's file has it: the marks are put in before, and nothing is split.
        one.normalizer = normalizers.Sequence(
            [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
        )
        whole = json.loads(one.to_str())
        one = Tokenizer.from_str(json.dumps({**whole, "pre_tokenizer": None}))
    return one


def write(path: Path, tokenizer: Tokenizer) -> Path:
    path.write_text(tokenizer.to_str())
    return path


def golden(kind: str, text: str) -> int:
    """How many tokens Hugging Face's library makes of a text."""
    one = Tokenizer.from_str(made(kind).to_str())
    one.no_truncation()
    one.no_padding()
    return len(one.encode(text, add_special_tokens=False).ids)


def long_text(seed: int, words: int) -> str:
    """Words of the sentences in any order, with what stands between them."""
    chance = random.Random(seed)
    known = [word for sentence in SENTENCES for word in sentence.replace("\n", "\n ").split(" ")]
    return " ".join(chance.choice(known) for _ in range(words))
