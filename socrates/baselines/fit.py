"""Predictors that read the question without a language model: the opponents of the adapter.

``words``, ``demographics`` and ``words_demographics`` are gradient-boosted trees of one ordinal model for all
scales. Option i of n lies at (i + 1/2) / n of its scale, and the trees give P(answer < t) for thresholds t between
the options (a cumulative model, McCullagh 1980), with t and n among the features and the probability constrained to
rise with t. ``nearest`` averages the answers to the most similar training questions. All are fitted on the training
studies; the validation studies say how many trees or neighbours.

Where a study's other answers are in training the opponents copy what its people already said (:data:`COPIES`), of
training rows only, so that a test cell's own answers never enter.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.feature_extraction.text import CountVectorizer

from socrates.baselines.questions import Alike, TrainingQuestions, by_scale, lengths, option_index
from socrates.core.errors import DataError
from socrates.survey.scales import nearest, scale
from socrates.survey.tables import DEMOGRAPHICS

Floats = NDArray[np.float64]
Reals = NDArray[np.float32]
Distributions = list[Floats]  # of each row, one entry per option, ascending

WORDS = 300  # words and word pairs, the most frequent of the training texts
CATEGORIES = 100  # labels of a demographic field that are told apart
MAX_TREES = 400  # fewer where the loss on the validation studies has not fallen for ten
NEIGHBOURS = (1, 3, 10, 30, 100)
THRESHOLDS = 4  # of a row's scale that enter the fit, at most
MAX_ROWS = 200_000  # training answers that enter the fit, spread evenly over the table
PREDICTED = 400_000  # thresholds of rows that are predicted at a time: 0.5 GB of features
SMOOTHING = 0.02  # share of a uniform distribution in every prediction: no option is impossible
COPIES = {  # what a training row has in common with the row that it is copied to
    "other_conditions": ["study_id", "task_num", "stated"],  # the same question in its other conditions
    "other_tasks": ["study_id", "condition_num", "scale"],  # its other questions on the same scale
    "other_participants": ["study_id", "condition_num", "task_num", "stated"],  # the other people of the cell
}
# Of one question the scale, or that it states none: what people answered differs between training and test.
STATED = pl.when(pl.col("scale_rule").str.contains("observed")).then(pl.lit("observed")).otherwise("scale")
PRIOR = 1.0  # answers that the training average of the scale counts for


class Fitted(NamedTuple):
    # from ``stimuli``, ``demographic`` and ``scale`` of each row
    predict: Callable[[pl.DataFrame], Distributions]
    settings: dict[str, Any]  # what was chosen on the validation studies, for the manifest


def fit_baseline(name: str, train: pl.DataFrame, validation: pl.DataFrame, seed: int = 0) -> Fitted:
    """Fit the baseline of a name.

    ``train`` and ``validation`` have ``stimuli``, ``demographic``, ``scale`` (a notation) and ``response``; ``seed``
    is that of the thresholds drawn on long scales. Raises :class:`DataError` for another name or no training row.
    """
    if name not in BASELINES:
        raise DataError(f"predictor {name}: expected base, adapter or one of {', '.join(BASELINES)}")
    if not train.height:
        raise DataError(f"predictor {name}: no training row has a scale")
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


class Features:
    """What the trees read of a row: the length of its scale, words of its text, demographic fields."""

    def __init__(self, train: pl.DataFrame, words: bool, demographics: bool) -> None:
        self._counter: CountVectorizer | None = None
        if words:
            settings: dict[str, Any] = {"ngram_range": (1, 2), "binary": True}
            counter = CountVectorizer(**settings)
            counts = counter.fit_transform(train["stimuli"].unique()).sum(axis=0).A1
            # Of equally frequent ones the first by name; max_features takes those that the CPU's sort puts first.
            most = np.argsort(-counts, kind="stable")[:WORDS]
            frequent = sorted(counter.get_feature_names_out()[most])
            self._counter = CountVectorizer(**settings, vocabulary=frequent)
        self.codes: dict[str, dict[str, int] | None] = {}  # of a field's labels; None: a number
        for name in DEMOGRAPHICS if demographics else ():
            values = train["demographic"].struct.field(name).drop_nulls()
            labels = sorted(values.value_counts(sort=True)[name][:CATEGORIES])
            numeric = values.cast(pl.Float64, strict=False).null_count() < 0.1 * values.len()
            self.codes[name] = None if numeric else {label: i for i, label in enumerate(labels)}

    def __call__(self, rows: pl.DataFrame) -> Reals:
        """``[rows, 1 + ...]``: 1 for a word that is there, the number or code of a field and NaN where it has none."""
        blocks = [lengths(rows).to_numpy().astype(np.float32)[:, None]]
        if self._counter:
            distinct, inverse = np.unique(rows["stimuli"].to_numpy(), return_inverse=True)
            blocks.append(self._counter.transform(distinct).toarray().astype(np.float32)[inverse])
        for name, codes in self.codes.items():
            values = rows["demographic"].struct.field(name)
            if codes is None:
                column = values.cast(pl.Float64, strict=False)
            else:
                column = values.replace_strict(codes, default=None, return_dtype=pl.Float64)
            blocks.append(column.cast(pl.Float32).fill_null(np.nan).to_numpy()[:, None])
        return np.hstack(blocks)


def _fit_trees(
    words: bool, demographics: bool, train: pl.DataFrame, validation: pl.DataFrame, seed: int
) -> Fitted:
    """A baseline of trees on the scale's length and the given features."""
    train, validation = (
        rows[np.unique(np.linspace(0, rows.height - 1, MAX_ROWS).astype(np.int64))]
        for rows in (train, validation)
    )
    features, rng = Features(train, words, demographics), np.random.default_rng(seed)
    (x, y), (x_val, y_val) = (_threshold_rows(rows, features(rows), rng) for rows in (train, validation))
    codes = [codes is not None for codes in features.codes.values()]  # of the last columns
    model = HistGradientBoostingClassifier(
        max_iter=MAX_TREES,
        max_leaf_nodes=15,
        early_stopping=True,
        monotonic_cst=[1] + [0] * (x.shape[1] - 1),
        categorical_features=[False] * (x.shape[1] - len(codes)) + codes,
        random_state=seed,
    ).fit(x, y, X_val=x_val, y_val=y_val)
    return Fitted(lambda rows: _cumulative(model, features(rows), rows), {"trees": int(model.n_iter_)})


