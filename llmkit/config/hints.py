"""Names from other toolkits, and llmkit's names for the same things.

They are used in messages only. llmkit never accepts them, so that each setting has one name. They
come from Hugging Face's TrainingArguments, TRL, axolotl, LLaMA-Factory, torchtune, litgpt and
nanoGPT.
"""

from collections.abc import Collection


def _expand(names: dict[str, str]) -> dict[str, str]:
    """One entry per name, for names that share a value."""
    return {theirs: ours for words, ours in names.items() for theirs in words.split()}


# Commands of other toolkits -> arguments of `llmkit`.
COMMANDS = _expand(
    {
        "train tune fine-tune fine_tune fit sft run start launch": "finetune RECIPE",
        "resume continue": "finetune RECIPE --resume RUN",
        "eval test score benchmark evaluation": "evaluate MODEL_OR_RUN",
        "predict prediction": "generate --model RUN --input FILE --output FILE",
        "infer inference complete completions sample ask prompt": "generate --prompt TEXT",
        "validate inspect preview lint dry-run dryrun": "check RECIPE",
        "preprocess tokenize": "prepare RECIPE",
        "estimate profile": "plan RECIPE",
        "api server deploy": "serve --model RUN",
        "ls list cat cp show init config configs": "recipes",
        "config-schema schema": "recipes --json-schema",
        "diff significance": "compare RUN RUN",
        "merge convert save": "export RUN --to FORMAT",
        "upload publish push-to-hub push_to_hub": "push RUN USER/NAME",
        "html plot dashboard view": "report RUN",
        "help": "--help",
        "version": "--version",
    }
)

# Keys of other toolkits, without their sections -> llmkit's key.
KEYS = _expand(
    {
        "lr max_lr peak_lr base_learning_rate": "train.learning_rate",
        "min_lr min_lr_rate": "train.min_learning_rate",
        "lr_scheduler_type lr_scheduler scheduler": "train.schedule",
        "warmup num_warmup_steps lr_warmup_steps warmup_iters": "train.warmup_steps",
        "num_train_epochs num_epochs n_epochs epoch": "train.epochs",
        "num_steps total_steps max_iters max_steps_per_epoch": "train.max_steps",
        "optim optimizer_type optimizer_name": "train.optimizer",
        "adam_betas adam_beta1 adam_beta2 beta1 beta2": "train.betas",
        "gradient_checkpointing use_gradient_checkpointing enable_activation_checkpointing": (
            "train.activation_checkpointing"
        ),
        "torch_compile": "train.compile",
        "wd": "train.weight_decay",
        "max_norm grad_clip gradient_clip_val clip_grad_norm max_gradient_norm": (
            "train.max_grad_norm"
        ),
        "per_device_eval_batch_size eval_batch_size": "evaluation.batch_size",
        "train_batch_size": "train.global_batch_size",
        "precision dtype torch_dtype": "train.mixed_precision",
        "use_cpu no_cuda accelerator": "train.device",
        "logging_steps log_interval log_every_n_steps": "train.log_every",
        "lora_r lora_rank rank": "train.lora.r",
        "alpha": "train.lora.lora_alpha",
        "lora_target lora_target_modules": "train.lora.target_modules",
        "adapter finetuning_type peft_method use_peft use_lora": "train.method",
        "save_steps saves_per_epoch save_interval save_every save_freq": "checkpoint.every",
        "save_total_limit keep_last_n_checkpoints": "checkpoint.keep",
        "eval_steps evals_per_epoch eval_interval eval_freq val_check_interval interval": (
            "evaluation.every"
        ),
        "metric_for_best_model monitor": "evaluation.metric",
        "patience early_stopping": "evaluation.early_stopping_patience",
        "max_eval_samples eval_samples": "evaluation.validation_rows",
        "stop_strings stop_sequences stop_words until": "generation.stop",
        "repeat_penalty": "generation.repetition_penalty",
        "choice guided_choice": "generation.choices",
        "guided_regex": "generation.regex",
        "guided_json response_format": "generation.json_schema",
        "report_to logger_name metric_logger use_wandb wandb_log": "trackers",
        "model_name_or_path base_model model_name checkpoint_dir pretrained_model": "model.name",
        "model_args model_config config_overrides": "model.scratch",
        "max_seq_length max_seq_len sequence_len cutoff_len block_size model_max_length": (
            "data.max_length"
        ),
        "sample_packing packed": "data.packing",
        "random_seed manual_seed data_seed": "seed",
        "train_file train_data dataset_path data_path": "data.train",
        "validation_file eval_file val_file eval_dataset": "data.validation",
        "test_file test_data": "data.test",
        "dataset dataset_name dataset_id datasets": "data.hub",
        "dataset_config_name dataset_config subset": "data.config",
        "val_set_size val_size val_split_fraction validation_split": "data.validation_fraction",
        "max_samples max_train_samples num_samples": "data.limit",
        "prompt_template chat_template prompt_style": "data.template",
        "max_tokens max_gen_len": "generation.max_new_tokens",
    }
)

