"""The rank of this process, read from its launcher's environment variables.

Supports torchrun, accelerate, MPI launchers and Slurm's srun, and rejects configurations in which
the processes would not train one run together. Imports no heavy library.
"""

import os
import re
from collections.abc import Mapping

from llmkit.errors import UserError

# torchrun's variables, each with its equivalents in MPI launchers (Hydra, Open MPI, MVAPICH) in the
# order in which accelerate looks for them.
NAMES = {
    "RANK": ("PMI_RANK", "OMPI_COMM_WORLD_RANK", "MV2_COMM_WORLD_RANK"),
    "WORLD_SIZE": ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE"),
    "LOCAL_RANK": (
        "MPI_LOCALRANKID", "OMPI_COMM_WORLD_LOCAL_RANK", "MV2_COMM_WORLD_LOCAL_RANK",
    ),
    "LOCAL_WORLD_SIZE": (
        "MPI_LOCALNRANKS", "OMPI_COMM_WORLD_LOCAL_SIZE", "MV2_COMM_WORLD_LOCAL_SIZE",
    ),
}  # fmt: skip
SLURM_PORTS = range(15_000, 30_000)  # one per job, since several jobs may share a machine
DEFAULT_PORT = 29500  # of the rendezvous, if the launcher names none
SHARDING = {
    "ACCELERATE_USE_FSDP": "FSDP",
    "ACCELERATE_USE_DEEPSPEED": "DeepSpeed",
    "ACCELERATE_USE_MEGATRON_LM": "Megatron-LM",
    "ACCELERATE_USE_PARALLELISM_CONFIG": "tensor or context parallelism",
}


def is_rank_zero() -> bool:
    """Whether this is the first process of the run, which prints and writes for all."""
    return whole_number("RANK", default=0) == 0


def num_processes() -> int:
    """Processes of the run, over all machines."""
    return whole_number("WORLD_SIZE", least=1, default=1)


def num_local_processes() -> int:
    """Processes of the run on this machine."""
    return whole_number("LOCAL_WORLD_SIZE", least=1, default=1)


def whole_number(name: str, *, least: int = 0, most: int | None = None, default: int = 0) -> int:
    """The value of an environment variable, or the default if it is not set.

    Raises UserError unless it is a whole number from `least` to `most`.
    """
    text = os.environ.get(name)
    if text is None:
        return default
    is_number = text.isascii() and text.strip().isdecimal()
    if not is_number or not least <= int(text) <= (int(text) if most is None else most):
        upper = "" if most is None else f" to {most}"
        raise UserError(
            f"{name}: this environment variable takes a whole number from {least}{upper}, got "
            f"{text!r}; unset it, or start with torchrun or --num-processes, which set it"
        )
    return int(text)


def join_launcher() -> None:
    """Set torchrun's variables, which all libraries read, from those of Slurm and MPI launchers.

    Raises UserError if the variables do not suffice for the processes to find each other, or if
    accelerate is configured to shard the model.
    """
    for name, what in SHARDING.items():
        if os.environ.get(name, "false").lower() in ("true", "1"):
            raise UserError(
                f"accelerate's configuration enables {what}, but llmkit keeps the whole model in "
                "each process; choose plain multi-GPU in `accelerate config`, or start with "
                "torchrun or --num-processes"
            )
    join_slurm_step()
    sources = sources_of(os.environ)
    numbers = {
        name: whole_number(source, least=int(name.endswith("SIZE")))
        for name, source in sources.items()
    }
    check_ranks(sources, numbers)
    is_accelerate_on_cpu = os.environ.get("ACCELERATE_USE_CPU", "").lower() == "true"
    if is_accelerate_on_cpu and "MASTER_ADDR" in os.environ and "WORLD_SIZE" not in sources:
        raise UserError(
            "accelerate launch: on CPUs, it starts a single process regardless of its "
            "configuration; start with --num-processes or torchrun"
        )
    if numbers.get("WORLD_SIZE", 1) == 1:
        return
    found = {name: str(number) for name, number in numbers.items()}
    if not os.environ.get("MASTER_ADDR"):
        if numbers["LOCAL_WORLD_SIZE"] != numbers["WORLD_SIZE"]:
            raise UserError(
                "MASTER_ADDR: not set, so the processes on several machines cannot find each "
                "other; set it to the name of the first machine (mpirun -x MASTER_ADDR=NAME)"
            )
        found["MASTER_ADDR"] = "127.0.0.1"
    found["MASTER_PORT"] = str(
        whole_number("MASTER_PORT", least=1, most=65535, default=DEFAULT_PORT)
    )
    os.environ.update(found)


