"""Splits: whole studies, in the paper's proportions, and no unit on both sides."""

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from socrates.core.errors import DataError
from socrates.core.params import read_yaml
from socrates.data.params import Split
from socrates.data.splits import SPLITS, assign
from tests.survey_rows import ROOT

NAMES = [f"s{n:04d}" for n in range(210)]
DEFAULT = read_yaml(ROOT / "params.yaml")["split"]


def studies(names):
    return pl.DataFrame({"study_id": list(names)}, schema={"study_id": pl.String})


def conditions(studies, most):
    """1 to ``most`` conditions a study, in turn."""
    rows = [(name, n) for i, name in enumerate(NAMES[:studies]) for n in range(1, 2 + i % most)]
    return pl.DataFrame(rows, schema={"study_id": pl.String, "condition_num": pl.Int64}, orient="row")


def assigned(units, groups=None, mapping=None, seed=42, **split):
    """The split of each unit; studies are groups of their own unless ``groups`` says otherwise."""
    alone = {study: i for i, study in enumerate(sorted(set(units["study_id"])))}
    return assign(Split(**DEFAULT | {"seed": seed} | split), units, groups or alone, mapping)


def divided(names, **given):
    """Split -> its studies, sorted; each is in one."""
    found = assigned(studies(names), **given)
    assert sorted(found["study_id"]) == sorted(names)
    return {name: sorted(found.filter(split=name)["study_id"]) for name in SPLITS}


def sizes(split):
    return tuple(map(len, split.values()))


@pytest.mark.parametrize(
    ("studies", "expected"),
    [(210, (170, 20, 20)), (60, (48, 6, 6)), (20, (16, 2, 2)), (8, (6, 1, 1)), (3, (1, 1, 1))],
)
def test_the_proportions_are_those_of_170_20_20(studies, expected):
    assert sizes(divided(NAMES[:studies])) == expected


def test_more_studies_are_tested_on_where_asked_for_and_no_more_than_there_are():
    assert sizes(divided(NAMES[:6], test_studies=3)) == (2, 1, 3)
    with pytest.raises(DataError, match=r"split\.test_studies 5: of 6 studies .* 4 can be tested on"):
        divided(NAMES[:6], test_studies=5)
    with pytest.raises(DataError, match=r"2 studies \(s0000, s0001\).*at least 3"):
        divided(NAMES[:2])
    with pytest.raises(DataError, match="0 could be held out"):
        assigned(conditions(8, 1), by="conditions")


@settings(deadline=None)
@given(order=st.permutations(NAMES[:30]), seed=st.integers(0, 2**32 - 2))
def test_the_split_depends_on_the_seed_and_not_on_the_order_of_studies(order, seed):
    split = divided(order, seed=seed)
    assert split == divided(NAMES[:30], seed=seed) != divided(NAMES[:30], seed=seed + 1)


def test_the_official_split_tests_on_the_unseen_studies():
    split = divided(NAMES, mapping={"seen": NAMES[:170], "unseen": NAMES[170:]}, method="official")
    assert sizes(split) == (152, 18, 40)
    assert split["test"] == NAMES[170:]


@settings(deadline=None)
@given(sizes=st.lists(st.integers(1, 6), min_size=3, max_size=20), seed=st.integers(0, 2**32 - 1))
def test_groups_stay_together_and_no_split_is_empty(sizes, seed):
    groups = {f"s{g:02d}-{i}": g for g, size in enumerate(sizes) for i in range(size)}
    split = divided(groups, groups=groups, seed=seed)
    of = {name: {groups[study] for study in found} for name, found in split.items()}
    assert all(split.values())
    assert sum(map(len, of.values())) == len(sizes)


