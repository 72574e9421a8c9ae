"""Rows as flat arrays of ids: the same as tokenising row by row, kept on disk, cut into batches."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from socrates.core.errors import DataError
from socrates.core.files import parquet_parts
from socrates.model import tokenisation
from socrates.model.encoding import encode, encode_tables, read_row_groups
from socrates.model.jagged import JaggedArray
from socrates.model.tokenisation import end_token, token_ids
from socrates.runs import token_cache
from socrates.runs.fingerprint import SCRATCH_VARIABLE
from socrates.survey.prompts import answer_part, persona_expression, template
from tests import tiny

sequences = st.lists(st.lists(st.integers(0, 99), max_size=5), max_size=6)


@given(sequences, st.data())
def test_ragged_holds_takes_and_joins_sequences(lists, data):
    ragged = JaggedArray.from_sequences(lists, np.int32)
    assert [part.tolist() for part in ragged] == lists
    index = data.draw(st.lists(st.integers(0, len(lists) - 1), max_size=8)) if lists else []
    taken = ragged.take(np.array(index, dtype=np.int64))
    assert [part.tolist() for part in taken] == [lists[i] for i in index]
    joined = JaggedArray.concatenate([ragged, taken], np.int32)
    assert [part.tolist() for part in joined] == lists + [lists[i] for i in index]


def row_by_row(table, tokenizer, layout):
    """What an encoding means: three texts a row, tokenised apart, texts numbered as they appear."""
    numbers: list[dict[str, int]] = [{}, {}, {}]
    rows = []
    personas = table.select(persona_expression())["persona"]
    words = template(layout)
    for row, persona in zip(table.iter_rows(named=True), personas, strict=True):
        parts = words.scenario_part(row["stimuli"]), words.persona_part(persona)
        texts = (*parts, answer_part(row["response"]))
        ids = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
        index = [known.setdefault(text, len(known)) for known, text in zip(numbers, texts, strict=True)]
        rows.append((*ids[:2], [*ids[2], end_token(tokenizer)], index))
    return rows


def many_rows():
    """More distinct texts than are tokenised whole, with pieces in common, and some awkward ends."""
    table = pl.concat([tiny.rows(40, seed) for seed in range(3)])
    places = ["Lyon (Rhône). ", "the U.S.A.; ", "№ 7? ", "St. Gallen.  ", "x.y;\n", "end... "]
    texts = [f"In {places[n % 6]}You wait {n % 50} min. {text}" for n, text in enumerate(table["stimuli"])]
    return table.with_columns(stimuli=pl.Series(texts)).sample(fraction=1, shuffle=True, seed=7)


@pytest.mark.parametrize("layout", ["scenario_first", "persona_first"])
def test_an_encoding_equals_tokenising_row_by_row(layout, monkeypatch):
    monkeypatch.setattr(tokenisation, "PROBED", 16)  # so that pieces are joined
    monkeypatch.setattr(tokenisation, "TEXTS_AT_ONCE", 37)
    table = many_rows()
    for tokenizer in tiny.tokenizers():
        expected = row_by_row(table, tokenizer, layout)
        whole = encode(table, tokenizer, layout)
        in_parts = encode_tables([table[:70], table[70:71], table[71:]], tokenizer, layout)
        for data in (whole, in_parts):
            for row, (scenario, persona, answer, index) in enumerate(expected):
                own = persona if layout == "scenario_first" else persona + scenario
                assert data.prefix_ids(row).tolist() == (scenario if layout == "scenario_first" else [])
                assert data.suffix_ids(row).tolist() == own
                assert data.answer_ids(row).tolist() == answer
                found = data.scenario_of_row[row], data.persona_of_row[row], data.answer_of_row[row]
                assert list(found) == index
            rows = range(len(data))
            assert data.suffix_lengths().tolist() == [len(data.suffix_ids(row)) for row in rows]
            assert data.prefix_lengths().tolist() == [len(data.prefix_ids(row)) for row in rows]


def test_texts_are_joined_from_pieces_only_where_the_tokenizer_allows_it(monkeypatch):
    texts = [f"We waited. The tram {n % 9} came; Nobody rode it." for n in range(1200)]
    calls = []

    class Odd:
        """Counts the letters before it: no piece can be tokenised on its own."""

        def __call__(self, texts, **_):
            calls.append(len(texts))
            return {"input_ids": [list(range(len(text))) for text in texts]}

    ids = token_ids(Odd(), texts)
    assert [part.tolist() for part in ids] == [list(range(len(text))) for text in texts]
    assert sum(calls) >= len(texts)
    monkeypatch.setattr(tokenisation, "_ids_of_texts", lambda tokenizer, texts: pytest.fail("not needed"))
    assert len(token_ids(Odd(), [])) == 0


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A base folder with a tokenizer, and a scratch."""
    monkeypatch.setenv(SCRATCH_VARIABLE, str(tmp_path / "scratch"))
    tiny.tokenizer().save_pretrained(tmp_path / "base")
    (tmp_path / "base/config.json").write_text('{"model_type": "qwen2"}')
    (tmp_path / "base/manifest.json").write_text('{"kind": "builtin"}')
    return tmp_path


