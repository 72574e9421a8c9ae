"""Predictors that read the question without a language model: the opponents of the adapter.

``words``, ``demographics`` and ``words_demographics`` are gradient-boosted trees of one ordinal model for all
scales. Option i of n lies at (i + 1/2) / n of its scale, and the trees give P(answer < t) for thresholds t between
the options (a cumulative model, McCullagh 1980), with t and n among the features and the probability constrained to
rise with t. ``nearest`` averages the answers to the most similar training questions. All are fitted on the training
studies; the validation studies say how many trees or neighbours.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.feature_extraction.text import CountVectorizer

from socrates.baselines.copying import COPIES, fit_copy
from socrates.baselines.questions import Alike, TrainingQuestions, by_scale, option_index
from socrates.core.errors import DataError
from socrates.survey.scales import scale
from socrates.survey.tables import DEMOGRAPHICS

Floats = NDArray[np.float64]
Distributions = list[Floats]  # of each row, one entry per option, ascending

WORDS = 300  # words and word pairs, the most frequent of the training texts
CATEGORIES = 100  # labels of a demographic field that are told apart
MAX_TREES = 400  # fewer where the loss on the validation studies has not fallen for ten
NEIGHBOURS = (1, 3, 10, 30, 100)
THRESHOLDS = 4  # of a row's scale that enter the fit, at most
MAX_ROWS = 200_000  # training answers that enter the fit, spread evenly over the table
PREDICTED = 400_000  # thresholds of rows that are predicted at a time: 0.5 GB of features
SMOOTHING = 0.02  # share of a uniform distribution in every prediction: no option is impossible


@dataclass(frozen=True)
class Fitted:
    """A fitted baseline.

    Attributes:
        predict: rows (``stimuli``, ``demographic``, ``scale``) -> a distribution for each.
        settings: what was chosen on the validation studies, for the manifest.
    """

    predict: Callable[[pl.DataFrame], Distributions]
    settings: dict[str, Any]


def fit_baseline(name: str, train: pl.DataFrame, validation: pl.DataFrame, seed: int = 0) -> Fitted:
    """Fit the baseline of a name.

    Args:
        train, validation: ``stimuli``, ``demographic``, ``scale`` (a notation), ``response``.
        seed: of the thresholds that are drawn on long scales.

    Raises:
        DataError: there is no such baseline, or no training row.
    """
    if name not in {*BASELINES, *COPIES}:
        raise DataError(
            f"predictor {name}: expected base, adapter or one of {', '.join([*BASELINES, *COPIES])}"
        )
    if not train.height:
        raise DataError(f"predictor {name}: no training row has a scale")
    if name in COPIES:
        return Fitted(fit_copy(name, train), {})
    return BASELINES[name](train, validation if validation.height else train, seed)


def ranked_probability_score(rows: pl.DataFrame, predicted: Distributions) -> float:
    """Mean squared difference of predicted and observed cumulative distribution over a row's scale, lower is better.

    Epstein 1969; divided by the number of thresholds, so that scales of all lengths weigh alike.
    """
    scores = []
    for index, distribution in zip(option_index(rows), predicted, strict=True):
        above = np.arange(len(distribution) - 1) >= index
        scores.append(np.mean((np.cumsum(distribution)[:-1] - above) ** 2))
    return float(np.mean(scores))


class TextFeatures:
    """Presence of the most frequent words and word pairs, one row a text."""

    def __init__(self, texts: Sequence[str]) -> None:
        settings: dict[str, Any] = {"ngram_range": (1, 2), "binary": True}
        counter = CountVectorizer(**settings)
        counts = counter.fit_transform(sorted(set(texts))).sum(axis=0).A1
        # Of equally frequent ones the first by name; max_features takes which the sorting code of the CPU puts first.
        most = np.argsort(-counts, kind="stable")[:WORDS]
        self._counter = CountVectorizer(**settings, vocabulary=sorted(counter.get_feature_names_out()[most]))

    def __call__(self, texts: Sequence[str]) -> NDArray[np.float32]:
        distinct, inverse = np.unique(np.asarray(texts, dtype=object), return_inverse=True)
        return self._counter.transform(distinct).toarray().astype(np.float32)[inverse]


class DemographicFeatures:
    """One column a field: its number where it is one, else the code of its label, NaN where it was not asked."""

    def __init__(self, demographic: pl.Series) -> None:
        self._codes: dict[str, dict[str, int] | None] = {}
        for name in DEMOGRAPHICS:
            values = demographic.struct.field(name).drop_nulls()
            numbers = values.cast(pl.Float64, strict=False)
            counts = values.value_counts(sort=True)[name][:CATEGORIES] if values.len() else values
            numeric = bool(values.len()) and numbers.null_count() < 0.1 * values.len()
            self._codes[name] = None if numeric else {label: i for i, label in enumerate(sorted(counts))}

    @property
    def categorical(self) -> list[bool]:
        """Whether each column holds codes."""
        return [codes is not None for codes in self._codes.values()]

    def __call__(self, demographic: pl.Series) -> NDArray[np.float32]:
        columns = []
        for name, codes in self._codes.items():
            values = demographic.struct.field(name)
            column = (
                values.cast(pl.Float64, strict=False)
                if codes is None
                else values.replace_strict(codes, default=None, return_dtype=pl.Float64)
            )
            columns.append(column.cast(pl.Float32).fill_null(np.nan).to_numpy())
        return np.column_stack(columns)


def _trees(words: bool, demographics: bool) -> Callable[[pl.DataFrame, pl.DataFrame, int], Fitted]:
    """A baseline of trees on the scale's length and the given features."""

    def fit(train: pl.DataFrame, validation: pl.DataFrame, seed: int) -> Fitted:
        train, validation = _thinned(train), _thinned(validation)
        text = TextFeatures(train["stimuli"].to_list()) if words else None
        people = DemographicFeatures(train["demographic"]) if demographics else None

        def features(rows: pl.DataFrame) -> NDArray[np.float32]:
            """``[rows, 1 + ...]``: the scale's length, words, demographics."""
            blocks = [np.array([len(scale(name).options) for name in rows["scale"]], np.float32)[:, None]]
            blocks += [text(rows["stimuli"].to_list())] if text else []
            blocks += [people(rows["demographic"])] if people else []
            return np.hstack(blocks)

        rng = np.random.default_rng(seed)
        (x, y), (x_val, y_val) = (_threshold_rows(rows, features(rows), rng) for rows in (train, validation))
        codes = people.categorical if people else []
        model = HistGradientBoostingClassifier(
            max_iter=MAX_TREES,
            max_leaf_nodes=15,
            early_stopping=True,
            monotonic_cst=[1] + [0] * (x.shape[1] - 1),
            categorical_features=[False] * (x.shape[1] - len(codes)) + codes,
            random_state=seed,
        ).fit(x, y, X_val=x_val, y_val=y_val)
        return Fitted(lambda rows: _cumulative(model, features(rows), rows), {"trees": int(model.n_iter_)})

    return fit


