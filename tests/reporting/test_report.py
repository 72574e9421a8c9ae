"""The report as its reader gets it: what it warns of, what it shows, and that it asks nobody for anything."""

import copy
import json
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import polars as pl
import pytest

from benchmarks.evaluate_at_full_size import world
from socrates.core.errors import DataError
from socrates.core.files import write_json
from socrates.core.params import flat, load, read_yaml
from socrates.evaluation.evaluate import evaluate
from socrates.evaluation.intervals import Estimate, least_p
from socrates.evaluation.params import Evaluate
from socrates.evaluation.summary import PLOT_CELLS
from socrates.reporting.caveats import caveats
from socrates.reporting.jinja import markdown_cell, number, render_html, render_markdown
from socrates.reporting.read import read_report
from socrates.reporting.sections import content, p_value, verdict
from socrates.survey.tables import RESPONSES
from socrates.tools.card import write_card
from socrates.tools.readme import result
from stages import report as stage
from tests.browser import PROGRAM, Browser

ROOT = Path(__file__).resolve().parents[2]
QUESTION = "How likely are you to repair a <broken> kettle & keep it | {{ 7 * 7 }}? Answer from 1 to 5."


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A project folder as the stages before the report leave it."""
    folder = tmp_path_factory.mktemp("project")
    both, _ = world(4, 2, 1, 12, {"adapter": 0.05, "base": 0.3}, seed=5)
    numbered = pl.col("study_id").str.slice(3)  # looks like a number, is a name
    both = {name: rows.with_columns(study_id=numbered) for name, rows in both.items()}
    small = {"min_cell_size": 5, "min_group_size": 5, "draws": 2, "bootstrap": 50}
    params = load(Evaluate, ROOT / "params.yaml").model_copy(update=small)
    train = pl.DataFrame({"study_id": ["t"] * 6, "scale": ["1..5"] * 6, "response": [1, 2, 2, 3, 3, 4]})
    paths = {name: folder / f"{name}.parquet" for name in both}
    result = evaluate(both, paths, train, None, {"adapter": {"no scale known": 3}, "base": {}}, params)

    write_evaluation(folder, result)
    for name in ("metrics/paper.json", "params.yaml"):
        shutil.copy(ROOT / name, folder / name)
    losses = "step,loss,validation_loss,answer_token_accuracy\n0,,1.7,\n1,1.6,,0.3\n2,1.2,1.3,0.4\n"
    (folder / "metrics/train.csv").write_text(losses)
    rejected, hub = {"answer outside the stated scale": 17}, {"kind": "hub", "name": "some/model"}
    predicted = {"rows": 96, "excluded": {"no scale known": 3}, "scale_rules": {"range": 96}}
    raw = {"source": "local", "rows_read": 113, "kept": {"rows": 96}, "rejected": rejected}
    training = {"base": "ab" * 32, "versions": {"torch": "2.13.0"}, "steps": 2, "rows": 9, "tokens": 99}
    manifests = {
        "data/raw": raw,
        "data/splits": {"split": {"method": "seeded"}, "overlap": {"shared_studies": 0}},
        **{f"data/predictions/{name}": predicted for name in both},
        "models/base": hub | {"revision": "c" * 40},
    }
    for name, value in manifests.items():
        write_json(folder / name / "manifest.json", value)
    write_json(folder / "models/adapter/training.json", training)
    asked = both["adapter"].with_columns(stimuli=pl.lit(QUESTION)).select(list(RESPONSES))
    asked.write_parquet(folder / "data/splits/test.parquet")
    return folder


def write_evaluation(folder, result):
    (folder / "metrics/tables").mkdir(parents=True, exist_ok=True)
    for name, table in result.tables.items():
        table.write_csv(folder / f"metrics/tables/{name}.csv", float_precision=6)
    write_json(folder / "metrics/evaluate.json", result.metrics)


@pytest.fixture(scope="module")
def report(project):
    return read_report(project)


@pytest.fixture(scope="module")
def found(report):
    return content(report)


@pytest.fixture(scope="module")
def html(found):
    return render_html(found)


@pytest.fixture(scope="module")
def markdown(found):
    return render_markdown(found)


class Page(HTMLParser):
    """Collects what a browser would fetch, and the words it would show."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.fetched, self.images, self.words = [], [], [], ""
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        asking = ("src", "href", "srcset", "data", "action")
        self.fetched += [value or "" for name, value in attrs if name in asking]
        self.images += [dict(attrs)] if tag == "img" else []

    def handle_data(self, data):
        self.words += data