def same(one, other):
    for name in token_cache.TEXTS:
        np.testing.assert_array_equal(getattr(one, name).values, getattr(other, name).values)
        np.testing.assert_array_equal(getattr(one, name).offsets, getattr(other, name).offsets)
    for name in token_cache.ROWS:
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


def test_an_encoding_is_made_once_and_read_back(folder, monkeypatch):
    tables = [tiny.rows(9, seed=1), tiny.rows(4, seed=2)]
    files = [folder / "train.parquet", folder / "val.parquet"]
    for path, table in zip(files, tables, strict=True):
        with parquet_parts(path) as write:
            for part in (table[:5], table[5:]):
                write(part)
    assert sum(len(part) for part in read_row_groups(files[0])) == len(tables[0])
    first = token_cache.tokenised(files, folder / "base", "scenario_first")
    same(first, encode(pl.concat(tables), tiny.tokenizer(), "scenario_first"))
    monkeypatch.setattr(token_cache, "encode_tables", lambda *_: pytest.fail("tokenised again"))
    same(token_cache.tokenised(files, folder / "base", "scenario_first"), first)
    monkeypatch.undo()


@pytest.mark.parametrize("damage", ["flip", "truncate", "delete"])
def test_a_damaged_encoding_is_made_again(damage, folder, caplog):
    path = folder / "train.parquet"
    tiny.rows(9).write_parquet(path)
    first = token_cache.tokenised([path], folder / "base", "scenario_first").take(np.arange(27))
    (array,) = (folder / "scratch/encoded").glob("*/answer_of_row.npy")
    content = bytearray(array.read_bytes())
    content[-8] ^= 1
    array.unlink()
    if damage != "delete":
        array.write_bytes(content if damage == "flip" else content[:200])
    same(token_cache.tokenised([path], folder / "base", "scenario_first"), first)
    assert "damaged; encoding again" in caplog.text


def test_another_table_or_layout_is_encoded_anew_and_old_encodings_go(folder):
    path = folder / "train.parquet"
    for people in range(1, 7):
        tiny.rows(people).write_parquet(path)
        assert len(token_cache.tokenised([path], folder / "base", "scenario_first")) == 3 * people
    assert token_cache.tokenised([path], folder / "base", "persona_first").layout == "persona_first"
    kept = [item for item in (folder / "scratch/encoded").iterdir() if item.is_dir()]
    assert len(kept) == token_cache.KEPT


def test_a_missing_table_is_one_clear_line(folder):
    with pytest.raises(DataError, match=r"none\.parquet: not found"):
        token_cache.tokenised([folder / "none.parquet"], folder / "base", "scenario_first")