def _fit_nearest(train: pl.DataFrame, validation: pl.DataFrame, seed: int) -> Fitted:
    """The mean answer distribution of the training questions whose words are most alike, by cosine of TF-IDF.

    Only questions with a scale of the same length are neighbours; a row without any gets a uniform distribution.
    """
    del seed  # nothing is drawn
    questions = TrainingQuestions(train)

    def predict(rows: pl.DataFrame, alike: Alike, neighbours: int) -> Distributions:
        known = {}
        for (text, notation), chosen in alike.items():
            size = len(scale(notation).options)
            shares = [questions.shares[i] for i in chosen[:neighbours]]
            mean = np.mean(shares, axis=0) if shares else np.full(size, 1 / size)
            known[text, notation] = (1 - SMOOTHING) * mean + SMOOTHING / size
        return [known[key] for key in rows.select("stimuli", "scale").iter_rows()]

    alike = questions.most_alike(validation, max(NEIGHBOURS))
    scores = {k: ranked_probability_score(validation, predict(validation, alike, k)) for k in NEIGHBOURS}
    best = min(scores, key=lambda k: scores[k])
    return Fitted(lambda rows: predict(rows, questions.most_alike(rows, best), best), {"neighbours": best})


def _thinned(rows: pl.DataFrame) -> pl.DataFrame:
    """At most :data:`MAX_ROWS` rows, evenly spread over the table."""
    if rows.height <= MAX_ROWS:
        return rows
    return rows[np.linspace(0, rows.height - 1, MAX_ROWS).astype(np.int64)]


def _threshold_rows(
    rows: pl.DataFrame, features: NDArray[np.float32], rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Each row once for each of up to :data:`THRESHOLDS` thresholds of its scale, drawn on a longer one.

    Returns:
        Threshold and features ``[rows x thresholds, 1 + features]``, and whether the answer lies below.
    """
    index = option_index(rows)
    x, below = [], []
    for options, at in by_scale(rows):
        size = len(options.options)
        cuts = np.tile(np.arange(1, size), (len(at), 1))
        if size - 1 > THRESHOLDS:
            cuts = rng.integers(1, size, (len(at), THRESHOLDS))
        x.append(np.hstack([cuts.reshape(-1, 1) / size, np.repeat(features[at], cuts.shape[1], axis=0)]))
        below.append((index[at][:, None] < cuts).ravel())
    return np.concatenate(x).astype(np.float32), np.concatenate(below)


def _cumulative(
    model: HistGradientBoostingClassifier, x: NDArray[np.float32], rows: pl.DataFrame
) -> Distributions:
    """Differences of the predicted cumulative probabilities, a little of a uniform distribution mixed in."""
    result: Distributions = [np.empty(0)] * rows.height
    for options, of_scale in by_scale(rows):
        size = len(options.options)
        for at in np.array_split(of_scale, -(-len(of_scale) * (size - 1) // PREDICTED)):
            distinct, inverse = np.unique(x[at], axis=0, return_inverse=True)
            cuts = np.tile(np.arange(1, size, dtype=np.float32) / size, len(distinct))
            stacked = np.hstack([cuts[:, None], np.repeat(distinct, size - 1, axis=0)])
            sure = model.predict_proba(stacked) * model.classes_  # one class where all answers are at one end
            below = sure.sum(axis=1).reshape(len(distinct), size - 1)
            edges = np.hstack([np.zeros((len(distinct), 1)), below, np.ones((len(distinct), 1))])
            mixed = (1 - SMOOTHING) * np.diff(edges, axis=1).clip(0) + SMOOTHING / size
            mixed /= mixed.sum(axis=1, keepdims=True)
            for i, j in zip(at, inverse, strict=True):
                result[i] = mixed[j]
    return result


BASELINES: dict[str, Callable[[pl.DataFrame, pl.DataFrame, int], Fitted]] = {
    "demographics": _trees(words=False, demographics=True),
    "words": _trees(words=True, demographics=False),
    "words_demographics": _trees(words=True, demographics=True),
    "nearest": _fit_nearest,
}
