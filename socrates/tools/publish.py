"""A run on the Hugging Face hub: card, plots, adapter and metrics in one commit, or nothing.

Only what is named here leaves the machine: no row of the data, no page that quotes questions, no log.
The token comes from where ``huggingface_hub`` keeps it (``hf auth login``, ``HF_TOKEN``) and is never shown.
"""

from pathlib import Path

from huggingface_hub import CommitOperationAdd, HfApi

from socrates.core.errors import DataError, SourceError
from socrates.core.hub import hub_errors

ADAPTER, METRICS = Path("models/adapter"), Path("metrics")
KINDS = (".safetensors", ".json", ".txt", ".model", ".jinja")  # of an adapter's folder; nothing pickled


def files_to_publish(project: Path, card: Path) -> dict[str, Path]:
    """The files of a repository by their path in it, sorted: adapter and metrics of ``project``, and the card's."""
    files = {path.name: path for path in (project / ADAPTER).glob("*") if path.suffix in KINDS}
    files |= {path.relative_to(card).as_posix(): path for path in card.rglob("*") if path.is_file()}
    for pattern in ("evaluate.json", "train.csv", "tables/*.csv"):
        files |= {path.relative_to(project).as_posix(): path for path in (project / METRICS).glob(pattern)}
    for name, where in (("adapter_model.safetensors", ADAPTER), ("README.md", card)):
        if name not in files:
            raise DataError(f"{where}: has no {name}; run dvc repro")
    return dict(sorted(files.items()))


def upload(repo: str, files: dict[str, Path], public: bool) -> str:
    """Put ``files`` on the hub as one commit; returns the commit's address."""
    api = HfApi()
    with hub_errors(repo, "--repo"):
        api.create_repo(repo, private=not public, exist_ok=True, repo_type="model")
        if not public and api.model_info(repo).private is False:
            told = "is there already and public; make it private on the hub, or say --public"
            raise SourceError(f"{repo}: {told}")
        operations = [CommitOperationAdd(path, str(file)) for path, file in files.items()]
        done = api.create_commit(repo, operations, commit_message="Adapter, card, metrics and plots")
        return str(done.commit_url)