def test_page_fetches_nothing_runs_nothing_and_describes_every_figure(html):
    page = Page(html)
    assert page.fetched and all(address.startswith(("data:", "#")) for address in page.fetched)
    assert not {"script", "iframe", "object", "embed"} & set(page.tags)
    assert "@import" not in html and "url(" not in html.split("<body>", maxsplit=1)[0]
    assert len(page.images) >= 8  # headline, studies, three cells, two effects, PIT, loss
    assert all(image["src"].startswith("data:image/svg+xml,") and image["alt"] for image in page.images)


def test_an_answer_read_twice_is_counted_once(report):
    """24,000 rows of optimiser steps on 15,600 answers are not 24,000 answers."""
    splits = {**report.splits, "splits": {"train": {"rows": 15_700}}}
    training = {**report.training, "rows": 24_000, "rows_too_long": {"train": 100}}
    often = replace(report, splits=splits, training=training)
    assert "on 15,600 answers, each read 1.5 times on average;" in content(often)["about"]
    once = replace(often, training={**training, "rows": 9_000})
    assert "on 9,000 answers;" in content(once)["about"]


def test_question_text_is_shown_as_text_and_that_of_real_data_stays_out_of_git(html, markdown, found, report):
    assert QUESTION in Page(html).words  # escaped in the page, and no template within the template
    assert "broken" not in Page(html).tags
    synthetic = replace(report, raw={**report.raw, "source": "synthetic", "world": {}})
    assert "&lt;broken> kettle & keep it \\|" in render_markdown(found | {"report": synthetic})
    assert "kettle" not in markdown and "do not publish this page" in html


def test_equal_input_gives_equal_bytes_whatever_a_machine_recorded(project, html, markdown):
    """The page is an output that DVC hashes: seconds in it would change dvc.lock at every run."""
    (project / "runs").mkdir()
    (project / "runs/train.jsonl").write_text('{"event": "start", "usd": 0.0, "fingerprint": "f"}\n')
    again = content(read_report(project))
    assert (render_html(again), render_markdown(again)) == (html, markdown)
    assert "dc:date" not in again["figures"]["headline"].svg


def test_cells_are_shown_by_their_rank(found, report):
    cells = found["cells"]
    total = report.tables["cell_scores"].filter(predictor="adapter")["wasserstein"].drop_nulls().len()
    assert len(cells) == total < PLOT_CELLS and cells == sorted(cells, key=lambda cell: cell["wasserstein"])
    assert all(f" of {total}: W " in cell["title"] for cell in cells)
    people = report.tables["cells"].select("human_low", "human_high").rows()
    ends = {f"people used {low:.0f} to {high:.0f}" for low, high in people}
    assert all(cell["about"].endswith(tuple(ends)) for cell in cells)


def test_headline_stands_beside_baselines_intervals_and_paper(html, report):
    words = Page(html).words
    for part in ("adapter", "base", "uniform", "train_marginal", "empirical_best"):
        found = report.estimate(part)
        assert found.bounded and number(found.value) in words and number(found.low) in words
    assert "0.151" in words and "0.205" in words and "Kolluri" in words
    assert "-71%" in words and "second-hand" in words and "released Qwen 14B, fine-tuned, rerun" in words


@pytest.mark.parametrize(("low", "high", "words"), [
    (-0.09, -0.02, "closer"),
    (0.02, 0.05, "farther"),
    (-0.02, 0.01, "not established"),
    (-0.009, -0.001, "practically equal (within ±0.01)"),
    (None, None, "no result"),
])  # fmt: skip
def test_an_interval_is_read_in_words(low, high, words):
    assert words in verdict(Estimate(0.0, low, high), 0.01, "closer", "farther")


def test_what_decides_stands_first_and_a_least_p_is_a_bound(html, report):
    words = Page(html).words
    assert "no result: fewer than 6 studies" in words and "yes: closer" not in words  # four studies
    assert words.index("persona matter?") < words.rindex("Headline") and "One training run" in words
    assert p_value(0.002, least_p(11, 1000)) == "0.002"
    assert p_value(2 / 2**11, least_p(11, 1000)) == "≤\u00a00.00098"
    assert p_value(0.01, least_p(4, 1000)) == "0.010"  # Student's t: no least p


def test_cells_that_resemble_training_are_counted_and_left_out_in_a_table(report):
    rest = {"adapter.wasserstein": 0.4321, "counts.cells_scored": 5}
    counts = {**report.metrics["counts"], "cells_near_duplicate": 3}
    flagged = replace(report, metrics={**report.metrics, "counts": counts, "without_near_duplicates": rest})
    shown = content(flagged)
    for text in (Page(render_html(shown)).words, render_markdown(shown)):
        assert "without the 3 of 8 cells whose text resembles one of training" in text and "0.432" in text


