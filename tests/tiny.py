"""A two-layer model, a small tokenizer and a few survey rows, for tests."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import torch
from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from socrates.data.scales.resolve import resolve_scales
from socrates.model.params import Tiny
from socrates.survey.prompts import HEAD, RESPONSE
from socrates.survey.tables import DEMOGRAPHICS, RESPONSES
from socrates.tiny_model.build import new_model, train_tokenizer
from tests.shared import SHARED

ROOT = Path(__file__).resolve().parents[1]
SIZE = {"vocab_size": 320, "hidden_size": 32, "intermediate_size": 64, "layers": 2, "heads": 4, "seed": 3}
TINY = Tiny(pretrain_steps=2, pretrain_batch=8, pretrain_learning_rate=1e-3, **SIZE)
SCENARIOS = {
    1: "A town wants a new tram line. Is that a good idea? Only return an integer from 1 to 7, nothing else.",
    2: "How warm do you feel toward trams? Only return an integer from 0 to 100, nothing else.",
    3: "Would you ride it? Only return 1 for 'Yes' or 2 for 'No', nothing else.",
}


def tokenizer() -> PreTrainedTokenizerBase:
    """A byte-level tokenizer that has seen the prompts' wording."""
    return train_tokenizer(
        [HEAD, RESPONSE, *SCENARIOS.values(), "Demographics: Age: 30; Gender: Female"], 320
    )


def tokenizers() -> Iterator[PreTrainedTokenizerBase]:
    """That one, and the real one of Qwen2.5 where it is on this machine."""
    yield tokenizer()
    folder = SHARED / "tokenizers/qwen2.5"
    if folder.exists():
        yield AutoTokenizer.from_pretrained(folder)


def model() -> PreTrainedModel:
    """A random two-layer model with visible differences between tokens."""
    made = new_model(TINY, tokenizer())
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    return made.eval()


def rows(people: int = 5, seed: int = 0) -> pl.DataFrame:
    """Respondents of one study who each answer all three questions, as ``split`` writes them."""
    rng = np.random.default_rng(seed)
    answers = {
        1: lambda: rng.integers(1, 8),
        2: lambda: rng.choice([0, 7, 10, 55, 100]),
        3: lambda: rng.integers(1, 3),
    }
    records = []
    for person in range(people):
        fields = {**dict.fromkeys(DEMOGRAPHICS), "age": str(18 + 9 * person)}
        fields["gender"] = ["Female", "Male", None][person % 3]
        for task, stimuli in SCENARIOS.items():
            records.append(("tram1", len(records), person, 1, task, fields, stimuli, int(answers[task]())))
    return resolve_scales(pl.DataFrame(records, schema=RESPONSES, orient="row"))
