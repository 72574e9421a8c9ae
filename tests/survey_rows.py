"""Small response tables for tests, in sentences of our own."""

import io
from pathlib import Path

import polars as pl
from ruamel.yaml import YAML

from socrates.core.params import read_yaml
from socrates.survey.tables import DEMOGRAPHICS, RESPONSES

ROOT = Path(__file__).resolve().parents[1]
LETTERS = str.maketrans("0123456789", "bcdfghjklm")  # a study's topic is a word of its own


def row(study="aaaaa", sample=0, **changed):
    """One usable row of the canonical table, with ``changed`` fields."""
    return {
        "study_id": study,
        "sample_id": sample,
        "participant": sample,
        "condition_num": sample % 2,
        "task_num": 0,
        "demographic": {"age": str(20 + sample % 60), "gender": ("Female", "Male")[sample % 2]},
        "stimuli": f"A {('short', 'long')[sample % 2]} note on {study.translate(LETTERS)} lay on the table. "
        "How useful was it? Only return an integer from 1 to 5, nothing else.",
        "response": 1 + sample % 5,
    } | changed


def table(rows):
    """``rows`` as a canonical table."""
    return pl.DataFrame(
        [entry | {"demographic": dict.fromkeys(DEMOGRAPHICS) | entry["demographic"]} for entry in rows],
        schema=RESPONSES,
    )


def survey(studies, respondents=6):
    """``studies`` studies of ``respondents`` rows each."""
    return table([row(f"s{study:04d}", sample) for study in range(studies) for sample in range(respondents)])


def parquet_bytes(frame):
    """``frame`` as the bytes of a parquet file."""
    buffer = io.BytesIO()
    frame.write_parquet(buffer)
    return buffer.getvalue()


def params_in(folder, **sections):
    """The project's params.yaml in ``folder`` with some keys of some sections changed."""
    raw = read_yaml(ROOT / "params.yaml")
    for section, changes in sections.items():
        raw[section] |= changes
    YAML().dump(raw, folder / "params.yaml")
