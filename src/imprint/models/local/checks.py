"""The check of a model when it is loaded: what our masks, positions and caches do not fit is refused.

Nothing a model says of itself is trusted. Before the weights are read, `check_architecture` runs a small stand-in
(`stand_in.py`) through the sampler's and the learner's own code and compares it with a fresh copy under its own
attention (`agreement.py`). `check_loaded` does the same with the weights, on shorter sequences.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from imprint.errors import PolicyError
from imprint.models.local import attention
from imprint.models.local.agreement import SHORTEST, deviation
from imprint.models.local.forward import LoadedModel
from imprint.models.local.sampler import NOT_FINITE
from imprint.models.local.stand_in import LIMIT, build, changes, shrunk

TOLERANCE = 1e-3  # nats between log-probs of a stand-in, which are computed in float32
LOADED_TOLERANCE = 1e-2  # of a loaded model in float32
COARSE_TOLERANCE = 0.25  # of a loaded model in bfloat16 or float16, on average: single tokens are further apart
LOADED = 32  # tokens of the longest sequence that a loaded model is checked with
OTHERS = (
    "use a model with causal attention and a cache (Llama, Qwen, Mistral, Gemma, SmolLM, GPT-2, ...), or measure this "
    "one behind a server (endpoint.base_url)"
)


@dataclass(slots=True)
class _StandIn(LoadedModel):
    """A stand-in as the sampler and the learner take it."""

    model: Any
    name: str
    shares_prefixes: bool = False
    vision: None = None
    limit: int | None = LIMIT

    def __post_init__(self) -> None:
        self.share(True)


def check_vocabulary(policy: LoadedModel, tokenizer: Any) -> None:
    """Refuse a tokenizer that can give tokens which the model has no embedding for, added ones included.

    A special token that nothing writes may be missing: text cannot contain special tokens (`Policy.encode`), only a
    chat template can, and they begin and end texts.

    Raises:
        PolicyError: the model has fewer embeddings than the tokenizer needs.
    """
    known, added = int(policy.model.get_input_embeddings().weight.shape[0]), tokenizer.added_tokens_decoder
    missing = {token: number for token, number in tokenizer.get_vocab().items() if number >= known}
    written = (tokenizer.bos_token, tokenizer.eos_token)
    for token, number in missing.items():
        special = number in added and added[number].special
        if not special or token in written or token in str(tokenizer.chat_template):
            raise PolicyError(
                f"the tokenizer has the token {token!r} with number {number}, and the model knows {known} tokens",
                where=policy.name,
                key="model",
                hint="put the model's own tokenizer beside it, or add embeddings (model.resize_token_embeddings)",
            )


def check_weights(model: Any, found: Mapping[str, Any], name: str) -> None:
    """Refuse a folder whose weights are not those that its configuration tells of, or are no numbers.

    transformers draws missing weights at random, leaves out those of further layers, and says so in a log.

    Args:
        found: `from_pretrained`'s `output_loading_info`.

    Raises:
        PolicyError: names the first such weight.
    """
    kinds = {re.sub(r"\d+", "#", key) for key in model.state_dict()}
    further = [key for key in found["unexpected_keys"] if re.sub(r"\d+", "#", key) in kinds]
    hint = "config.json and the weights do not belong together, or the model was saved in part; copy it anew"
    for keys, what in ((found["missing_keys"], "are missing"), (further, "have no place in the model")):
        if keys:
            problem = f"by its configuration {len(keys)} weights {what}, the first is {min(keys)}"
            raise PolicyError(problem, where=name, key="model", hint=hint)
    for key, weight in model.named_parameters():
        if not math.isfinite(weight.detach().sum(dtype=torch.float32)):
            raise PolicyError(f"the weight {key} is not finite", where=name, key="model", hint=NOT_FINITE)


def check_architecture(kind: Any, config: Any, name: str, context: int) -> bool:
    """Refuse a model whose results would differ from its own, by a stand-in for it.

    Args:
        kind: the auto class that loads it.
        context: most tokens of a sequence.

    Returns:
        whether rows can share the keys and values of a prefix. Where they cannot, each has a copy: slower, with the
        same results. True also where no stand-in can be made: `check_loaded` decides then.

    Raises:
        PolicyError: the log-probs differ; says where and, if shorter sequences agree, up to which length.
    """
    stands = _stand_ins(kind, config, name, context)
    if stands is None:
        if points := changes(config, context):
            raise PolicyError(
                f"no small {type(config).__name__} can be made to check lengths above {points[0]}, where it changes",
                where=name,
                key="model",
                hint=f"set max_context: {points[0]}",
            )
        return True
    reason = _disagreement(*stands)
    if reason is None:
        return stands[0].shares_prefixes
    shorter = (length for length in reversed(changes(config, context)) if _agrees(kind, config, name, length))
    length = next(shorter, None)
    hint = OTHERS if length is None else f"set max_context: {length}; up to that length it agrees"
    raise _refusal(stands[0], f"in a small copy, {reason}", hint)


def check_loaded(policy: LoadedModel) -> None:
    """Refuse a model whose results, with its own weights, differ from its own attention's.

    Raises:
        PolicyError: the log-probs differ, or are not numbers.
    """
    try:
        logits = _logits(policy.model, range(SHORTEST))
    except Exception as error:  # whatever the code of a model raises
        raise _refusal(policy, f"alone too, {_failure(error)}", OTHERS) from error
    if bool(torch.log_softmax(logits.float(), dim=-1).isnan().any()):
        raise PolicyError("the model's log-probs are nan", where=policy.name, key="model", hint=NOT_FINITE)
    reason = _disagreement(policy, policy.model)
    if reason is not None:
        raise _refusal(policy, reason, OTHERS)


def _stand_ins(kind: Any, config: Any, name: str, context: int) -> tuple[_StandIn, Any] | None:
    """A stand-in, and a fresh copy under its own attention; None if none can be made that works at all."""
    try:
        small = shrunk(config, context)
        native = build(kind, small, "eager")
        _logits(native, range(SHORTEST))
        return _StandIn(build(kind, small), name), native
    except Exception:  # whatever the code of a model raises for a configuration that does not fit it
        return None


def _agrees(kind: Any, config: Any, name: str, context: int) -> bool:
    stands = _stand_ins(kind, config, name, context)
    return stands is not None and _disagreement(*stands) is None


def _disagreement(policy: LoadedModel, native: Any) -> str | None:
    """How the log-probs differ from those of `native`; None if they do not, perhaps once rows share no prefixes."""
    reason = _difference(policy, native)
    if reason is not None and policy.shares_prefixes:
        policy.share(False)
        reason = _difference(policy, native)
    return reason


def _difference(policy: LoadedModel, native: Any) -> str | None:
    loaded = native is policy.model
    longest = max(SHORTEST, min(policy.max_context, LOADED) if loaded else policy.max_context)
    vocabulary = int(native.get_input_embeddings().weight.shape[0])
    try:
        found = deviation(policy, partial(_logits, native), longest=longest, vocabulary=vocabulary)
    except PolicyError as error:
        return error.problem
    except Exception as error:  # whatever the code of a model raises for masks or caches that do not fit it
        return _failure(error)
    if loaded and native.dtype != torch.float32:
        agrees = found.mean <= COARSE_TOLERANCE
    else:
        agrees = found.largest <= (LOADED_TOLERANCE if loaded else TOLERANCE)
    return None if agrees else f"log-probs differ by {found.largest:.2g} from its own attention's, {found.where}"


def _failure(error: Exception) -> str:
    return ": ".join(["its forward pass fails", type(error).__name__, *str(error).splitlines()[:1]])


def _logits(model: Any, ids: Sequence[int]) -> Tensor:
    """The logits [T, vocabulary] of one sequence under the attention that the model's module defines."""
    with attention.native(model), torch.no_grad():
        logits: Tensor = model(input_ids=torch.tensor([list(ids)], device=model.device), use_cache=False).logits[0]
    return logits


def _refusal(policy: LoadedModel, reason: str, hint: str) -> PolicyError:
    return PolicyError(
        f"models of kind {type(policy.model).__name__} do not work with shared prompts and batches of different "
        f"lengths ({reason})",
        where=policy.name,
        key="model",
        hint=hint,
    )
