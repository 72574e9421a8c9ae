"""A packed batch computes what separate rows would: the same numbers, the same gradients."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from benchmarks.workload import plain_rows
from socrates.model.answer_trie import build_trie
from socrates.model.encoding import encode
from socrates.model.prefix_sharing import IGNORED, pack, suffix_offsets, use_prefix_sharing
from socrates.training.collator import training_batch
from tests import tiny


def model_pair():
    """The same model twice: one reads packed batches, one separate rows."""
    packed = tiny.model()
    use_prefix_sharing(packed)
    return packed, tiny.model()


def plain_logits(model, prefix, suffix):
    ids = torch.from_numpy(np.concatenate([prefix, suffix]).astype(np.int64))[None]
    return model(input_ids=ids, use_cache=False).logits[0, len(prefix) :]


def batch_loss(model, data, rows):
    """The loss of a training batch, whose labels are shifted already."""
    batch = training_batch(data, rows)
    labels = batch.pop("shift_labels")
    del batch["labels"]
    return F.cross_entropy(model(**batch, use_cache=False).logits[0], labels[0])


def test_cudnn_builds_no_plan_for_each_shape():
    torch.backends.cuda.enable_cudnn_sdp(True)
    model_pair()
    assert not torch.backends.cuda.cudnn_sdp_enabled()


@torch.no_grad()
@pytest.mark.parametrize("seed", range(3))
def test_packed_logits_equal_those_of_separate_rows(seed):
    model, plain = model_pair()
    rng = np.random.default_rng(seed)
    prefixes, suffixes = (
        [rng.integers(3, 300, length).astype(np.int32) for length in rng.integers(1, most, count)]
        for most, count in ((20, 3), (12, 7))
    )
    index = rng.integers(3, size=7).tolist()
    packed = model(**pack(prefixes, suffixes, index), use_cache=False).logits[0]
    for suffix, prefix, start in zip(suffixes, index, suffix_offsets(prefixes, suffixes), strict=True):
        expected = plain_logits(plain, prefixes[prefix], suffix)
        torch.testing.assert_close(packed[start : start + len(suffix)], expected, atol=2e-5, rtol=1e-4)


@torch.no_grad()
def test_a_trie_of_answers_equals_each_path_on_its_own():
    model, plain = model_pair()
    rng, end = np.random.default_rng(2), 2
    prefix, prompts = rng.integers(3, 300, 9), [rng.integers(3, 300, length) for length in (5, 2)]
    trie = build_trie([np.array(answer) for answer in ([11, end], [11, 12, end], [13, end])])
    assert trie.tokens.tolist() == [11, 12, 13]  # 11 -> 12, and 13 beside 11
    suffixes = [np.concatenate([prompt, trie.tokens]) for prompt in prompts]
    packed = model(**pack([prefix], suffixes, [0, 0], trie), use_cache=False).logits[0]
    for prompt, start in zip(prompts, suffix_offsets([prefix], suffixes), strict=True):
        nodes = packed[start + len(prompt) :][: trie.nodes]
        path = plain_logits(plain, prefix, np.concatenate([prompt, [11, 12]]))[-2:]
        alone = plain_logits(plain, prefix, np.concatenate([prompt, [13]]))[-1:]
        torch.testing.assert_close(nodes, torch.cat([path, alone]), atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("layout", ["scenario_first", "persona_first"])
def test_loss_and_gradients_equal_those_of_padded_rows(layout):
    data = encode(tiny.rows(), tiny.tokenizer(), layout)
    order = np.random.default_rng(0).permutation(len(data))[:11]
    model, plain = model_pair()
    packed_loss = batch_loss(model, data, order)
    total, count = torch.zeros(()), 0
    for item in plain_rows(data, order):
        labels = torch.tensor(item["labels"])
        logits = plain(input_ids=torch.tensor(item["input_ids"])[None], use_cache=False).logits[0]
        total = total + F.cross_entropy(logits[:-1], labels[1:], ignore_index=IGNORED, reduction="sum")
        count += int((labels[1:] != IGNORED).sum())
    losses = [packed_loss, total / count]
    for loss in losses:
        loss.backward()
    assert abs(losses[0] / losses[1] - 1) < 1e-6
    gradients = [torch.cat([p.grad.flatten() for p in each.parameters()]) for each in (model, plain)]
    assert F.cosine_similarity(*gradients, dim=0) > 0.9999


def test_gradients_repeat_bit_for_bit_on_several_threads():
    data = encode(tiny.rows(), tiny.tokenizer(), "scenario_first")
    model, _ = model_pair()
    threads = torch.get_num_threads()
    torch.set_num_threads(4)
    try:
        gradients = set()
        for _ in range(12):
            model.zero_grad()
            batch_loss(model, data, list(range(len(data))) * 8).backward()
            gradients.add(torch.cat([p.grad.flatten() for p in model.parameters()]).numpy().tobytes())
    finally:
        torch.set_num_threads(threads)
    assert len(gradients) == 1
