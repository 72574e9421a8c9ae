"""Answers by sampling with vLLM: for runs so large that a GPU server's throughput beats exactness.

vLLM is no requirement of this project; install it by itself (``pip install vllm``) on a machine with a GPU.
The distribution is the share of each answer among ``DRAWS`` draws at temperature 1, so it is off by up to
1 / (2 sqrt(DRAWS)) where the forward pass of ``use.asking`` is exact.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from socrates.app.locate import Located
from socrates.core.errors import ModelError
from socrates.model.folding import adapter_config
from socrates.model.loading import where
from socrates.model.tokenisation import Encoded, end_token, token_ids
from socrates.survey.prompts import answer_part
from socrates.survey.scales import scale

DRAWS = 256  # for each row


class Sampled:
    """A vLLM engine behind the interface of ``use.asking.Backend``."""

    def __init__(self, located: Located, tokenizer: Any) -> None:
        try:
            import vllm
            from vllm.lora.request import LoRARequest
        except ImportError:
            raise ModelError(
                "backend vllm: not installed; pip install vllm on a machine with a GPU, or use --backend torch"
            ) from None
        self.vllm: Any = vllm
        self.tokenizer = tokenizer
        name, options = where(located.base)
        lora: dict[str, Any] = {}
        self.adapter = None
        if located.adapter is not None:
            lora = {"enable_lora": True, "max_lora_rank": adapter_config(located.adapter)["r"]}
            self.adapter = LoRARequest("adapter", 1, str(located.adapter))
        self.engine = vllm.LLM(model=name, trust_remote_code=False, seed=0, **lora, **options)
        self.place = f"vLLM, {DRAWS} draws an answer"
        self.max_tokens = int(self.engine.llm_engine.model_config.max_model_len)

    def distributions(
        self, data: Encoded, scales: list[str], progress: Any = iter
    ) -> tuple[list[NDArray[np.float32]], NDArray[np.float32]]:
        """See ``use.asking.Backend``; an answer that is not allowed counts against the mass alone."""
        end = end_token(self.tokenizer)
        spelled = {notation: self._spelled(notation) for notation in sorted(set(scales))}
        settings = [
            self.vllm.SamplingParams(
                n=DRAWS,
                temperature=1.0,
                top_p=1.0,
                max_tokens=max(map(len, spelled[notation])) + 1,
                stop_token_ids=[end],
                seed=row,
            )
            for row, notation in enumerate(scales)
        ]
        prompts = [
            {"prompt_token_ids": np.concatenate([data.shared(row), data.own(row)]).tolist()}
            for row in range(len(data))
        ]
        results = self.engine.generate(prompts, settings, lora_request=self.adapter)
        probabilities, mass = [], np.zeros(len(data), dtype=np.float32)
        for row, result in enumerate(results):
            options = spelled[scales[row]]
            counts = np.zeros(len(options), dtype=np.float32)
            for draw in result.outputs:
                ids = tuple(draw.token_ids)
                place = options.get(ids[:-1]) if ids and ids[-1] == end else None
                if place is not None:
                    counts[place] += 1
            total = counts.sum()
            mass[row] = total / len(result.outputs)
            probabilities.append(counts / total if total else np.full_like(counts, 1 / len(counts)))
        return probabilities, mass

    def _spelled(self, notation: str) -> dict[tuple[int, ...], int]:
        """Token ids of each option -> its place on the scale."""
        texts = [answer_part(option) for option in scale(notation).options]
        return {tuple(ids.tolist()): place for place, ids in enumerate(token_ids(self.tokenizer, texts))}
