"""Texts as vectors by a transformers encoder: mean pooling, unit length, as E5 is used (arXiv 2212.03533)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imprint.errors import RetrievalError

Vectors = NDArray[np.float32]
QUERY_TOKENS, PASSAGE_TOKENS = 256, 512  # as the published servers cut them


class Encoder:
    """An encoder of the hub or of a folder. Nothing that comes with it is executed.

    Args:
        batch: texts that are read at once.
        query_prefix: before each query; E5 was trained with it. Other encoders want other ones, or none.

    Raises:
        RetrievalError: it cannot be loaded.
    """

    def __init__(
        self,
        model: str,
        *,
        device: str = "cpu",
        batch: int = 64,
        query_prefix: str = "query: ",
        passage_prefix: str = "passage: ",
    ) -> None:
        from transformers import AutoModel, AutoTokenizer

        if model.startswith((".", "/", "~")) and not Path(model).exists():
            raise RetrievalError("there is no such folder", where=model, hint="check the path of the encoder")
        try:
            self._tokenizer: Any = AutoTokenizer.from_pretrained(model)
            self._model: Any = AutoModel.from_pretrained(model).eval().to(device)
        except Exception as error:  # the library has its own kinds for every way a folder can be wrong
            raise RetrievalError(
                f"the encoder cannot be loaded: {type(error).__name__}: {(str(error).splitlines() or [''])[0]}",
                where=model,
                hint="give a folder with a transformers encoder, or its hub name, as intfloat/e5-base-v2",
            ) from error
        self.model, self.batch, self.device = model, batch, device
        self.prefixes = (query_prefix, passage_prefix)
        positions = getattr(self._model.config, "max_position_embeddings", None)
        self._most = min(int(positions or PASSAGE_TOKENS), int(self._tokenizer.model_max_length))

    @property
    def dimension(self) -> int:
        """The length of the vectors."""
        return int(self._model.config.hidden_size)

    def queries(self, texts: Sequence[str]) -> Vectors:
        """One row a query, of length 1."""
        return self._embed([self.prefixes[0] + text for text in texts], QUERY_TOKENS)

    def passages(self, texts: Sequence[str]) -> Vectors:
        """One row a passage, of length 1."""
        return self._embed([self.prefixes[1] + text for text in texts], PASSAGE_TOKENS)

    def _embed(self, texts: Sequence[str], tokens: int) -> Vectors:
        """Texts of about one length are read together, so that little is read that is padding."""
        order = sorted(range(len(texts)), key=lambda place: len(texts[place]))
        found = np.empty((len(texts), self.dimension), dtype=np.float32)
        for start in range(0, len(order), self.batch):
            places = order[start : start + self.batch]
            found[places] = self._pooled([texts[place] for place in places], min(tokens, self._most))
        return found

    def _pooled(self, texts: list[str], tokens: int) -> Vectors:
        import torch

        read = self._tokenizer(texts, truncation=True, max_length=tokens, padding=True, return_tensors="pt")
        with torch.inference_mode():
            states_B_T_D = self._model(**read.to(self.device)).last_hidden_state.float()
            mask_B_T_1 = read["attention_mask"].unsqueeze(-1).to(states_B_T_D.dtype)
            mean_B_D = (states_B_T_D * mask_B_T_1).sum(1) / mask_B_T_1.sum(1).clamp(min=1)
            rows = torch.nn.functional.normalize(mean_B_D, dim=-1).cpu().numpy()
        if not np.isfinite(rows).all():
            raise RetrievalError("the encoder gives vectors that are no numbers", where=self.model, hint="use another")
        return np.asarray(rows, dtype=np.float32)
