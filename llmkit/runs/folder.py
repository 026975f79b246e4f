"""The files in a run's folder. No other module knows their names.

.lock              held by the process that trains in the folder
recipe.yaml        the recipe of the run: no value is left to be decided, every path is absolute
run.json           versions, seed, device, fingerprints of data and model; under `given`, what the
                   recipe said for keys that the run has decided
trackers.json      the id of the run at Weights & Biases
metrics.jsonl      a line per logged step and per validation
samples.jsonl      predictions for a few validation rows at each validation (evaluation.samples)
checkpoints/       what a stopped run is resumed from
model/             the best weights, as a plain Hugging Face folder
int8/              the same model with int8 weights, written by `quantize`
pruned/            written by `prune`: a folder for each method and share, with the pruned model and
                   the run that recovers it, and a plot for each method
predictions.jsonl  id, prompt, prediction and references of each test row
metrics.json       scores of the model and the baselines; written when the run has finished
sets/              the last two files for each further test set
report.html        all of this as one page
exports/           a folder for each format that `export` wrote, with verification.json
"""

from pathlib import Path

CARD = "README.md"  # the model card in the folder of a model or an export


def is_run(path: Path) -> bool:
    return recipe_path(path).is_file()


def recipe_path(run: Path) -> Path:
    return run / "recipe.yaml"


def lock_path(run: Path) -> Path:
    return run / ".lock"


def record_path(run: Path) -> Path:
    return run / "run.json"


def trackers_path(run: Path) -> Path:
    return run / "trackers.json"


def report_path(run: Path) -> Path:
    return run / "report.html"


def set_dir(folder: Path, name: str) -> Path:
    """Scores and predictions of one of several test sets."""
    return folder / "sets" / name.replace(" ", "-")


def set_dirs(folder: Path) -> list[Path]:
    """The folders of all further test sets, by name."""
    return sorted(path for path in (folder / "sets").glob("*") if path.is_dir())


def model_dir(run: Path) -> Path:
    return run / "model"


def card_path(folder: Path) -> Path:
    return folder / CARD


def int8_dir(run: Path) -> Path:
    return run / "int8"


def pruned_dir(run: Path, method: str, share: float) -> Path:
    """The folder of one pruned model of a run."""
    return run / "pruned" / f"{method}-{100 * share:g}"


def pruned_plot_path(run: Path, method: str) -> Path:
    return run / "pruned" / f"{method}.svg"


def checkpoints_dir(run: Path) -> Path:
    return run / "checkpoints"


def checkpoint_dir(run: Path, step: int) -> Path:
    return checkpoints_dir(run) / f"step-{step:08d}"


def checkpoints(run: Path) -> list[Path]:
    """The newest first; one whose replacement was cut short is there once `recover` was called."""
    names = "step-" + 8 * "[0-9]"
    found = [*checkpoints_dir(run).glob(names), *checkpoints_dir(run).glob(f"{names}.replaced")]
    return sorted({path.with_suffix("") for path in found}, reverse=True)


def log_path(run: Path) -> Path:
    return run / "metrics.jsonl"


def samples_path(run: Path) -> Path:
    return run / "samples.jsonl"


def predictions_path(folder: Path) -> Path:
    """The path in a run folder or in a folder that contains only scores."""
    return folder / "predictions.jsonl"


def results_path(folder: Path) -> Path:
    """The path in a run folder or in a folder that contains only scores."""
    return folder / "metrics.json"


def exports_dir(run: Path) -> Path:
    return run / "exports"


def export_record_path(export: Path) -> Path:
    return export / "verification.json"


def is_export(path: Path) -> bool:
    return export_record_path(path).is_file()


def export_dirs(run: Path) -> list[Path]:
    """The folders of all complete exports, by name; the name of an incomplete one has a suffix."""
    found = (path.parent for path in exports_dir(run).glob("*/verification.json"))
    return sorted(path for path in found if not path.suffix)