# Advice for keys of other toolkits whose value or meaning differs from llmkit's.
ADVICE = _expand(
    {
        "warmup_ratio lr_warmup_ratio lr_warmup_fraction": (
            "set train.warmup_steps to a number below 1 for a fraction of the steps, such as "
            "train.warmup_steps=0.1"
        ),
        "per_device_train_batch_size micro_batch batch_size_per_device": (
            "set train.micro_batch_size for one forward pass, train.global_batch_size for one step"
        ),
        "batch_size": (
            "set train.global_batch_size for one step, train.micro_batch_size for one forward "
            "pass, evaluation.batch_size for evaluation"
        ),
        "gradient_accumulation_steps accumulate_grad_batches": (
            "set train.global_batch_size to the rows of one optimizer step; the accumulation "
            "follows from it"
        ),
        "decay_lr lr_decay_iters": (
            "the learning rate decays until the last step; train.schedule=constant keeps it"
        ),
        "init_from": ("set model to gpt2 or scratch, or continue a run with --resume RUN"),
        "eval_iters": ("set evaluation.validation_rows to the number of validation rows to score"),
        "output_dir out_dir save_dir save_path logging_dir": (
            "name the folder of the run with --run-dir DIR"
        ),
        "run_name experiment_name": "the folder names the run: --run-dir DIR",
        "dataset_exact_deduplication deduplicate deduplication dedup": (
            "set data.remove_duplicates=exact, or near for texts of `pretrain`"
        ),
        "dataset_mixer interleave_probs probabilities data_mix": (
            "name further sets of `pretrain` in data.mix, each with its share of the tokens"
        ),
        "dataset_text_field": "name the column of the texts with data.columns.text=COLUMN",
        "resume_from_checkpoint auto_resume_from_checkpoints resume": "use --resume RUN",
        "overwrite_output_dir": (
            "llmkit never overwrites a run; name another folder with --run-dir DIR"
        ),
        "fp16": "set train.mixed_precision=fp16",
        "bf16": "set train.mixed_precision=bf16",
        "pure_bf16 bf16_full_eval": (
            "llmkit keeps weights in float32; train.mixed_precision=bf16 computes in bfloat16"
        ),
        "load_in_8bit load_in_4bit quantization_bit quantization": (
            "llmkit trains float32 weights; `llmkit quantize RUN` converts a finished run to int8"
        ),
        "wandb_project project project_name": (
            "set trackers=wandb and the environment variable WANDB_PROJECT"
        ),
        "devices num_processes nproc_per_node n_gpu num_gpus": "use --num-processes N",
        "eval_strategy evaluation_strategy": (
            "set evaluation.every; null validates at the end of each epoch"
        ),
        "save_strategy": "set checkpoint.every; null saves after each validation",
        "load_best_model_at_end always_save_checkpoint": (
            "llmkit always keeps the best weights; evaluation.metric chooses them"
        ),
        "train_on_input train_on_inputs train_on_source completion_only_loss mask_prompt": (
            "llmkit never trains on the prompt; pretrain trains on whole texts"
        ),
        "deepspeed fsdp fsdp_config": (
            "llmkit has neither DeepSpeed nor FSDP; use --num-processes N"
        ),
        "flash_attention attn_implementation flash_attn": (
            "llmkit has no such switch; train.forward=padding_free is its fast forward pass"
        ),
        "push_to_hub hub_model_id hub_private_repo hub_strategy": (
            "a run never uploads; run `llmkit push RUN USER/NAME` when it has finished"
        ),
        "trust_remote_code": "llmkit never runs code from a model or a data set",
        "dataloader_num_workers num_workers preprocessing_num_workers": (
            "llmkit tokenizes rows once and caches them; it needs no workers"
        ),
        "adam_epsilon adam_eps eps": "llmkit uses the optimizers' default epsilon",
        "label_smoothing_factor label_smoothing": "llmkit has no label smoothing",
        "neftune_noise_alpha": "llmkit has no NEFTune",
        "do_sample": "set generation.temperature above 0 to sample",
        "group_by_length": (
            "train.forward=padding_free never pads, so rows need no grouping by length"
        ),
    }
)

