"""The questions of the training studies, how people answered them, and which are most alike another one."""

import re
from collections.abc import Iterator

import numpy as np
import polars as pl
from numpy.typing import NDArray
from sklearn.feature_extraction.text import TfidfVectorizer

from socrates.survey.scales import Scale, nearest, scale

Floats = NDArray[np.float64]
Alike = dict[tuple[str, str], NDArray[np.int64]]  # text and scale -> questions, the most alike first

BLOCK = 256  # texts that are held against all others at a time
LONGEST = 11  # options whose shares are told one by one
EXAMPLES = "How other people answered other questions:\n\n{examples}\n\nThe question:\n{question}"


class TrainingQuestions:
    """The distinct texts of training rows (``stimuli``, ``scale``, ``response``), one a length of their scale."""

    def __init__(self, rows: pl.DataFrame) -> None:
        asked = rows.select("stimuli", "scale", size=lengths(rows), option=pl.Series(option_index(rows)))
        counts: dict[tuple[str, int], Floats] = {}
        scales: dict[tuple[str, int], Scale] = {}
        for text, notation, size, option, number in asked.group_by(pl.all()).len().sort(pl.all()).iter_rows():
            counts.setdefault((text, size), np.zeros(size))[option] += number
            scales.setdefault((text, size), scale(notation))
        self.texts = [text for text, _ in counts]
        self.scales = list(scales.values())  # that of the first row where several are equally long
        self.shares = [count / count.sum() for count in counts.values()]  # of the answers, by option
        self._sizes = np.array([size for _, size in counts])
        self._idf = TfidfVectorizer(ngram_range=(1, 2), lowercase=False, token_pattern=None, tokenizer=_words)
        self._vectors = self._idf.fit_transform(self.texts)

    def most_alike(self, rows: pl.DataFrame, count: int) -> Alike:
        """Of each text and scale of ``rows`` at most ``count`` questions on as many options, by cosine of TF-IDF."""
        found: Alike = {}
        keys = rows.select("stimuli", "scale").unique(maintain_order=True)
        for (size,), part in keys.group_by(lengths(keys), maintain_order=True):
            same = np.flatnonzero(self._sizes == size)
            for block in part.iter_slices(BLOCK):
                alike = (self._vectors[same] @ self._idf.transform(block["stimuli"]).T).toarray().T
                for key, cosines in zip(block.iter_rows(), alike, strict=True):
                    found[key] = same[np.argsort(-cosines, kind="stable")[:count]]  # of equal ones the first
        return found

    def example(self, question: int) -> str:
        """A question and how it was answered; of a long scale only where the answers lie."""
        options, shares = np.array(self.scales[question].options), self.shares[question]
        if len(options) <= LONGEST:
            told = ", ".join(f"{option}: {share:.0%}" for option, share in zip(options, shares, strict=True))
        else:
            low, middle, high = options[np.searchsorted(np.cumsum(shares), (0.25, 0.5, 0.75))]
            told = f"a quarter at most {low}, half at most {middle}, three quarters at most {high}"
        return f"{self.texts[question]}\nAnswers: {told}"


def _words(text: str) -> list[str]:
    """Words without a capital: names tell one place from another, not one question from another."""
    return [word for word in re.findall(r"\b[^\W\d_]{2,}\b", text) if word == word.lower()] or [""]


def with_examples(rows: pl.DataFrame, train: pl.DataFrame, count: int) -> pl.DataFrame:
    """``rows`` whose texts begin with the ``count`` most similar training questions and their answers."""
    known = TrainingQuestions(train)
    texts: dict[tuple[str, str], str] = {}
    for (text, notation), alike in known.most_alike(rows, count).items():
        examples = "\n\n".join(known.example(question) for question in alike)
        texts[text, notation] = EXAMPLES.format(examples=examples, question=text) if examples else text
    told = [texts[key] for key in rows.select("stimuli", "scale").iter_rows()]
    return rows.with_columns(stimuli=pl.Series(told, dtype=pl.String))


def lengths(rows: pl.DataFrame) -> pl.Series:
    """How many options the scale of each row has."""
    return pl.Series("length", [len(scale(name).options) for name in rows["scale"]], pl.Int64)


def option_index(rows: pl.DataFrame) -> NDArray[np.int64]:
    """Position of each row's answer among the options of its scale."""
    index = np.zeros(rows.height, np.int64)
    for options, at in by_scale(rows):
        index[at] = np.searchsorted(options.options, nearest(options, rows["response"].to_numpy()[at]))
    return index


def by_scale(rows: pl.DataFrame) -> Iterator[tuple[Scale, NDArray[np.int64]]]:
    """Each scale with the positions of its rows."""
    places = rows.select("scale").with_row_index("row").group_by("scale", maintain_order=True).agg("row")
    for notation, at in zip(places["scale"], places["row"], strict=True):
        yield scale(notation), at.to_numpy().astype(np.int64)
