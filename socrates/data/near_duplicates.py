"""Texts of different studies that say the same: the leak that exact comparison does not see.

A stimulus is cut into scenario, question and instruction. Proper names and numbers are masked, the rest becomes
word shingles (single words and pairs), weighted by how few studies have them, and two texts are near-duplicates
where the cosine of their weights is at least :data:`THRESHOLD`. A shingle that every study has weighs nearly
nothing, so that a shared template alone makes no near-duplicate; a text that is equal once masked always is one.

Calibration, on the 38 studies of SocSci210 at hand: scenarios of different studies have a cosine of at most 0.15;
scenarios whose place names, numbers, two filler words or order of sentences were changed have 0.72 or more.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import polars as pl
from scipy import sparse
from scipy.sparse.csgraph import connected_components
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.preprocessing import normalize

THRESHOLD = 0.6
PARTS = ("scenario", "question", "instruction")
BLOCK = 512  # texts compared with all others at a time
NAME, NUMBER = "@", "#"

NEAR_DUPLICATES = {
    "part": pl.String,  # of PARTS, or "text": the whole
    "similarity": pl.Float64,
    "test_study": pl.String,
    "train_study": pl.String,
    "test_text": pl.String,
    "train_text": pl.String,
}

_SENTENCE = re.compile(r"(?<!\b[A-Z]\.)(?<=[.?!])[\"'”’)]*\s+|\n+")
_CUE = re.compile(
    r"\b(?:only|please|just)\s+(?:only\s+)?(?:return|respond|reply|answer|enter|give|choose|select|pick|type|write)\b"
    r"|\b(?:return|respond with|answer with|enter)\b[^.?!]{0,40}\b(?:integer|number)\b",
    re.IGNORECASE,
)
_WORD = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*|\d[\d.,]*")


def text_parts(stimuli: str) -> tuple[str, str, str]:
    """Scenario, question (the last sentence that asks) and answer instruction; a part may be empty."""
    sentences = [text for text in _SENTENCE.split(stimuli) if text and text.strip()]
    end = next((i for i, text in enumerate(sentences) if _CUE.search(text)), len(sentences))
    body, instruction = sentences[:end], " ".join(sentences[end:])
    if not body:
        return "", "", instruction
    asked = max((i for i, text in enumerate(body) if "?" in text), default=len(body) - 1)
    return " ".join(body[:asked] + body[asked + 1 :]), body[asked], instruction


def mask_names(texts: Sequence[str]) -> list[str]:
    """``texts`` in lower case, without punctuation, numbers as ``#`` and proper names as ``@``.

    A word is a name if it is written with a capital and never without one in any of the texts.
    """
    words = [_WORD.findall(text) for text in texts]
    common = {word for line in words for word in line if word[0].islower()}

    def masked(word: str) -> str:
        if word[0].isdigit():
            return NUMBER
        return NAME if word[0].isupper() and word.lower() not in common else word.lower()

    lines = [[masked(word) for word in line] for line in words]
    return [
        " ".join(word for i, word in enumerate(line) if word != NAME or i == 0 or line[i - 1] != NAME)
        for line in lines
    ]


def similarities(texts: Sequence[str], studies: Sequence[str]) -> sparse.csr_array:
    """Cosine of every two texts of different studies, ``[texts, texts]``; those below the threshold are left out."""
    masked = mask_names(texts)
    codes = np.unique(np.asarray(studies), return_inverse=True)[1]
    _, same = np.unique(masked, return_inverse=True)
    vectorizer = CountVectorizer(
        ngram_range=(1, 2), binary=True, token_pattern=r"\S+", stop_words=[NAME, NUMBER]
    )
    try:
        counts = sparse.csr_array(vectorizer.fit_transform(masked), dtype=np.float64)
    except ValueError:  # names and numbers only
        counts = sparse.csr_array((len(masked), 1))
    of_study = sparse.csr_array((np.ones(len(codes)), (codes, np.arange(len(codes)))))
    with_it = np.asarray(((of_study @ counts) > 0).sum(axis=0)).ravel()
    weights = np.log((1 + of_study.shape[0]) / np.maximum(with_it, 1))
    vectors = sparse.csr_array(normalize(counts.multiply(weights[None]).tocsr()))
    rows, columns, values = [], [], []
    for start in range(0, len(masked), BLOCK):
        here = np.arange(start, min(start + BLOCK, len(masked)))
        block = (vectors[here] @ vectors.T).toarray()
        block[same[here][:, None] == same[None]] = 1.0
        block[codes[here][:, None] == codes[None]] = 0.0
        row, column = np.nonzero(block >= THRESHOLD)
        rows.append(here[row])
        columns.append(column)
        values.append(block[row, column])
    entries = (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns)))
    return sparse.csr_array(entries, shape=(len(masked), len(masked)))


def linked_studies(texts: pl.DataFrame) -> dict[str, int]:
    """The group of each study: studies that share a near-duplicate scenario, directly or over others, are one.

    Args:
        texts: ``study_id``, ``stimuli``.
    """
    names = sorted(set(texts["study_id"]))
    table = _with_parts(texts).filter(pl.col("scenario") != "")
    table = table.select("study_id", "scenario").unique().sort("study_id", "scenario")
    links = sparse.lil_array((len(names), len(names)))
    if table.height:
        code = {name: i for i, name in enumerate(names)}
        ids = np.array([code[name] for name in table["study_id"]])
        found = similarities(table["scenario"].to_list(), table["study_id"].to_list()).tocoo()
        links[ids[found.row], ids[found.col]] = 1
    groups = connected_components(links.tocsr(), directed=False)[1]
    return dict(zip(names, groups.tolist(), strict=True))


def near_duplicates(train: pl.DataFrame, test: pl.DataFrame) -> pl.DataFrame:
    """The most similar training text of each part of each test text that has a near-duplicate in training.

    Args:
        train, test: ``study_id``, ``stimuli``.

    Returns:
        ``NEAR_DUPLICATES``, one row a distinct part of a test text, sorted by part, then study and text.
    """
    sides = [_with_parts(table).with_columns(side=pl.lit(side)) for side, table in enumerate((train, test))]
    both = pl.concat(sides)
    tables = [_of_part(both, part) for part in PARTS]
    return pl.concat([pl.DataFrame(schema=NEAR_DUPLICATES), *tables])


def repeated_texts(train: pl.DataFrame, test: pl.DataFrame) -> pl.DataFrame:
    """Test texts that stand word for word in training rows of the same study, as ``NEAR_DUPLICATES``."""
    key = ["study_id", "stimuli"]
    same = test.select(key).unique().join(train.select(key).unique(), on=key).sort(key)
    study, text = pl.col("study_id"), pl.col("stimuli")
    return same.select(
        part=pl.lit("text"),
        similarity=pl.lit(1.0),
        test_study=study,
        train_study=study,
        test_text=text,
        train_text=text,
    )


def flag_near_duplicates(stimuli: Sequence[str], duplicates: pl.DataFrame) -> list[bool]:
    """Whether each text, its scenario, or the question of a text without scenario, stands in ``duplicates``."""
    seen = {part: set(duplicates.filter(part=part)["test_text"]) for part in ("text", *PARTS[:2])}
    known: dict[str, bool] = {}
    for text in set(stimuli):
        scenario, question, _ = text_parts(text)
        part = scenario in seen["scenario"] if scenario else question in seen["question"]
        known[text] = part or text in seen["text"]
    return [known[text] for text in stimuli]


def _with_parts(texts: pl.DataFrame) -> pl.DataFrame:
    distinct = texts.select("study_id", "stimuli").unique(maintain_order=True)
    parts = [text_parts(text) for text in distinct["stimuli"]]
    return distinct.with_columns(pl.Series(part, [row[i] for row in parts]) for i, part in enumerate(PARTS))


def _of_part(both: pl.DataFrame, part: str) -> pl.DataFrame:
    table = both.filter(pl.col(part) != "").select("side", "study_id", part).unique().sort(pl.all())
    if table["side"].n_unique() < 2:
        return pl.DataFrame(schema=NEAR_DUPLICATES)
    found = similarities(table[part].to_list(), table["study_id"].to_list()).tocoo()
    pairs = pl.DataFrame({"similarity": found.data, "test": found.row, "train": found.col})
    test = (table["side"] == 1).to_numpy()
    pairs = pairs.filter(pl.Series(test[found.row] & ~test[found.col]))
    best = pairs.sort("test", "similarity", "train", descending=[False, True, False])
    best = best.unique("test", keep="first", maintain_order=True)
    columns = {
        "part": pl.Series([part] * best.height, dtype=pl.String),
        "similarity": best["similarity"].round(3),
    }
    for name, column in (("study", "study_id"), ("text", part)):
        columns |= {f"{side}_{name}": table[column].gather(best[side]) for side in ("test", "train")}
    return pl.DataFrame(columns).select(*NEAR_DUPLICATES)
