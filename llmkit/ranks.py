"""Which process of a run this is, as its launcher says in the environment, and launchers that
llmkit does not support. Nothing here imports the libraries, which takes long."""

import os
from collections.abc import Mapping

from llmkit.errors import UserError

# torchrun's variables, each with those of MPI's launchers (Hydra, Open MPI, MVAPICH) in the order
# in which accelerate looks for them.
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
PORT = "29500"  # on which the processes meet if the launcher names none
SHARDING = {
    "ACCELERATE_USE_FSDP": "FSDP",
    "ACCELERATE_USE_DEEPSPEED": "DeepSpeed",
    "ACCELERATE_USE_MEGATRON_LM": "Megatron-LM",
    "ACCELERATE_USE_PARALLELISM_CONFIG": "tensor or context parallelism",
}


def is_first() -> bool:
    """Whether this is the first process of the run, which prints and writes for all."""
    return int(os.environ.get("RANK", 0)) == 0


def num_processes() -> int:
    """Processes of the run, over all machines."""
    return int(os.environ.get("WORLD_SIZE", 1))


def num_local_processes() -> int:
    """Processes of the run on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", 1))


def join_launcher() -> None:
    """Set torchrun's variables, which all libraries know, from those of MPI's launchers.

    Raises UserError if these are not enough for the processes to find each other, or if accelerate
    is configured to divide the model among them.
    """
    for name, what in SHARDING.items():
        if os.environ.get(name, "false").lower() in ("true", "1"):
            raise UserError(
                f"accelerate's configuration enables {what}, but llmkit keeps the whole model in "
                "each process; choose plain multi-GPU in `accelerate config`, or start with "
                "torchrun or --num-processes"
            )
    found = translate(os.environ)
    if int(found.get("WORLD_SIZE", 1)) == 1:
        return
    if "LOCAL_WORLD_SIZE" not in found or "LOCAL_RANK" not in found:
        raise UserError(
            "LOCAL_RANK and LOCAL_WORLD_SIZE: not set by the launcher; set them in each process, "
            "or start with torchrun"
        )
    if "MASTER_ADDR" not in os.environ:
        if found["LOCAL_WORLD_SIZE"] != found["WORLD_SIZE"]:
            raise UserError(
                "MASTER_ADDR: not set, so the processes on several machines cannot find each "
                "other; set it to the name of the first machine (mpirun -x MASTER_ADDR=NAME)"
            )
        found["MASTER_ADDR"] = "127.0.0.1"
    os.environ.update({"MASTER_PORT": PORT, **os.environ, **found})


def translate(environment: Mapping[str, str]) -> dict[str, str]:
    """torchrun's variables from those of MPI's launchers; empty if torchrun's are set."""
    if "WORLD_SIZE" in environment:
        return {}
    pairs = [
        (name, next((environment[each] for each in theirs if each in environment), None))
        for name, theirs in NAMES.items()
    ]
    return {name: environment.get(name, value) for name, value in pairs if value is not None}


def check_launcher(asked: int = 1) -> None:
    """Raise UserError if the processes would not train one run together.

    asked: the value of --num-processes.
    """
    if asked > 1 and num_processes() > 1:
        raise UserError(
            f"--num-processes: a launcher has started {num_processes()} processes already; remove "
            "the option, or start llmkit without the launcher"
        )
    num_tasks = int(os.environ.get("SLURM_STEP_NUM_TASKS") or 0)
    if not num_tasks and asked == 1:  # in a batch script, --num-processes starts the others
        num_tasks = int(os.environ.get("SLURM_NTASKS") or 1)
    if num_tasks > 1 and "WORLD_SIZE" not in os.environ:
        raise UserError(
            f"srun: each of {num_tasks} tasks would train a run of its own; start one task per "
            "machine that starts the others: srun --ntasks-per-node=1 torchrun "
            "--nnodes=$SLURM_NNODES --nproc-per-node=GPUS --rdzv-backend=c10d "
            "--rdzv-endpoint=FIRST_MACHINE:29500 -m llmkit finetune ...; on one machine: srun "
            "--ntasks=1 llmkit finetune ... --num-processes GPUS"
        )


def overridden_precision(precision: str) -> str | None:
    """The mixed precision of accelerate's configuration if the run's differs; else None."""
    theirs = os.environ.get("ACCELERATE_MIXED_PRECISION", "no")  # which is also its default
    return theirs if theirs not in ("no", precision) else None
