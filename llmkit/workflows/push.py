"""The `push` command: upload a model with its card and scores to the Hugging Face hub."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import partial
from pathlib import Path
from typing import NamedTuple

import yaml
from huggingface_hub import ModelCard, constants
from rich.console import Console

from llmkit import __version__
from llmkit.errors import UserError, count_of, first_few, printable
from llmkit.io import hub_upload
from llmkit.io.atomic import MANIFEST
from llmkit.io.hub_upload import Repo
from llmkit.io.small_json import UnreadableJson, read_json
from llmkit.paths import expand, sha256
from llmkit.reports.hub_results import BENCHMARK_FILE, RESULTS_FILE, HubResults, hub_results
from llmkit.runs.find import recipe_of, resolve_model
from llmkit.runs.folder import CARD, model_dir
from llmkit.runtime.signals import Stopped
from llmkit.scoring.results import read_results
from llmkit.tasks import TASKS
from llmkit.units import show_bytes

WEIGHTS = (
    "model*.safetensors", "adapter_model.safetensors", "*.gguf", "model.onnx", "model.onnx.data",
    "model.bin",  # of CTranslate2
)  # fmt: skip
VOCABULARIES = ("tokenizer.json", "vocab.json", "vocabulary.json", "merges.txt")
TEXTS = (
    CARD, "config.json", "generation_config.json", "tokenizer_config.json", "adapter_config.json",
    "special_tokens_map.json", "added_tokens.json", "model.safetensors.index.json",
    "chat_template.jinja", "Modelfile", "verification.json", "LICENSE",
)  # fmt: skip
PICKLES = (b"\x80", b"PK")  # how a pickle and a zip archive of pickles start
WHAT_TO_NAME = "name a run, or the folder of a model or an export"
START_OF_PATH = re.compile(r"(?<![\w.:/~-])/[\w.~-]+/[\w.~-]*[\w~-]")  # the first two names


class Origin(NamedTuple):
    """What a model card says about its model."""

    name: str | None
    base_models: frozenset[str]
    tasks: frozenset[str]

    def has_same_kind(self, other: "Origin") -> bool:
        """Whether the other model has the same base model and task."""
        return (self.base_models, self.tasks) == (other.base_models, other.tasks)


@dataclass(frozen=True)
class PushPlan:
    """An upload that has not begun."""

    repo_id: str
    user: str
    """The owner of the token."""
    origin: Origin | None
    repo: Repo | None
    """None: it will be created."""
    replaced: str | None
    """Name of the model that the repo holds."""
    folder: Path
    files: dict[str, Path | bytes]
    """Content by the name in the repo."""
    unchanged: set[str]
    """Names of files that the repo holds already."""
    deleted: tuple[str, ...]
    left_out: list[str]
    results: HubResults
    is_private: bool

    @property
    def changes_nothing(self) -> bool:
        return not self.deleted and self.unchanged == set(self.files)


def plan_push(path: str, repo_id: str, *, is_public: bool, is_forced: bool) -> PushPlan:
    """Check the model and the repo; nothing is uploaded.

    Args:
        path: A run, or the folder of a model or an export.
        is_public: Whether the repo is, or will be, public.
        is_forced: Whether the repo may hold another model.

    Raises:
        UserError: For a folder that is not ready, a repo that does not fit, a missing token, or a
            hub that cannot be reached.
    """
    hub_upload.check_repo_id(repo_id)
    name, run = resolve_model(path)
    folder = expand(name)
    files, left_out = collect_files(folder)
    origin = origin_of(files[CARD].read_text("utf-8", errors="replace"))
    user = hub_upload.log_in(repo_id)
    repo = hub_upload.find_repo(repo_id)
    replaced = None
    if repo is not None:
        check_visibility(repo_id, repo, is_public)
        replaced = check_origin(repo_id, repo, origin, is_forced)
    results = results_of(run if run is not None and folder.samefile(model_dir(run)) else None)
    contents: dict[str, Path | bytes] = dict(files)
    if results.text is not None:
        contents[RESULTS_FILE] = results.text.encode()
    there = repo.hashes if repo is not None else {}
    return PushPlan(
        repo_id,
        user,
        origin,
        repo,
        replaced,
        folder,
        contents,
        unchanged={name for name in there if has_same(repo, name, contents)},
        deleted=tuple({RESULTS_FILE} & set(there) - set(contents)),
        left_out=left_out,
        results=results,
        is_private=not is_public,
    )


def has_same(repo: Repo, name: str, contents: dict[str, Path | bytes]) -> bool:
    """Whether the repo holds a file of this name with the content to be uploaded."""
    return name in contents and hub_upload.has_content(repo, name, contents[name])


def collect_files(folder: Path) -> tuple[dict[str, Path], list[str]]:
    """The files of a model that may be uploaded, by name, and the names of the others.

    Raises UserError unless there are weights and a card, and for a text with a path of this
    machine.
    """
    if not folder.is_dir():
        problem = "is a file" if folder.exists() else "no such folder"
        raise UserError(f"{folder}: {problem}; {WHAT_TO_NAME}")
    found = sorted(path for path in folder.iterdir() if path.name != MANIFEST)
    files = {path.name: path for path in found if may_be_uploaded(path)}
    if not any(is_named(name, WEIGHTS) for name in files):
        raise UserError(f"{folder}: no weights ({', '.join(WEIGHTS)}); {WHAT_TO_NAME}")
    if CARD not in files:
        raise UserError(
            f"{folder}: no model card; `llmkit finetune` writes {CARD} at the end of a run, so "
            "finish the run, or write one"
        )
    for name in files:
        if name in TEXTS:
            check_text(files[name])
    check_weights(folder, files)
    return files, [path.name for path in found if path.name not in files]


def may_be_uploaded(path: Path) -> bool:
    """Whether a file is part of a model: no pickle, no link, nothing that llmkit does not know."""
    if path.is_symlink() or not path.is_file():
        return False
    if is_named(path.name, WEIGHTS):
        with path.open("rb") as file:
            return not file.read(2).startswith(PICKLES)
    return path.name in (*TEXTS, *VOCABULARIES)


def is_named(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatch(name, pattern) for pattern in patterns)


def check_weights(folder: Path, files: dict[str, Path]) -> None:
    """Raise UserError for weights that have changed since the folder was written."""
    try:
        listed = read_json(folder / MANIFEST).get("files")
    except UnreadableJson:  # written by another program
        return
    for name, path in files.items():
        recorded = listed.get(name) if isinstance(listed, dict) else None
        if not is_named(name, WEIGHTS) or not isinstance(recorded, dict):
            continue
        if recorded.get("sha256") != sha256(path):
            raise UserError(
                f"{path}: has changed since it was written (its sha256 differs); train or "
                f"export it again, or delete {MANIFEST} if you changed it"
            )


def check_text(path: Path) -> None:
    """Raise UserError for a text that names a file or folder of this machine."""
    lines = path.read_text("utf-8", errors="replace").splitlines()
    for number, line in enumerate(lines, 1):
        for found in local_paths(line):
            raise UserError(
                f"{path}:{number}: contains the path {printable(found)} of this machine; remove "
                "it, or name a model or data set of the hub instead"
            )


def local_paths(line: str) -> Iterator[str]:
    """The absolute paths in a line whose first two parts exist on this machine."""
    for match in START_OF_PATH.finditer(line):
        if Path(match[0]).exists():
            yield match[0]


def check_visibility(repo_id: str, repo: Repo, is_public: bool) -> None:
    """Raise UserError unless the repo is as public as the command says."""
    if not repo.is_private and not is_public:
        raise UserError(f"{repo_id}: this repo is public; add --public to publish the model")
    if repo.is_private and is_public:
        raise UserError(
            f"{repo_id}: this repo is private; make it public in its settings at "
            f"{constants.ENDPOINT}/{repo_id}/settings, or leave out --public"
        )


def check_origin(repo_id: str, repo: Repo, ours: Origin | None, is_forced: bool) -> str | None:
    """The name of the model that the repo holds; None if it holds none.

    Raises UserError if that is a model of another task or base model.
    """
    if not any(is_named(name, WEIGHTS) for name in repo.hashes):
        return None
    theirs = origin_of(hub_upload.read_text(repo_id, CARD, revision=repo.commit) or "")
    is_same = ours is not None and theirs is not None and ours.has_same_kind(theirs)
    if not is_same and not is_forced:
        raise UserError(
            f"{repo_id}: holds {described(theirs)}, and this is {described(ours)}; name another "
            "repo, or add --force to replace it by a new commit"
        )
    return (theirs.name if theirs else None) or "another model"


def origin_of(card: str) -> Origin | None:
    """What a card says about its model; None if llmkit did not write it."""
    if not card.startswith("---"):
        return None
    try:
        metadata = ModelCard(card, ignore_metadata_errors=True).data
        tags, base = metadata.tags or [], metadata.base_model or []
        bases = frozenset([base] if isinstance(base, str) else base)
        origin = Origin(metadata.model_name, bases, frozenset(TASKS) & set(tags))
    except (ValueError, TypeError, RecursionError, yaml.YAMLError):  # someone else wrote the card
        return None
    return origin if "llmkit" in tags else None


def described(origin: Origin | None) -> str:
    """The model of a card in a few words."""
    if origin is None:
        return "a model without a card of llmkit"
    tasks, bases = (" and ".join(sorted(names)) for names in (origin.tasks, origin.base_models))
    tuned = f", tuned from {bases}" if bases else ""
    return printable(f"a model for {tasks or 'no task'}{tuned}")


def results_of(run: Path | None) -> HubResults:
    """The scores of a run in the hub's format."""
    results = read_results(run) if run is not None else None
    if results is None:
        return HubResults(None, "this folder is not the model of a finished run")
    recipe = recipe_of(run)
    read = partial(hub_upload.read_text, name=BENCHMARK_FILE, repo_type="dataset")
    try:
        return hub_results(recipe.data, recipe.evaluation, results, read)
    except UserError as error:  # the data set is no longer there, or no longer open
        return HubResults(None, str(error))


