"""Do the intervals of ``experiment`` hold the planted effects of a world that its model was trained in?

For each folder with a built pipeline: new studies about the topics and endorsers of its validation and test studies,
which the base model has read about and no training asked about; nothing else of those studies is used. The model
answers for 75 new people of each study under every condition. Blocks of two topics with their endorsers go in halves,
by chance and again and again: on one half people's answers are simulated as in the world's own studies (one study a
topic, each person in one condition) and the model's error is fitted; the intervals are tried on the other half, against
the planted effect on 4,000 people. People's effects are those of the folder's world, and beside it the ``realistic``
ones, of which a model that was trained on ``large`` ones knows nothing.

Run:  python -m benchmarks.planted_experiments FOLDER...
"""

from __future__ import annotations

import sys
from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl

from benchmarks.timing import table
from socrates.app.error_model import ErrorModel, Unidentified, fit_errors
from socrates.app.model import open_model
from socrates.app.model_ref import ModelRef
from socrates.app.planning import forecast
from socrates.core.params import load, read_yaml
from socrates.data.params import World
from socrates.data.synthetic import generate as made
from socrates.data.synthetic.respondents import FRAMES, Floats, liberal_scores, population
from socrates.data.synthetic.stimuli import ENDPOINTS, FORMS
from socrates.model.params import Prompt
from socrates.survey.prompts import persona_expression

VARIANTS, PEOPLE, CROWD, HALVES = 1, 75, 4000, 40
KINDS = {(1, 1): "trusted, skilled", (1, -1): "trusted", (-1, 1): "skilled", (-1, -1): "neither"}


@dataclass(frozen=True)
class Asked:
    """One question of a new study on a block of subjects: [C, N] the expected answer of each person by the model, and
    how liberal those people and a crowd of the same frame are."""

    block: int
    study: made.Study
    task: made.Task
    predicted: Floats
    people: Floats
    crowd: Floats

    @property
    def places(self) -> Floats:
        """[K] of the options, from 0 to 1."""
        options = np.array(self.task.scale.options)
        return (options - options[0]) / (options[-1] - options[0])

    def planted(self, who: Floats, effects: float) -> Floats:
        """[C, N, K] how likely each person gives each answer."""
        arms = [condition.endorser for condition in self.study.conditions]
        return np.array([made.distributions(self.study.topic, arm, self.task, who, effects) for arm in arms])


