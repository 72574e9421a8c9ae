"""Pairs of preferred and rejected answers: of one cell, different, and spelt as prediction spells them."""

import numpy as np
import polars as pl
import pytest
from trl.trainer.dpo_trainer import DataCollatorForPreference

from socrates.core.errors import TrainingError
from socrates.model.encoding import encode, encode_tables
from socrates.survey.tables import CELL
from socrates.training.collator import Rows
from socrates.training.dpo import NOBODY, preference_pair, rejected_answers, usable_rows
from tests import tiny


def files(folder):
    """Two tables of the same cells, in the second of which question 3 has one answer only."""
    one, other = tiny.rows(30), tiny.rows(9, seed=1)
    other = other.with_columns(response=pl.when(pl.col("task_num") == 3).then(1).otherwise("response"))
    paths = folder / "one.parquet", folder / "other.parquet"
    for path, table in zip(paths, (one, other), strict=True):
        table.write_parquet(path)
    return paths, pl.concat([one.with_columns(file=0), other.with_columns(file=1)])


def test_the_rejected_answer_is_another_of_the_same_cell_and_likelier_where_it_is_common(tmp_path):
    paths, table = files(tmp_path)
    data = encode_tables([pl.read_parquet(path) for path in paths], tiny.tokenizer(), "scenario_first")
    drawn = np.stack([rejected_answers(data, paths, seed) for seed in range(300)])
    np.testing.assert_array_equal(drawn[3], rejected_answers(data, paths, 3))
    keys, answers = table.select("file", *CELL).rows(), table["response"].to_numpy()
    for row, key in enumerate(keys):
        others = [i for i, other in enumerate(keys) if other == key and answers[i] != answers[row]]
        assert set(drawn[:, row]) == (set(others) if others else {NOBODY})
    assert (drawn[0] == NOBODY).sum() == 9
    kept = usable_rows(Rows(data, np.arange(90), np.arange(90, 117)), paths, 0)
    assert len(kept.train) == 90 and len(kept.validation) == 18
    with pytest.raises(TrainingError, match="no validation cell"):
        usable_rows(Rows(data, np.arange(90), np.flatnonzero(drawn[0] == NOBODY)), paths, 0)


@pytest.mark.parametrize("layout", ["scenario_first", "persona_first"])
def test_a_pair_has_the_tokens_of_prediction(layout):
    data = encode(tiny.rows(4), tiny.tokenizer(), layout)
    collate = DataCollatorForPreference(pad_token_id=0)
    batch = collate([preference_pair(data, 2, 9), preference_pair(data, 5, 6)])
    for i, (row, answered) in enumerate([(2, 2), (5, 5), (2, 9), (5, 6)]):  # the chosen ones come first
        prompt = np.concatenate([data.prefix_ids(row), data.suffix_ids(row)])
        whole = np.concatenate([prompt, data.answer_ids(answered)])
        assert batch["input_ids"][i][: len(whole)].tolist() == whole.tolist()
        assert batch["completion_mask"][i].sum() == len(data.answer_ids(answered))
        assert not batch["completion_mask"][i][: len(prompt)].any()
