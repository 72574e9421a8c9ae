"""The trie walk gives the probability of each answer with its end token, exactly."""

import numpy as np
import pytest
import torch

from socrates.core.errors import ModelError
from socrates.model.answer_trie import answer_trie
from socrates.model.encoding import encode
from socrates.model.tokenisation import end_token
from socrates.prediction.distributions import edge_log_probabilities, predict_distributions
from socrates.survey.scales import scale
from tests import tiny


def brute_force(model, data, row, notation, tokenizer):
    """Log-probability of each option by one forward pass an option."""
    prompt = np.concatenate([data.prefix_ids(row), data.suffix_ids(row)])
    result = []
    for option in scale(notation).options:
        answer = [*tokenizer(str(option), add_special_tokens=False)["input_ids"], end_token(tokenizer)]
        ids = torch.tensor([*prompt, *answer])[None]
        with torch.no_grad():
            logp = model(input_ids=ids, use_cache=False).logits[0].log_softmax(-1)
        at = len(prompt) - 1
        result.append(sum(logp[at + i, token].item() for i, token in enumerate(answer)))
    return np.array(result)


@pytest.mark.parametrize("layout", ["scenario_first", "persona_first"])
@pytest.mark.parametrize("tokens_per_batch", [64, 4096])
def test_every_option_of_every_scale_equals_brute_force(layout, tokens_per_batch):
    model, tokenizer = tiny.model(), tiny.tokenizer()
    table = tiny.rows()
    data, scales = encode(table, tokenizer, layout), table["scale"].to_list()
    expected = [brute_force(model, data, row, scales[row], tokenizer) for row in range(6)]
    probabilities, mass = predict_distributions(model, tokenizer, data, scales, tokens_per_batch)
    for row, log_probability in enumerate(expected):
        total = np.exp(log_probability).sum()
        np.testing.assert_allclose(mass[row], total, rtol=1e-4)
        np.testing.assert_allclose(probabilities[row], np.exp(log_probability) / total, rtol=1e-3, atol=1e-6)
        assert len(probabilities[row]) == len(scale(scales[row]).options)


def test_logits_of_a_bfloat16_model_are_not_rounded_to_its_steps():
    trie = answer_trie(tiny.tokenizer(), "1..7")
    generator = torch.Generator().manual_seed(0)
    head = torch.nn.Linear(64, 320, bias=True).bfloat16().requires_grad_(False)
    head.weight.copy_(3 * torch.randn(head.weight.shape, generator=generator))  # logits up to 80
    hidden = torch.randn((3, trie.nodes + 1, 64), generator=generator).bfloat16()
    exact = (hidden.double() @ head.weight.double().T + head.bias.double()).log_softmax(-1)
    edges = edge_log_probabilities(head, hidden, trie)
    np.testing.assert_allclose(edges, exact[:, trie.edge_parent, trie.edge_token], atol=1e-4)


@pytest.mark.parametrize("layout", ["scenario_first", "persona_first"])
def test_what_people_answered_does_not_reach_the_prediction(layout):
    model, tokenizer = tiny.model(), tiny.tokenizer()
    found = []
    for seed in (0, 1):  # the same people and texts, other answers
        table = tiny.rows(seed=seed)
        data = encode(table, tokenizer, layout)
        found.append((table, *predict_distributions(model, tokenizer, data, table["scale"].to_list(), 4096)))
    (first, one, mass), (second, other, other_mass) = found
    assert (first["response"] != second["response"]).sum() > 5
    np.testing.assert_array_equal(one.values, other.values)
    np.testing.assert_array_equal(mass, other_mass)


def test_a_tokenizer_without_an_end_token_is_refused():
    tokenizer = tiny.tokenizer()
    tokenizer.eos_token = None
    with pytest.raises(ModelError, match="no end token"):
        encode(tiny.rows(), tokenizer, "scenario_first")
