"""The packed tree computes what separate rows would: same numbers, same gradients."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from socrates.model.prefix_sharing import IGNORED, branch_offsets, pack, shared_attention
from socrates.model.tokenisation import encode
from socrates.training.collator import SharedCollator, plain_dataset
from tests import tiny

LAYOUTS = ["scenario_first", "persona_first"]


def plain_logits(model, stem, branch):
    ids = torch.from_numpy(np.concatenate([stem, branch]).astype(np.int64))[None]
    return model(input_ids=ids, use_cache=False).logits[0, len(stem) :]


def ragged(rng, stems=3, branches=7):
    draw = lambda low, high: rng.integers(3, 300, rng.integers(low, high)).astype(np.int32)  # noqa: E731
    return (
        [draw(1, 20) for _ in range(stems)],
        [draw(1, 12) for _ in range(branches)],
        [int(rng.integers(stems)) for _ in range(branches)],
    )


@pytest.mark.parametrize("seed", range(3))
def test_packed_logits_equal_those_of_separate_rows(seed):
    model = tiny.model()
    stems, branches, of_branch = ragged(np.random.default_rng(seed))
    with shared_attention(model), torch.no_grad():
        packed = model(**pack(stems, branches, of_branch), use_cache=False).logits[0]
    for branch, stem, start in zip(branches, of_branch, branch_offsets(stems, branches), strict=True):
        with torch.no_grad():
            expected = plain_logits(model, stems[stem], branch)
        torch.testing.assert_close(packed[start : start + len(branch)], expected, atol=2e-5, rtol=1e-4)


def test_a_branch_does_not_see_another_branch_or_another_stem():
    model = tiny.model()
    stems, branches, of_branch = ragged(np.random.default_rng(1))
    changed = [*branches[:-1], (branches[-1] + 1) % 300]
    last = branch_offsets(stems, branches)[-1]
    with shared_attention(model), torch.no_grad():
        before, after = (
            model(**pack(stems, b, of_branch), use_cache=False).logits[0] for b in (branches, changed)
        )
    torch.testing.assert_close(before[:last], after[:last])
    assert (before[last:] - after[last:]).abs().max() > 1e-3


def test_a_tree_of_answers_equals_each_path_on_its_own():
    model, rng = tiny.model(), np.random.default_rng(2)
    stem, prompt = rng.integers(3, 300, 9).astype(np.int32), rng.integers(3, 300, 5).astype(np.int32)
    nodes = np.array([11, 12, 13], dtype=np.int32)  # 11 -> 12, and 13 beside 11
    sees = np.array([[1, 0, 0], [1, 1, 0], [0, 0, 1]], dtype=bool)
    inputs = pack([stem], [np.concatenate([prompt, nodes])], [0], sees, np.array([1, 2, 1]))
    with shared_attention(model), torch.no_grad():
        packed = model(**inputs, use_cache=False).logits[0, len(stem) + len(prompt) :]
    with torch.no_grad():
        path = plain_logits(model, stem, np.concatenate([prompt, nodes[:2]]))[-2:]
        lone = plain_logits(model, stem, np.concatenate([prompt, nodes[2:]]))[-1]
    torch.testing.assert_close(packed[:2], path, atol=2e-5, rtol=1e-4)
    torch.testing.assert_close(packed[2], lone, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_loss_and_gradients_equal_those_of_padded_rows(layout):
    data = encode(tiny.rows(), tiny.tokenizer(), layout)
    order = np.random.default_rng(0).permutation(len(data))[:11]
    gradients, losses = [], []
    for packed in (True, False):
        model = tiny.model()
        if packed:
            batch = SharedCollator(data)([{"rows": order.tolist()}])
            labels = batch.pop("shift_labels")
            del batch["labels"]
            with shared_attention(model):
                logits = model(**batch, use_cache=False).logits
            assert logits.shape[1] == labels.shape[1]  # nothing else reaches the vocabulary
            loss = F.cross_entropy(logits[0], labels[0])
        else:
            total, count = 0.0, 0
            for item in plain_dataset(data, order):
                labels = torch.tensor(item["labels"])
                logits = model(input_ids=torch.tensor(item["input_ids"])[None], use_cache=False).logits[0]
                total = total + F.cross_entropy(
                    logits[:-1], labels[1:], ignore_index=IGNORED, reduction="sum"
                )
                count += int((labels[1:] != IGNORED).sum())
            loss = total / count
        loss.backward()
        losses.append(loss.item())
        gradients.append(torch.cat([p.grad.flatten() for p in model.parameters()]))
    assert abs(losses[0] - losses[1]) < 1e-5
    assert F.cosine_similarity(*gradients, dim=0) > 0.9999


def test_gradients_repeat_bit_for_bit_on_several_threads():
    data = encode(tiny.rows(), tiny.tokenizer(), "scenario_first")
    batch = SharedCollator(data)([{"rows": list(range(len(data))) * 8}])
    labels = batch.pop("shift_labels")
    del batch["labels"]
    model = tiny.model()
    threads = torch.get_num_threads()
    torch.set_num_threads(4)
    try:
        seen = set()
        for _ in range(12):
            model.zero_grad()
            with shared_attention(model):
                F.cross_entropy(model(**batch, use_cache=False).logits[0], labels[0]).backward()
            seen.add(torch.cat([p.grad.flatten() for p in model.parameters()]).numpy().tobytes())
    finally:
        torch.set_num_threads(threads)
    assert len(seen) == 1