def test_rejects_are_counted_with_their_reason_and_all_parameters_shown(html, markdown):
    for text in (html, markdown):
        assert re.search(r"answer outside the stated scale \(rows\)(</td><td>| \| )17", text)
    keys = [key for key, _ in flat(read_yaml(ROOT / "params.yaml")) if not key.startswith("run.")]
    assert all(f"| {key} |" in markdown and f">{key}</td>" in html for key in keys)


@pytest.mark.parametrize(
    "name", ["metrics/evaluate.json", "metrics/tables/effects.csv", "models/base/manifest.json"]
)
def test_missing_input_is_named(project, tmp_path, name):
    shutil.copytree(project, tmp_path / "copy")
    (tmp_path / "copy" / name).unlink()
    with pytest.raises(DataError, match=re.escape(name)):
        read_report(tmp_path / "copy")


def test_a_model_that_was_not_trained_is_reported_without_a_training(project, tmp_path, monkeypatch, capsys):
    """Preset ``released``: nothing but a base model, and the curves of somebody else's training in Git."""
    shutil.copytree(project, tmp_path / "released")
    monkeypatch.chdir(tmp_path / "released")
    shutil.rmtree("models/adapter")
    shutil.rmtree("data/predictions/adapter")
    best = "words_demographics"
    rows, _ = world(4, 2, 1, 12, {"base": 0.1, best: 0.2}, seed=5)
    train = rows["base"].select("study_id", "scale", "response")
    paths = {name: Path(name) for name in rows}
    made = evaluate(rows, paths, train, None, {name: {} for name in rows}, load(Evaluate), best)
    write_evaluation(Path(), made)
    stage.main()
    assert capsys.readouterr().out.startswith("report: metrics/report.html")
    html, markdown = (Path(f"metrics/report.{end}").read_text() for end in ("html", "md"))
    assert ">Training</h2>" not in html
    assert all("without any training of ours" in text for text in (html, markdown))
    assert "fine-tuned model −" not in markdown
    assert "| base − best baseline (trees on words and demographics) |" in markdown
    scores = read_report(Path())
    assert "the\nbase model is" in result(scores) and "fine-tuned" not in result(scores)
    written = write_card(tmp_path / "card", scores, "models/adapter", None)
    text = (tmp_path / "card/README.md").read_text()
    assert "plots/loss.svg" not in written and "nothing was trained" in text
    assert "Load it" not in text and "Time and cost" not in text


# Warnings. ``sound`` is a report that gives no reason for any.


@pytest.fixture
def sound(report):
    metrics = copy.deepcopy(report.metrics)
    w = {"adapter": 0.15, "base": 0.21, "uniform": 0.20, "train_marginal": 0.18, "empirical_best": 0.01}
    for part, value in w.items():
        ends = {"wasserstein_low": value - 0.01, "wasserstein_high": value + 0.01}
        metrics[part] |= {"wasserstein": value, **ends}
    for part in ("base", "uniform", "train_marginal"):
        metrics[f"adapter_minus_{part}"]["wasserstein_sign"] = -1
    metrics["adapter"] |= {"effects.r": 0.5, "effects.r_low": 0.3, "effects.r_high": 0.7}
    metrics["adapter"]["format_validity"] = 0.99
    metrics["counts"] |= {"studies_scored": 40, "cells": 798, "cells_scored": 790}
    metrics["counts"]["respondents_per_cell_median"] = 300.0
    raw = {"source": "hub", "rows_read": 10, "kept": {"rows": 10}, "rejected": {}}
    splits = {"split": {"method": "official"}, "overlap": {"near_duplicate_scenarios": 0}}
    predictions = report.predictions | chosen(-1.6)
    return replace(report, metrics=metrics, raw=raw, splits=splits, predictions=predictions)


def chosen(uncorrected):
    """What calibration says of a training, beside a training-study average of -1.9."""
    scores = {"validation_log_score_uncorrected": uncorrected, "validation_log_score_average": -1.9}
    return {"adapter_calibrated": scores}


def test_a_sound_result_has_no_warning(sound):
    assert caveats(sound) == []
    assert "None of the conditions" in render_markdown(content(sound))
    synthetic = replace(sound, raw={"source": "synthetic"})
    assert "no figure here says anything about people" in caveats(synthetic)[0]


NOT_THE_PAPERS = "not the ones of the paper's table"