@pytest.mark.parametrize("folds", [3, 5, 12])
def test_every_study_is_tested_in_exactly_one_fold(folds):
    groups = {name: i // 2 if i < 6 else i for i, name in enumerate(NAMES[:15])}  # three pairs share a text
    splits = [divided(groups, groups=groups, folds=folds, fold=fold) for fold in range(folds)]
    assert sorted(study for split in splits for study in split["test"]) == NAMES[:15]
    for split in splits:
        of = [{groups[study] for study in found} for found in split.values()]
        assert all(of) and sum(map(len, of)) == 12
    with pytest.raises(DataError, match="folds is 13"):
        divided(groups, groups=groups, folds=13, fold=0)


@settings(deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_a_quarter_of_each_study_s_conditions_are_held_out(seed):
    units = conditions(40, 8)
    split = assigned(units.sample(fraction=1, shuffle=True, seed=seed), seed=seed, by="conditions")
    assert split.equals(assigned(units, seed=seed, by="conditions"))
    held = split.group_by("study_id").agg(pl.len(), (pl.col("split") != "train").sum().alias("held"))
    assert all(h == (0 if n == 1 else max(1, int(pl.Series([n / 4]).round(0)[0]))) for _, n, h in held.rows())
    counts = dict(split["split"].value_counts().iter_rows())
    assert counts["val"] == round((counts["val"] + counts["test"]) / 3)


@pytest.mark.parametrize(
    ("by", "number", "named"), [("conditions", "condition_num", 129), ("tasks", "task_num", 73)]
)
def test_what_the_official_mapping_holds_out_is_tested_and_what_it_lacks_is_trained_on(by, number, named):
    """The form and the size of the dataset's own files: a quarter of the conditions or questions held out."""
    units = conditions(210, 8).rename({"condition_num": number})
    numbers = (
        units.group_by("study_id", maintain_order=True).agg(number).filter(pl.col(number).list.len() > 1)
    )
    several = dict(numbers.head(named).rows())
    held = {name: values[: max(1, len(values) // 4)] for name, values in several.items()}
    mapping = {
        name: {"train": [str(n) for n in values if n not in held[name]], "eval": held[name]}
        for name, values in several.items()
    }
    split = assigned(units, mapping=mapping, by=by, method="official")
    assert split.height == units.height and len(mapping) == named
    tested = set(split.filter(split="test").select("study_id", number).iter_rows())
    assert tested == {(name, n) for name, values in held.items() for n in values}
    others = split.filter(~pl.col("study_id").is_in(list(mapping)))
    assert others["split"].unique().to_list() == ["train"]
    assert set(split.filter(split="val")["study_id"]) <= set(mapping)


@pytest.mark.parametrize(
    ("by", "mapping", "message"),
    [
        ("studies", {"seen": NAMES[:5], "unseen": NAMES[4:6]}, "study_id s0004 is in both"),
        ("studies", {"seen": NAMES[:3], "unseen": NAMES[3:5]}, "does not name s0005"),
        (
            "studies",
            {"seen": NAMES[:6], "unseen": NAMES[10:]},
            "of .* values 0 are unseen, to be tested, and 6 seen",
        ),
        (
            "studies",
            {"seen": NAMES[:1], "unseen": NAMES[1:]},
            "of .* values 5 are unseen, to be tested, and 1 seen",
        ),
        ("studies", {"train": NAMES}, 'expected {"seen"'),
        (
            "conditions",
            {"s0001": {"train": [1], "eval": [1, 2]}},
            "study_id s0001, condition_num 1 is in both",
        ),
        ("conditions", {"s0001": {"train": [1]}}, 'study s0001: expected {"train"'),
        ("conditions", {"s0001": {"train": ["one"], "eval": [2]}}, "study s0001: expected"),
        ("conditions", {"seen": ["s0001"]}, "study seen: expected"),
        (
            "conditions",
            {"other": {"train": [1], "eval": [2]}},
            "of the data's condition_num values 0 are eval",
        ),
    ],
)
def test_a_mapping_that_cannot_split_is_an_error(by, mapping, message):
    units = studies(NAMES[:6]) if by == "studies" else conditions(6, 4)
    file = {"studies": "participant", "conditions": "condition"}[by]
    with pytest.raises(DataError, match=f"{file}_mapping.json:? {message}"):
        assigned(units, mapping=mapping, by=by, method="official")
