"""The word-problem pipeline's parameter file and presets."""

from pathlib import Path

import pytest

from socrates.core import params
from socrates.core.errors import ParamsError
from socrates.core.params import GSM8K_SECTIONS as SECTIONS
from socrates.tools.preset import apply

FOLDER = Path(__file__).resolve().parents[2] / "gsm8k"
DEFAULTS = params.read_yaml(FOLDER / "params.yaml")


def overlaid(base, overlay):
    return base | {
        key: overlaid(base[key], value) if isinstance(value, dict) and key in base else value
        for key, value in overlay.items()
    }


@pytest.mark.parametrize("preset", ["local-jsonl", "paper-card"])
def test_every_preset_is_written_into_this_pipelines_own_file(preset, tmp_path):
    assert {path.stem for path in (FOLDER / "presets").iterdir()} == {"local-jsonl", "paper-card"}
    path = tmp_path / "params.yaml"
    path.write_text((FOLDER / "params.yaml").read_text())
    changes = apply(preset, path, FOLDER / "presets", SECTIONS)
    parsed = params.parse(params.read_yaml(path), sections=SECTIONS)
    if preset == "paper-card":
        assert "grpo.generations: 8 -> 16" in changes
        assert parsed["model"].name == "Qwen/Qwen2.5-0.5B-Instruct"
        assert 7473 // parsed["grpo"].prompts_per_step == 1868  # the number of the card's checkpoint


@pytest.mark.parametrize(
    ("overlay", "message"),
    [
        ({"grpo": {"micro_batch": 100}}, "micro_batch 100 does not divide global_batch 64"),
        ({"grpo": {"generations": 7}}, "generations 7 does not divide global_batch 64"),
        ({"problems": {"source": "local"}}, "needs a path"),
        ({"problems": {"revision": "main"}}, "full 40-digit commit hash"),
        ({"problems": {"synthetic": {"min_steps": 3, "max_steps": 2}}}, "min_steps 3 is above max_steps 2"),
        ({"solve": {"samples": 4, "pass_at": [1, 8]}}, "pass@8 needs at least 8 samples"),
        ({"rewards": {"corectness": 1.0}}, "did you mean correctness"),
        ({"train": {}}, "train: unknown key"),
    ],
)
def test_what_cannot_be_run_is_refused(overlay, message):
    with pytest.raises(ParamsError, match=message):
        params.parse(overlaid(DEFAULTS, overlay), sections=SECTIONS)