@pytest.mark.parametrize(("part", "key", "value", "words"), [
    ("counts", "studies_scored", 10, "Only 10 test studies"),
    ("counts", "studies_scored", 2, "2 test studies carry no result"),
    ("counts", "cells_scored", 40, "Only 40 cells"),
    ("counts", "cells_scored", 600, "198 of 798 cells could not be scored"),
    ("counts", "respondents_per_cell_median", 24.0, "24 respondents or fewer"),
    ("adapter_minus_uniform", "wasserstein_sign", 1, "closer to people than: uniform guess."),
    ("adapter_minus_base", "wasserstein_sign", 0, "closer to people than: base model."),
    ("adapter", "effects.r_low", -0.1, "no use for comparing conditions"),
    ("adapter", "effects.r", None, "does not react to conditions"),
    ("adapter", "format_validity", 0.8, "only 80% of its probability"),
    ("adapter", "wasserstein", None, "there is no headline"),
    ("adapter", "wasserstein_low", None, "no intervals"),
])  # fmt: skip
def test_each_weakness_is_said_in_words(sound, part, key, value, words):
    sound.metrics[part][key] = value
    found = caveats(sound)
    assert any(words in text for text in found), found


@pytest.mark.parametrize(("part", "value", "words"), [
    ("raw", {"source": "synthetic"}, NOT_THE_PAPERS),
    ("params", {"sample": {"fraction": 1.0, "by": "cell", "max_per_cell": 20}}, NOT_THE_PAPERS),
    ("splits", {"overlap": {"near_duplicate_scenarios": 4}}, "4 test scenarios"),
    ("base", {"kind": "builtin", "parameters": 900_000}, "900,000 parameters"),
    ("predictions", {"adapter": {"rows": 80, "excluded": {"no scale known": 20}}},
     "20 test answers got no prediction from adapter"),
    ("predictions", chosen(-1.9), "its training failed"),
])  # fmt: skip
def test_each_weakness_of_what_it_is_made_from_is_said_in_words(sound, part, value, words):
    found = caveats(replace(sound, **{part: getattr(sound, part) | value}))
    assert [words in text for text in found].count(True) == 1, found


def test_warnings_stand_before_the_headline(report, html, markdown):
    found = caveats(report)
    assert len(found) >= 3  # four studies of two small cells
    for text in (Page(html).words, markdown):
        assert all(text.index(caveat) < text.index("95 %") for caveat in found)


def test_numbers_and_table_text():
    shown = [number(value) for value in (None, -0.0314, 1234567, 0, 24.0)]
    assert shown == ["–", "−0.031", "1,234,567", "0", "24"]
    assert markdown_cell("a|b\n<i>") == "a\\|b &lt;i>"
    assert dict(flat({"a": {"b": {"c": 1}}, "d": 2})) == {"a.b.c": 1, "d": 2}


def test_plot_templates_are_json_and_name_columns_that_evaluate_writes(project):
    read = (pl.read_csv(project / f"metrics/tables/{name}.csv") for name in ("studies", "distributions"))
    written = {column for table in read for column in table.columns}
    templates = sorted((ROOT / ".dvc/plots").glob("*.json"))
    assert len(templates) == 3
    for path in templates:
        json.loads(path.read_text())
        named = set(re.findall(r"datum\.(\w+)|\"field\": \"(\w+)\"", path.read_text()))
        assert {a or b for a, b in named} <= written | {"rev", "field", "cell"}


def browse(folder, html):
    """The words of the page, what the browser complains of, and the addresses it asks for."""
    if PROGRAM is None:
        pytest.skip("no chromium here: the page is not looked at in a browser")
    page = folder / "report.html"
    page.write_text(html)
    with Browser(folder, width=390) as browser:
        browser.open(page.as_uri())
        browser.wait("document.readyState == 'complete'")
        words = browser.run("document.body.innerText")
    told = [(event["method"], event["params"]) for event in browser.events]
    asked = {params["request"]["url"] for name, params in told if name == "Network.requestWillBeSent"}
    complaints = " ".join(params["entry"]["text"] for name, params in told if name == "Log.entryAdded")
    return words, complaints, {url for url in asked if not url.startswith("data:")} - {page.as_uri()}


def test_the_contents_lead_to_every_section(html):
    links = re.findall(r'<li><a href="#(.*?)">(.*?)</a></li>', html)
    assert links == re.findall('<h2 id="(.*?)">(.*?)</h2>', html)
    assert len(links) > 4
    assert "<h2>" not in html


def test_browser_shows_it_without_error_or_request(html, tmp_path):
    words, *silence = browse(tmp_path, html)
    assert "Simulated answers are no substitute" in words and silence == ["", set()]
    # the page's policy forbids requests, so that one is an error
    asking = html.replace("<h1>", "<img src='http://far.example/a.png'><h1>")
    assert "far.example" in browse(tmp_path, asking)[1]