def show_plan(console: Console, plan: PushPlan) -> None:
    """Print what will be uploaded, and where to."""
    visibility = "private" if plan.is_private else "public"
    state = f"new, {visibility}"
    if plan.repo is not None:
        state = f"{visibility}, at commit {plan.repo.commit[:7]}"
    if plan.replaced is not None:
        state += f", holds {printable(plan.replaced)}"
    console.print(f"repo    {constants.ENDPOINT}/{plan.repo_id} as {plan.user}: {state}")
    console.print(f"folder  {plan.folder}")
    width = max(map(len, plan.files))
    for name, content in plan.files.items():
        size = show_bytes(size_of(content))
        note = "  unchanged" if name in plan.unchanged else ""
        console.print(f"        {printable(name):<{width}}  {size:>8}{note}")
    for name in plan.deleted:
        console.print(f"        {name:<{width}}   deleted")
    if plan.left_out:
        console.print(f"skipped {printable(first_few(plan.left_out))}: not part of a model")
    where = "card and .eval_results" if plan.results.text else "card only"
    console.print(f"scores  {where}: {printable(plan.results.note)}")


def size_of(content: Path | bytes) -> int:
    return len(content) if isinstance(content, bytes) else content.stat().st_size


def question(plan: PushPlan) -> str:
    """What the user confirms."""
    changed = [content for name, content in plan.files.items() if name not in plan.unchanged]
    size = show_bytes(sum(map(size_of, changed)))
    repo = f"the {'private' if plan.is_private else 'public'} repo {plan.repo_id}"
    return f"upload {count_of(len(changed), 'file')}, {size}, to {repo}?"


def push(plan: PushPlan) -> str:
    """Upload the files as one commit; returns its URL.

    Raises Stopped after a stop request; the repo then has the whole commit or none of it.
    """
    name = plan.origin.name if plan.origin is not None else None
    try:
        commit = hub_upload.upload(
            plan.repo_id,
            plan.repo,
            plan.files,
            deleted=plan.deleted,
            is_private=plan.is_private,
            message=f"Upload {name or plan.folder.name} with llmkit {__version__}",
        )
    except Stopped as stop:
        stop.advice = "; run the same command again, and it sends only what is missing"
        raise
    return f"{constants.ENDPOINT}/{plan.repo_id}/tree/{commit}"
