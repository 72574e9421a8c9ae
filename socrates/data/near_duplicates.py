"""Texts of different studies that say the same: the leak that exact comparison does not see.

A stimulus is cut into scenario, question and instruction. Proper names and numbers are masked, the rest becomes
word shingles (single words and pairs), weighted by how few studies have them, and two texts are near-duplicates
where the cosine of their weights is at least :data:`THRESHOLD`. A shingle that every study has weighs nearly
nothing, so that a shared template alone makes no near-duplicate; a text that is equal once masked always is one.

Calibration, on the 38 studies of SocSci210 at hand: scenarios of different studies have a cosine of at most 0.15;
scenarios whose place names, numbers, two filler words or order of sentences were changed have 0.72 or more.
"""

import functools
import itertools
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from socrates.core.files import Schema

THRESHOLD = 0.6
PARTS = ("scenario", "question", "instruction")
BLOCK = 512  # texts compared with those of a study at a time

NEAR_DUPLICATES: Schema = {  # ``part`` is of PARTS, or "text": the whole
    "part": pl.String,
    "similarity": pl.Float64,
    **dict.fromkeys(("test_study", "train_study", "test_text", "train_text"), pl.String),
}

_SENTENCE = re.compile(r"(?<!\b[A-Z]\.)(?<=[.?!])[\"'”’)]*\s+|\n+")
_CUE = re.compile(
    r"\b(?:only|please|just)\s+(?:only\s+)?(?:return|respond|reply|answer|enter|give|choose|select|pick|type|write)\b"
    r"|\b(?:return|respond with|answer with|enter)\b[^.?!]{0,40}\b(?:integer|number)\b",
    re.IGNORECASE,
)
_WORD = r"\p{L}+(?:['’-]\p{L}+)*|\d[\d.,]*"


@functools.lru_cache(maxsize=2**18)  # the texts of all studies are cut more than once
def text_parts(stimuli: str) -> tuple[str, str, str]:
    """Scenario, question (the last sentence that asks) and answer instruction; a part may be empty.

    The instruction begins at the first cue behind the last question mark, so that "Please answer honestly." at the
    head of a text is none; in a text without a question mark, at the last cue and those directly before it.
    """
    sentences = [text for text in _SENTENCE.split(stimuli) if text and text.strip()]
    asking = max((i for i, text in enumerate(sentences) if "?" in text), default=-1)
    cues = {i for i, text in enumerate(sentences) if i > asking and _CUE.search(text)}
    begins = sorted(i for i in cues if i - 1 not in cues) or [len(sentences)]
    end = begins[0] if asking >= 0 else begins[-1]
    asked = asking if asking >= 0 else end - 1
    body = sentences[:end]
    parts = (body[:asked] + body[asked + 1 :], body[asked : asked + 1], sentences[end:])
    scenario, question, instruction = map(" ".join, parts)
    return scenario, question, instruction