def _fit_nearest(train: pl.DataFrame, validation: pl.DataFrame, _: int) -> Fitted:
    """The mean answer distribution of the training questions whose words are most alike, by cosine of TF-IDF.

    Only questions with a scale of the same length are neighbours; a row without any gets a uniform distribution.
    """
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


def _fit_copy(key: list[str], train: pl.DataFrame, *_: Any) -> Fitted:
    """The answers of the training rows that have ``key`` in common.

    With counts c of n rows and a the training average of all scales of that length (uniform where there is none), the
    distribution is (c + PRIOR a) / (n + PRIOR): a row that has none in common gets a.
    """
    answers = train.with_columns(stated=STATED).group_by(key).agg("response")
    known = {tuple(common): np.array(given) for *common, given in answers.iter_rows()}
    index, size = option_index(train), lengths(train).to_numpy()
    average = {k: np.bincount(index[size == k], minlength=k) for k in np.unique(size).tolist()}

    def distribution(notation: str, *common: str | int) -> Floats:
        options = scale(notation)
        given = nearest(options, known.get(common, np.empty(0, np.int64)))
        count = len(options.options)
        mean = average.get(count, np.ones(count))
        counted = np.bincount(np.searchsorted(options.options, given), minlength=count)
        shares = counted + PRIOR * mean / mean.sum()
        return shares / shares.sum()

    def predict(rows: pl.DataFrame) -> Distributions:
        asked = rows.with_columns(stated=STATED).select(pl.col("scale").alias("on"), *key).rows()
        found = {row: distribution(*row) for row in set(asked)}
        return [found[row] for row in asked]

    return Fitted(predict, {})


def _threshold_rows(
    rows: pl.DataFrame, features: Reals, rng: np.random.Generator
) -> tuple[Reals, NDArray[np.bool_]]:
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


def _cumulative(model: HistGradientBoostingClassifier, x: Reals, rows: pl.DataFrame) -> Distributions:
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
            mixed = (1 - SMOOTHING) * np.diff(below, axis=1, prepend=0, append=1).clip(0) + SMOOTHING / size
            mixed /= mixed.sum(axis=1, keepdims=True)
            for i, j in zip(at, inverse, strict=True):
                result[i] = mixed[j]
    return result


BASELINES: dict[str, Callable[[pl.DataFrame, pl.DataFrame, int], Fitted]] = {
    "demographics": partial(_fit_trees, False, True),
    "words": partial(_fit_trees, True, False),
    "words_demographics": partial(_fit_trees, True, True),
    "nearest": _fit_nearest,
    **{name: partial(_fit_copy, key) for name, key in COPIES.items()},
}
