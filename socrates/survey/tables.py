"""The tables that pass between stages: responses, responses with their scale, truth and predictions.

Every source ends in the responses table, with SocSci210's columns and types but ``prompt`` and ``reasoning``.
"""

import polars as pl

from socrates.core.files import Schema

# Demographic fields of SocSci210, in the order a persona lists them, with the label it uses: the seed project's.
DEMOGRAPHICS = {
    "age": "Age",
    "gender": "Gender",
    "education": "Education",
    "ethnicity": "Ethnicity",
    "income": "Income",
    "employment": "Employment",
    "party_id": "Political affiliation",
    "ideology": "Ideology",
    "location": "Location",
    "marital_status": "Marital status",
    "household_size": "Household size",
    "housing_ownership": "Housing ownership",
    "housing_type": "Housing type",
    "metro_status": "Metro status",
    "internet_access": "Internet access",
    "phone_service": "Phone service",
}

# A cell is one outcome question under one experimental condition.
CELL = ["study_id", "condition_num", "task_num"]

RESPONSES: Schema = {
    "study_id": pl.String,
    "sample_id": pl.Int64,  # (study_id, sample_id) is the only unique row key
    "participant": pl.Int64,  # respondent, numbered within a study
    "condition_num": pl.Int64,  # experimental arm
    "task_num": pl.Int64,  # outcome question
    "demographic": pl.Struct(dict.fromkeys(DEMOGRAPHICS, pl.String)),  # null: not asked
    "stimuli": pl.String,  # scenario, question and answer instruction in one text
    "response": pl.Int64,
}

# The responses of data/splits: with the notation of the integers that answer their question (survey.scales) and how it
# was found, both null where it is not known.
SCALED_RESPONSES: Schema = {**RESPONSES, "scale": pl.String, "scale_rule": pl.String}

# The planted answer distribution of each response, where the data are synthetic: a share of each integer of ``scale``.
PERSON_TRUTH: Schema = {
    "study_id": pl.String,
    "sample_id": pl.Int64,
    "scale": pl.String,
    "probabilities": pl.List(pl.Float64),
}

# One row per respondent's answer. ``probabilities`` are those of the allowed integers of ``scale``, ascending, given
# that the answer is allowed (they sum to 1); ``allowed_mass`` is what the model put on allowed answers in all (its
# format validity). A row that cannot be scored is not here: it is counted in the folder's manifest.json.
PREDICTIONS: Schema = {
    **{name: kind for name, kind in SCALED_RESPONSES.items() if name != "stimuli"},
    "probabilities": pl.List(pl.Float32),
    "allowed_mass": pl.Float32,
}
