"""Word problems are solved as asked: what a hub model's own generation settings say changes nothing."""

import numpy as np
import torch

from gsm8k import solver
from tests import tiny


def test_the_likeliest_token_is_taken_whatever_the_model_declares(monkeypatch):
    monkeypatch.setattr(solver, "load_tokenizer", lambda *_: tiny.tokenizer())
    monkeypatch.setattr(solver, "load_model", lambda *_: tiny.model())
    written = []
    for penalty in (None, 1e-3):  # below 1: what stands in the prompt is repeated
        solving = solver.Solver(None, None, None)
        solving.model.generation_config.repetition_penalty = penalty
        prompt = np.array(solving.tokenizer("Ada has 3 pens, and 3 pens, and")["input_ids"], dtype=np.int32)
        written.append(solving.complete([prompt], 12, None))
    assert written[0] == written[1]
    ids = torch.tensor([prompt.tolist()])
    likeliest = int(solving.model(ids).logits[0, -1].argmax())
    assert written[0][0][0].startswith(solving.tokenizer.decode([likeliest], skip_special_tokens=True))
