# Every target sets up .venv if needed; see README.md and CONTRIBUTING.md.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/installed
RECIPE ?= summarize
PROMPT ?= The castle yard of Seaholm was full. The choir sang, and Mara Linden played the flute. \
  420 coins were in the box. The money from Friday will be spent on new chairs.
MODEL ?= embedded
ARGS ?=
PEERS_BIN := .venv-benchmark/bin
PEERS := .venv-benchmark/installed

.PHONY: help setup finetune generate evaluate check test test-all proof scorecard benchmark lint assets clean

help: ## Show this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

setup: $(INSTALLED) ## Create .venv and install llmkit into it

# torch is installed first and alone, so that the constraint picks its build, not another package.
$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test,lint]'
	@touch $@

finetune: $(INSTALLED) ## Fine-tune: RECIPE=summarize ARGS="train.epochs=1 --scale sample"
	$(BIN)/llmkit finetune $(RECIPE) $(ARGS)

generate: $(INSTALLED) ## Complete PROMPT="..." with the newest run: ARGS="--temperature 0.8"
	@$(BIN)/llmkit generate --prompt "$$PROMPT" $(ARGS)
generate: export PROMPT := $(value PROMPT)

evaluate: $(INSTALLED) ## Score MODEL=embedded (or a folder, or a run) on RECIPE (a run: on its own)
	$(BIN)/llmkit evaluate $(MODEL) $(if $(EVALUATE_RECIPE),--recipe $(RECIPE)) $(ARGS)
# A run is scored with its own recipe unless RECIPE is given.
evaluate: EVALUATE_RECIPE = $(or $(filter embedded,$(MODEL)),$(filter-out file,$(origin RECIPE)))

check: $(INSTALLED) ## Inspect the training data: RECIPE=summarize ARGS="--rows 5"
	$(BIN)/llmkit check $(RECIPE) $(ARGS)

test: $(INSTALLED) ## Run the fast tests, one process per core
	$(PYTEST) $(ARGS)
# One process per core, one thread each.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses auto --dist worksteal

test-all: $(INSTALLED) ## Run all tests, including the slow ones
	$(PYTEST) -m '' $(ARGS)

proof: $(INSTALLED) ## Run the proofs in full and write PROOF.md
	$(PYTEST) -m '' $(PROOFS) --proof PROOF.md $(ARGS)
PROOFS := $(addprefix tests/,$(addsuffix .py,training/test_training_math data/test_duplicates \
  io/test_malformed_data config/test_schema_keys scoring/test_significance generation/test_many_requests \
  test_known_bugs))

scorecard: test $(PEERS) ## Inject faults into runs of llmkit and its peers and write SCORECARD.md
	$(PYTEST) -m '' $(FAULTS) --proof SCORECARD.md $(ARGS)
	$(PEERS_BIN)/python -m benchmarks.faults --append SCORECARD.md
FAULTS := $(addprefix tests/,$(addsuffix .py,test_faults training/test_checkpoint \
  training/test_resume training/test_resume_changes training/test_resume_matrix \
  runtime/test_launch model/test_untrusted test_security_inputs io/test_fuzzing))

benchmark: $(PEERS) ## Time llmkit and its peers: SUMMARIZE=rows.jsonl ARGS="--rounds 3"
	$(PEERS_BIN)/python -m benchmarks.run $(DATA) $(ARGS)
# Rows and GPT-2's tokenizer are not in the repository; the default is the embedded ones.
DATA = $(foreach name,SUMMARIZE TRANSLATE TEXT TOKENIZER,$(DATA_$(name)))
DATA_SUMMARIZE = $(if $(SUMMARIZE),--summarize $(SUMMARIZE))
DATA_TRANSLATE = $(if $(TRANSLATE),--translate $(TRANSLATE))
DATA_TEXT = $(if $(TEXT),--text $(TEXT))
DATA_TOKENIZER = $(if $(TOKENIZER),--tokenizer $(TOKENIZER))

# The peers have a separate environment that includes llmkit, so all run on the same libraries.
$(PEERS): pyproject.toml constraints.txt benchmarks/requirements.txt
	$(PYTHON) -m venv .venv-benchmark
	$(PEERS_BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(PEERS_BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt \
	  -r benchmarks/requirements.txt -e .
	@touch $@

lint: $(INSTALLED) ## Check style and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

assets: $(INSTALLED) ## Rebuild the embedded rows and model and print what differs
	$(BIN)/python scripts/make_assets.py

clean: ## Remove .venv, caches and builds, but not runs/
	rm -rf .venv .venv-benchmark build dist .pytest_cache .ruff_cache .hypothesis