def similarities(
    texts: Sequence[str], studies: Sequence[str], test: Sequence[bool] | None = None
) -> sparse.coo_array:
    """Cosines of at least the threshold, ``[texts, texts]``, of texts of different studies; each pair once.

    A text is held against those of another study only where it could reach the threshold with the largest weight that
    the study's texts give to each shingle (the bound of Bayardo, Ma and Srikant 2007): of studies that do not
    resemble each other, no two texts are compared. ``test`` says which texts (rows) are held against the others
    (columns); None compares all with all.
    """
    codes = np.unique(np.asarray(studies), return_inverse=True)[1]
    vectors = _vectors(texts, codes)
    of_study = [np.flatnonzero(codes == study) for study in range(max(codes) + 1)]
    ceilings = sparse.vstack([vectors[members].max(axis=0).tocsr() for members in of_study])
    reaches = (vectors @ ceilings.T).toarray() >= THRESHOLD - 1e-9  # what rounding may take from a bound
    asked = np.ones(len(codes), bool) if test is None else np.asarray(test)
    against = asked if test is None else ~asked
    found = [(np.empty(0), np.empty(0, int), np.empty(0, int))]
    for one, other in itertools.permutations(range(len(of_study)), 2):
        rows, columns = of_study[one], of_study[other]
        rows = rows[asked[rows] & reaches[rows, other]]
        columns = columns[against[columns] & reaches[columns, one]]
        if len(rows) and len(columns) and (one < other or test is not None):
            for here in np.array_split(rows, len(rows) // BLOCK + 1):
                block = (vectors[here] @ vectors[columns].T).tocoo()
                kept = block.data >= THRESHOLD
                found.append((block.data[kept], here[block.row[kept]], columns[block.col[kept]]))
    values, first, second = (np.concatenate(part) for part in zip(*found, strict=True))
    return sparse.coo_array((values, (first, second)), shape=(len(codes), len(codes)))


def _vectors(texts: Sequence[str], codes: NDArray[np.int64]) -> sparse.csr_array:
    """``[texts, shingles]`` weights of length 1 a text, less the shingles of one study alone, which no other shares.

    Words are in lower case, without numbers and names, unless a text has nothing else. A word is a name if it is
    written with a capital and never without one in any of the texts.
    """
    words = pl.DataFrame({"text": range(len(codes)), "study": codes, "word": texts})
    words = words.with_columns(pl.col("word").str.extract_all(_WORD)).explode("word")
    words = words.with_columns(lower=pl.col("word").str.to_lowercase())
    common = words.filter(pl.col("word").str.contains(r"^\p{Ll}"))["lower"].unique()
    name = pl.col("word").str.contains(r"^\p{Lu}") & ~pl.col("lower").is_in(common.implode())
    masked = pl.when(name).then(pl.lit("@")).when(pl.col("word").str.contains(r"^\d")).then(pl.lit("#"))
    words = words.with_columns(word=masked.otherwise("lower").fill_null(""))
    plain = ~pl.col("word").is_in(["@", "#"])
    words = words.filter(plain | ~plain.any().over("text"))
    words = words.with_columns(word=pl.col("word").rank("dense").cast(pl.Int64) - 1)
    follows = pl.col("text") == pl.col("text").shift(-1)
    pairs = words.with_columns(word=pl.col("word").shift(-1) + pl.col("word") * words.height + words.height)
    shingles = pl.concat([words, pairs.filter(follows)]).unique(["text", "word"])
    shared = pl.col("study").n_unique().over("word")
    table = shingles.with_columns(studies=shared, weight=((1 + pl.col("study").n_unique()) / shared).log())
    table = table.with_columns(pl.col("weight") / (pl.col("weight") ** 2).sum().sqrt().over("text"))
    table = table.filter(pl.col("studies") > 1).with_columns(word=pl.col("word").rank("dense") - 1)
    entries = (table["weight"].to_numpy(), (table["text"].to_numpy(), table["word"].to_numpy()))
    return sparse.csr_array(entries, shape=(len(codes), table["word"].n_unique()))


def linked_studies(texts: pl.DataFrame) -> dict[str, int]:
    """The group of each study: studies that share a near-duplicate scenario, directly or over others, are one.

    Of a text without a scenario its question counts, and without that its instruction. Reads ``study_id``, ``stimuli``.
    """
    told = pl.coalesce(*(pl.when(pl.col(part) != "").then(pl.col(part)) for part in PARTS), "stimuli")
    table = _with_parts(texts).select("study_id", scenario=told).unique().sort("study_id", "scenario")
    found = similarities(table["scenario"].to_list(), table["study_id"].to_list())
    names, ids = np.unique(table["study_id"].to_numpy(), return_inverse=True)
    links = sparse.csr_array((found.data, (ids[found.row], ids[found.col])), shape=(len(names), len(names)))
    groups = connected_components(links, directed=False)[1]
    return dict(zip(names.tolist(), groups.tolist(), strict=True))


def near_duplicates(train: pl.DataFrame, test: pl.DataFrame) -> pl.DataFrame:
    """The most similar training text of each distinct part of a test text that has a near-duplicate in training.

    Reads ``study_id`` and ``stimuli``; gives ``NEAR_DUPLICATES`` by part, then test study and text.
    """
    both = pl.concat(_with_parts(table).with_columns(test=table is test) for table in (train, test))
    tables = [pl.DataFrame(schema=NEAR_DUPLICATES)]
    for part in PARTS:
        table = both.filter(pl.col(part) != "").select("test", "study_id", part).unique().sort(pl.all())
        if table["test"].n_unique() < 2:
            continue
        found = similarities(table[part].to_list(), table["study_id"].to_list(), table["test"].to_list())
        pairs = pl.DataFrame({"similarity": found.data.round(9), "test": found.row, "train": found.col})
        best = pairs.sort("test", "similarity", "train", descending=[False, True, False])
        best = best.unique("test", keep="first", maintain_order=True)
        columns = [
            table[column].gather(best[side]) for column in ("study_id", part) for side in ("test", "train")
        ]
        values: tuple[Any, ...] = (pl.lit(part), pl.col("similarity").round(3), *columns)
        tables.append(best.select(**dict(zip(NEAR_DUPLICATES, values, strict=True))))
    return pl.concat(tables)


def repeated_texts(train: pl.DataFrame, test: pl.DataFrame) -> pl.DataFrame:
    """Test texts that stand word for word in training rows of the same study, as ``NEAR_DUPLICATES``."""
    key = ["study_id", "stimuli"]
    same = test.select(key).unique().join(train.select(key).unique(), on=key).sort(key)
    values: tuple[Any, ...] = (pl.lit("text"), pl.lit(1.0), "study_id", "study_id", "stimuli", "stimuli")
    return same.select(**dict(zip(NEAR_DUPLICATES, values, strict=True)))


def flag_near_duplicates(stimuli: Sequence[str], duplicates: pl.DataFrame) -> list[bool]:
    """Whether each text, or the first of its parts that is not empty, stands in ``duplicates``."""
    seen = {part: set(duplicates.filter(part=part)["test_text"]) for part in ("text", *PARTS)}

    def is_seen(text: str) -> bool:
        parts = zip(PARTS, text_parts(text), strict=True)
        name, part = next((pair for pair in parts if pair[1]), ("text", text))
        return part in seen[name] or text in seen["text"]

    return [is_seen(text) for text in stimuli]


def _with_parts(texts: pl.DataFrame) -> pl.DataFrame:
    distinct = texts.select("study_id", "stimuli").unique(maintain_order=True)
    parts = [text_parts(text) for text in distinct["stimuli"]]
    return distinct.with_columns(pl.Series(part, [row[i] for row in parts]) for i, part in enumerate(PARTS))