def join_slurm_step() -> None:
    """Set torchrun's variables from Slurm's in each of several tasks that srun has started, unless
    they were set by torchrun or an MPI launcher in the step."""
    # Not SLURM_NTASKS, which is also set in batch scripts, whose processes are no tasks.
    num_tasks = whole_number("SLURM_STEP_NUM_TASKS", least=1, default=1)
    if num_tasks == 1 or "WORLD_SIZE" in os.environ or len(sources_of(os.environ)) == len(NAMES):
        return
    os.environ.update(
        RANK=str(whole_number("SLURM_PROCID", most=num_tasks - 1)),
        WORLD_SIZE=str(num_tasks),
        LOCAL_RANK=str(whole_number("SLURM_LOCALID", most=num_tasks - 1)),
        LOCAL_WORLD_SIZE=str(tasks_on_this_machine()),
    )
    if not os.environ.get("MASTER_ADDR"):
        os.environ["MASTER_ADDR"] = first_machine(os.environ.get("SLURM_STEP_NODELIST", ""))
    job, step = whole_number("SLURM_JOB_ID"), whole_number("SLURM_STEP_ID")
    os.environ.setdefault("MASTER_PORT", str(SLURM_PORTS[(job + step) % len(SLURM_PORTS)]))


def tasks_on_this_machine() -> int:
    """Number of tasks of the Slurm step on this machine, from a list such as `4(x2),1`: one entry
    per machine, or per group of machines."""
    text = os.environ.get("SLURM_STEP_TASKS_PER_NODE", "")
    parts = [re.fullmatch(r"(\d{1,9})(?:\(x(\d{1,9})\))?", part) for part in text.split(",")]
    machine = whole_number("SLURM_NODEID")
    if all(parts):
        for tasks, repeats in (part.groups(default="1") for part in parts):
            machine -= int(repeats)
            if machine < 0:
                return int(tasks)
    raise UserError(
        f"SLURM_STEP_TASKS_PER_NODE: {text!r} does not list the tasks of machine "
        f"{os.environ.get('SLURM_NODEID', 0)}; start with torchrun instead"
    )


def first_machine(machines: str) -> str:
    """The first name of a Slurm list such as `gpu[01-03,7],login`."""
    match = re.match(r"([^,\[\]]*)(?:\[(\w+)[^\]]*\])?([^,\[\]]*)", machines)
    name = "".join(match.groups(default=""))
    if not name:
        raise UserError(
            "SLURM_STEP_NODELIST: names no machine; set MASTER_ADDR to the first machine's name"
        )
    return name


def check_ranks(sources: Mapping[str, str], numbers: Mapping[str, int]) -> None:
    """Raise UserError if one of torchrun's variables is missing or contradicts another.

    Args:
        sources: The result of `sources_of`.
        numbers: The values, by torchrun's names.
    """
    # accelerate joins a group of processes wherever LOCAL_RANK is set.
    if numbers.get("WORLD_SIZE", 1) > 1 or sources.get("LOCAL_RANK") == "LOCAL_RANK":
        missing = [name for name in NAMES if name not in numbers]
        if missing:
            raise UserError(
                f"{' and '.join(missing)}: not set by the launcher; set "
                f"{'it' if len(missing) == 1 else 'them'} in each process, or start with torchrun"
            )
    for name, size in (("RANK", "WORLD_SIZE"), ("LOCAL_RANK", "LOCAL_WORLD_SIZE")):
        rank, limit = numbers.get(name, 0), numbers.get(size, 1)
        if rank >= limit:
            stated = f"is {limit}" if size in numbers else "is not set"
            raise UserError(
                f"{sources[name]}: {rank}, but {sources.get(size, size)} {stated}, and ranks count "
                "from 0; set both as torchrun does, or unset both to train in one process"
            )


def sources_of(environment: Mapping[str, str]) -> dict[str, str]:
    """The variable from which each of torchrun's variables is read: the variable itself or, if
    WORLD_SIZE is not set, its equivalent in an MPI launcher."""
    sources = {}
    for name, theirs in NAMES.items():
        candidates = (name,) if "WORLD_SIZE" in environment else (name, *theirs)
        source = next((each for each in candidates if each in environment), None)
        if source is not None:
            sources[name] = source
    return sources


def check_launcher(asked: int = 1) -> None:
    """Raise UserError if the processes would not train one run together.

    asked: The value of --num-processes.
    """
    if asked > 1 and num_processes() > 1:
        raise UserError(
            f"--num-processes: a launcher has started {num_processes()} processes already; remove "
            "the option, or start llmkit without the launcher"
        )


def resume_option(resume: str | None, run_dir: str | None) -> str | None:
    """The value of --resume: as given, or `auto` if torchrun has restarted the processes.

    Raises:
        UserError: If torchrun may restart the processes, which could then not find the run.
    """
    if resume is not None or not whole_number("TORCHELASTIC_MAX_RESTARTS"):
        return resume
    if run_dir is None:
        raise UserError(
            "torchrun --max-restarts: restarted processes have to find the run; name its folder "
            "with --run-dir DIR"
        )
    return "auto" if whole_number("TORCHELASTIC_RESTART_COUNT") else None


def overridden_precision(precision: str) -> str | None:
    """The mixed precision in accelerate's configuration if it differs from the run's; else None."""
    theirs = os.environ.get("ACCELERATE_MIXED_PRECISION", "no")  # also its default
    return theirs if theirs not in ("no", precision) else None