MODEL_OPTIONS = "run model_name_or_path model_path base_model checkpoint checkpoint_dir m"
RECIPE_OPTIONS = ("config", "config_file", "recipe", "c")

# Options of other toolkits -> llmkit's options, of which a command has one.
OPTIONS = _expand(
    {
        "output_dir out_dir save_dir out output_file output_path o": "--run-dir --output",
        "resume_from_checkpoint continue auto_resume": "--resume",
        "devices nproc_per_node n_gpu num_gpus gpus nproc": "--num-processes",
        "config config_file task tasks c": "--recipe",
        "text question instruction query p": "--prompt",
        "file input_file input_path data prompts i": "--input",
        MODEL_OPTIONS: "--model",
        "max_length max_tokens max_gen_len max_gen_toks": "--max-new-tokens",
        "do_sample temp": "--temperature",
        "t": "--temperature --recipe",
        "n num_samples best_of": "--num-return-sequences",
        "beams beam_size": "--num-beams",
        "stop_strings stop_sequences stop_words until": "--stop",
        "repeat_penalty": "--repetition-penalty",
        "choice guided_choice": "--choices",
        "guided_regex pattern": "--regex",
        "guided_json response_format schema": "--json-schema",
        "silent q": "--quiet",
        "dryrun": "--dry-run",
    }
)


def other_name(key: str) -> str | None:
    """Advice on a key of another toolkit, in any section; None if the key is unknown."""
    name = last_part(key)
    if name in KEYS:
        return f"did you mean {KEYS[name]}?"
    return ADVICE.get(name)


def command_hint(name: str, recipes: Collection[str]) -> str | None:
    """The command to run instead of an unknown one; None if there is no suggestion."""
    meant = [f"finetune {name}"] if name in recipes else []
    meant += [COMMANDS[name.lower()]] if name.lower() in COMMANDS else []
    if not meant:
        return None
    return f"did you mean {' or '.join(f'`llmkit {each}`' for each in meant)}?"


def meant_option(option: str, options: Collection[str]) -> str | None:
    """The command's option that was probably meant by an unknown one; None if there is none."""
    name = last_part(option)
    candidates = [f"--{name}".replace("_", "-"), *OPTIONS.get(name, "").split()]
    return next((candidate for candidate in candidates if candidate in options), None)


def key_option_hint(option: str, keys: Collection[str], command: str) -> str | None:
    """Advice on an unknown option of a command that takes KEY=VALUE; None if there is none."""
    key = option.lstrip("-").replace("-", "_")
    name = last_part(option)
    if name in RECIPE_OPTIONS:
        return f"name the recipe itself: llmkit {command} FILE"
    if command == "evaluate" and name in ("model", *MODEL_OPTIONS.split()):
        return "name the model itself: llmkit evaluate MODEL_OR_RUN"
    if name in ("dry_run", "dryrun", "print_config"):
        return "`llmkit check RECIPE` shows the data, `llmkit recipes RECIPE` the resolved recipe"
    if key not in keys and name in KEYS:
        return f"did you mean {KEYS[name]}=VALUE?"
    if key not in keys and name in ADVICE:
        return ADVICE[name]
    own = [known for known in keys if key == known or last_part(known) == name]
    return f"set a key without dashes: {own[0]}=VALUE" if own else None


def last_part(name: str) -> str:
    """The name without dashes and sections, as in the tables above."""
    return name.lstrip("-").rpartition(".")[2].replace("-", "_").lower()
