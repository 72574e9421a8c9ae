"""report: the page that a person reads.

Reads:   metrics/evaluate.json, metrics/tables/, metrics/paper.json, metrics/train.csv, params.yaml,
         data/{raw,splits}/manifest.json, data/splits/test.parquet (question texts),
         data/predictions/*/manifest.json, models/adapter/training.json,
         models/base/manifest.json
Writes:  metrics/report.html   one self-contained page
         metrics/report.md     the same without figures and without the texts of real
                               questions: equal for equal results, and fit to be kept in Git
Command: python -m stages.report
"""

from pathlib import Path

from socrates.core import errors, files
from socrates.reporting.jinja import render_html, render_markdown
from socrates.reporting.read import read_report
from socrates.reporting.sections import content

METRICS = Path("metrics")


def main() -> None:
    found = content(read_report(Path()))
    html, markdown = render_html(found), render_markdown(found)
    files.write_text(METRICS / "report.html", html)
    files.write_text(METRICS / "report.md", markdown)
    size, warnings = len(html) // 1024, len(found["caveats"])
    print(f"report: {METRICS / 'report.html'} ({size} KiB) and report.md, {warnings} warnings")


if __name__ == "__main__":
    errors.run(main)
