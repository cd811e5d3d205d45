"""A small byte-level BPE tokenizer, trained on the language of a world: lossless on any text, a word a token, and the
fixed parts of the world's sentences a token each."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

BOS, EOS = "<s>", "</s>"


def train_tokenizer(texts: Iterable[str], vocab_size: int, max_context: int, phrases: Iterable[str] = ()) -> Any:
    """Train on `texts`; returns a transformers fast tokenizer.

    `phrases` are never split, and become tokens when they are frequent: where a world uses the same few sentences with
    other names in them, this halves the length of an episode.

    Words keep their leading space, numbers are split into digits, and a newline is always a token of its own (it ends
    a command).
    """
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    whole = "".join(rf"{re.escape(phrase)}(?![^\W\d])|" for phrase in sorted(phrases, key=len, reverse=True))
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(whole + r"\n| ?\d| ?[^\W\d]+| ?[^\s\w]|\s"), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[BOS, EOS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=BOS, eos_token=EOS, pad_token=EOS, model_max_length=max_context
    )