def new_studies(folder: Path, rng: np.random.Generator) -> list[tuple[int, made.Study]]:
    """Studies about held-out subjects, each with its block: two topics and the endorsers of their studies."""
    world = World.model_validate(read_yaml(folder / "params.yaml")["data"]["synthetic"])
    unseen = {
        study
        for part in ("val", "test")
        for study in pl.read_parquet(folder / f"data/splits/{part}.parquet", columns=["study_id"])["study_id"]
    }
    held = [study for study in made.design(world) if study.study_id in unseen]
    wordings, found = made.BalancedSampler(ENDPOINTS, rng), []
    for block in range(len(held) // 2):
        pair = held[2 * block : 2 * block + 2]
        endorsers = [arm.endorser for study in pair for arm in study.conditions if arm.endorser]
        for topic in [study.topic for study in pair for _ in range(VARIANTS)]:
            arms = [None, *(endorsers[i] for i in rng.permutation(len(endorsers))[: rng.integers(1, 3)])]
            forms = [FORMS[i] for i in rng.permutation(len(FORMS))[: rng.integers(1, 3)]]
            study = replace(
                pair[0],
                study_id=f"{topic.name} {len(found)}",
                topic=topic,
                conditions=tuple(made._condition(topic, arm, rng) for arm in arms),
                tasks=tuple(made._task(topic, form, wordings) for form in forms),
                frame=FRAMES[rng.integers(len(FRAMES))],
            )
            found.append((block, study))
    return found


def ask(folder: Path, seed: int = 1) -> list[Asked]:
    """All questions of the new studies, answered by the folder's adapter."""
    rng = np.random.default_rng(seed)
    ref = ModelRef(folder / "models/base", folder / "models/adapter", None, load(Prompt), str(folder))
    asked, questions = [], []
    for block, study in new_studies(folder, rng):
        people, crowd = (population(study.frame, count, rng) for count in (PEOPLE, CROWD))
        shown = made._shown(people, study.fields, rng).to_frame().select(persona_expression())
        scores = liberal_scores(people), liberal_scores(crowd)
        for task in study.tasks:
            asked.append(Asked(block, study, task, np.empty(0), *scores))
            for arm in study.conditions:
                text = pl.lit(study.stimuli(arm, task)).alias("stimuli")
                questions.append(shown.with_columns(text, pl.lit(task.scale.notation).alias("scale")))
    answers = iter(open_model(ref).ask(pl.concat(questions))["probabilities"].to_list())
    for index, one in enumerate(asked):
        means = [[np.dot(next(answers), one.places) for _ in one.people] for _ in one.study.conditions]
        asked[index] = replace(one, predicted=np.array(means))
    return asked


def held_out(asked: list[Asked], effects: float, rng: np.random.Generator) -> pl.DataFrame:
    """The table that ``evaluate`` would write of simulated people."""
    rows = []
    arms = {one.study.study_id: rng.permutation(PEOPLE) % len(one.study.conditions) for one in asked}
    for task, one in enumerate(asked):
        likely = np.cumsum(one.planted(one.people, effects), axis=2)[:, :, :-1]
        for condition in range(len(likely)):
            here = np.flatnonzero(arms[one.study.study_id] == condition)
            answers = one.places[(rng.random((len(here), 1)) > likely[condition, here]).sum(axis=1)]
            error, predicted = answers.std(ddof=1) / np.sqrt(len(here)), one.predicted[condition, here].mean()
            keys = one.study.study_id, condition, task, one.task.scale.notation
            rows.append((*keys, answers.mean(), error, len(here), predicted))
    names = [
        "study_id",
        "condition_num",
        "task_num",
        "scale",
        "human",
        "human_se",
        "respondents",
        "predicted",
    ]
    return pl.DataFrame(rows, names, orient="row")


def tried(known: ErrorModel, of: list[Asked], effects: float) -> tuple[bool, list[tuple[str, bool, float]]]:
    """Whether the joint intervals hold all effects of a study; of each effect its kind, whether its own interval does,
    and how wide that is."""
    pairs = [(one, c) for one in of for c in range(1, len(one.predicted))]
    differences = np.stack([one.predicted[c] - one.predicted[0] for one, c in pairs])
    found = forecast(differences, np.full(PEOPLE, 1 / PEOPLE), np.array([c for _, c in pairs]), known)
    truth = {id(one): one.planted(one.crowd, effects).mean(axis=1) @ one.places for one in of}
    single, together = [], True
    for (one, c), effect in zip(pairs, found.effects, strict=True):
        true, (low, high) = truth[id(one)][c] - truth[id(one)][0], effect.interval()
        endorser = one.study.conditions[c].endorser
        single.append((KINDS[endorser.values], bool(low <= true <= high), high - low))
        together &= bool(abs(true - effect.mean) <= found.reach * effect.sd)
    return together, single


def coverage(asked: list[Asked], effects: float, rng: np.random.Generator) -> list[str]:
    """A row of the table: over random halves of the blocks."""
    studies = defaultdict(list)
    for one in asked:
        studies[one.study.study_id].append(one)
    blocks, refused, joint, single, checks = len({one.block for one in asked}), 0, [], [], []
    for _ in range(HALVES):
        half, topics = set(rng.permutation(blocks)[: blocks // 2].tolist()), defaultdict(list)
        for name, of in studies.items():
            if of[0].block in half:
                topics[of[0].study.topic.name].append(name)
        chosen = [str(rng.choice(names)) for names in topics.values()]
        try:
            known = fit_errors(held_out([one for name in chosen for one in studies[name]], effects, rng))
        except Unidentified:
            refused += 1
            continue
        checks.append(known.covered)
        for of in studies.values():
            if of[0].block not in half:
                together, each = tried(known, of, effects)
                joint.append(together)
                single += each
    if not single:
        return ["-"] * 7 + [f"{refused} of {HALVES}"]
    kinds = [np.mean([held for name, held, _ in single if name == kind]) for kind in KINDS.values()]
    shares = [np.mean([held for _, held, _ in single]), *kinds, np.mean(joint)]
    widths, check = np.mean([width for *_, width in single]), np.median(checks)
    return [*(f"{share:.1%}" for share in shares), f"{widths:.3f}", f"{check:.0%}", f"{refused} of {HALVES}"]


def main(folders: list[Path]) -> None:
    """Print the table."""
    rows = []
    for folder in folders:
        asked = ask(folder)
        trained = read_yaml(folder / "params.yaml")["data"]["synthetic"]["effects"]
        for effects in dict.fromkeys((trained, "realistic")):
            row = coverage(asked, made.EFFECTS[effects], np.random.default_rng(2))
            rows.append([f"{folder.name}, {effects}", *row])
    print(
        table(
            ["world, people's effects", "all", *KINDS.values(), "joint", "width", "self-check", "refused"],
            rows,
        )
    )


if __name__ == "__main__":
    main([Path(folder) for folder in sys.argv[1:]])
