"""The people of the synthetic world: whom a study samples, and what they are like.

Demographics are correlated as people's are, and written in the words of SocSci210. Each study draws
from one sampling frame, so that personas, and with them answers, differ between studies.
"""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from socrates.survey.tables import DEMOGRAPHICS

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Frame:
    """Whom a study samples: mean age in years, and shifts in standard deviations."""

    age: float
    conservative: float
    education: float = 0.0
    income: float = 0.0
    rural: float = 0.25  # share living outside metropolitan areas


FRAMES = (
    Frame(age=47, conservative=0.0),
    Frame(age=24, conservative=-0.8, education=0.2, income=-0.6),
    Frame(age=70, conservative=0.5, education=-0.2, rural=0.35),
    Frame(age=44, conservative=-0.9, education=1.4, income=0.7, rural=0.1),
    Frame(age=52, conservative=1.3, education=-0.6, income=-0.2, rural=0.85),
    Frame(age=38, conservative=-1.2, education=0.5, rural=0.02),
    Frame(age=45, conservative=0.6, education=-0.5, income=-0.9, rural=0.4),
    Frame(age=57, conservative=1.1, education=0.4, income=0.9, rural=0.2),
)

PARTIES = (
    *("Strong Democrat", "Moderate Democrat", "Lean Democrat", "Don't Lean/Independent/None"),
    *("Lean Republican", "Moderate Republican", "Strong Republican"),
)
IDEOLOGIES = ("Very Liberal", "Somewhat Liberal", "Moderate", "Somewhat Conservative", "Very Conservative")
EDUCATIONS = (
    *("Less than high school", "High school graduate or equivalent", "Some college"),
    *("Bachelor's degree", "Post grad study/professional degree"),
)
INCOMES = ("Under 20K", "20-29K", "30-49K", "50-74K", "75-99K", "100-149K", "150K+")


def population(frame: Frame, count: int, rng: np.random.Generator) -> pl.DataFrame:
    """Demographics of ``count`` respondents of a sampling frame, correlated as people's are."""

    def normal() -> Floats:
        return rng.standard_normal(count)

    def chance(share: Floats | float, yes: str, no: str) -> NDArray[np.str_]:
        return np.where(rng.random(count) < share, yes, no)

    def levels(values: Floats, labels: tuple[str, ...], *cuts: float) -> NDArray[np.str_]:
        return np.array(labels)[np.digitize(values, cuts)]

    age = np.clip(np.rint(frame.age + 11 * normal()), 18, 92)
    rural = rng.random(count) < frame.rural
    education = frame.education - 0.2 * rural + 0.9 * normal()
    conservative = frame.conservative + 0.2 * rural + 0.01 * (age - frame.age) - 0.1 * education
    conservative += 0.6 * normal()
    party = conservative + 0.35 * normal()
    income = frame.income + 0.5 * education + 0.02 * np.minimum(age - 40, 20) + 0.7 * normal()
    married = rng.random(count) < np.clip((age - 20) / 30, 0.05, 0.65)
    work = np.select(
        [age + 4 * normal() > 65, rng.random(count) < 0.72, rng.random(count) < 0.4],
        ["Retired", "Employed as paid employee", "Self-employed"],
        "Looking for work",
    )
    owner = income + 0.03 * (age - 40) + 0.7 * normal() > 0
    ethnicity = rng.choice(["Black", "Hispanic", "Asian", "Other"], count, p=[0.4, 0.4, 0.12, 0.08])
    white = rng.random(count) < 1 / (1 + np.exp(-0.6 - 0.8 * conservative))
    regions = ["Northeast", "Midwest", "South", "West"]
    values = {
        "age": age.astype(int).astype(str),
        "gender": chance(0.52, "Female", "Male"),
        "education": levels(education, EDUCATIONS, -1.4, -0.4, 0.4, 1.2),
        "ethnicity": np.where(white, "White", ethnicity),
        "income": levels(income, INCOMES, -1.3, -0.8, -0.3, 0.3, 0.8, 1.4),
        "employment": work,
        "party_id": levels(party, PARTIES, -1.25, -0.75, -0.25, 0.25, 0.75, 1.25),
        "ideology": levels(conservative, IDEOLOGIES, -1.1, -0.4, 0.4, 1.1),
        "location": rng.choice(regions, count, p=[0.18, 0.21, 0.38, 0.23]),
        "marital_status": np.where(
            married, "Married", chance(np.clip((age - 30) / 80, 0, 1), "Divorced", "Never married")
        ),
        "household_size": (1 + married + rng.poisson(np.where(age < 55, 1.0, 0.2))).astype(str),
        "housing_ownership": np.where(owner, "Owned", "Rented"),
        "housing_type": chance(np.where(owner | rural, 0.85, 0.35), "Detached house", "Apartment"),
        "metro_status": np.where(rural, "Non-Metro Area", "Metro Area"),
        "internet_access": chance(
            np.where(age > 65, 0.85, 0.97), "Internet household", "Non-internet household"
        ),
        "phone_service": chance(np.where(age > 60, 0.5, 0.9), "Cell phone only", "Landline and cell phone"),
    }
    return pl.DataFrame(values, schema=dict.fromkeys(DEMOGRAPHICS, pl.String))


def recorded(fields: Collection[str]) -> list[pl.Expr]:
    """The columns of :func:`population`, null but for the fields that a survey asked."""
    return [pl.col(name) if name in fields else pl.lit(None, pl.String).alias(name) for name in DEMOGRAPHICS]


def liberal_scores(people: pl.DataFrame) -> Floats:
    """How liberal people with both fields are, from -1 to 1, shape ``[respondents]``.

    It is a function of the demographic strings alone, so a reader of a full persona can know it.
    """
    party, ideology = (
        people[name].replace_strict(labels, 2 * np.arange(len(labels)) / (len(labels) - 1) - 1).to_numpy()
        for name, labels in (("party_id", PARTIES), ("ideology", IDEOLOGIES))
    )
    return -(party + ideology) / 2
