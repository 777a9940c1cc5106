# Each target sets up .venv by itself on a machine with Python 3.10+ and make. PYTHON=... chooses another interpreter,
# DEMO=... another folder for the demo.
PYTHON ?= python3
DEMO ?= demo
VENV := .venv
RUN := $(VENV)/bin/python

.PHONY: demo test test-all lint clean

demo: $(VENV)/.installed
	@test ! -e $(DEMO) || { echo "$(DEMO) exists: remove it first, or choose another folder: make demo DEMO=folder"; exit 2; }
	$(RUN) -m minicity.synthesize --output $(DEMO)/minicity --size 128 256 --num_train 120 --num_val 16 --num_test 4
	$(RUN) baseline.py --dataset_path $(DEMO)/minicity --save_path $(DEMO)/run --model UNet --train_size 96 192 \
	    --crop_size 64 128 --test_size 96 192 --batch_size 8 --epochs 18 --lr_init 0.05 --warmup_epochs 1 \
	    --colorjitter_factor 0.1 --mst --seed 1
	$(RUN) evaluate.py --results $(DEMO)/run/results_val
	$(RUN) -m tools.gallery $(DEMO)/run
	@echo
	@echo "Look at:"
	@echo "  $(DEMO)/run/gallery_val.html           its mistakes, worst images first: open it in a browser"
	@echo "  $(DEMO)/run/learning_curve.png         loss, accuracy and mIoU over the epochs"
	@echo "  $(DEMO)/run/images/train_batch.png     what the network really saw"
	@echo "  $(DEMO)/run/results_color_val/         inputs and predictions in colour"

# The tests run several processes at a time: threads that wait give their core away. Alone, a training is faster without.
test test-all: export OMP_WAIT_POLICY = passive
test test-all: export OMP_NUM_THREADS = 1
# Two processes of one thread each; --dist loadfile keeps the fixtures of a file in one process.
test: $(VENV)/.installed-dev
	$(RUN) -m pytest -n 2 --dist loadfile -m "not slow"

test-all: $(VENV)/.installed-dev
	$(RUN) -m pytest -n 2 --dist loadfile

lint: $(VENV)/.installed-dev
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/pyrefly check

clean:
	rm -rf $(VENV) .pytest_cache .ruff_cache

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit("Python 3.10 or newer is needed, this is " + sys.version.split()[0] if sys.version_info < (3, 10) else 0)'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: requirements.txt | $(VENV)/bin/python
	@echo "installing the requirements into $(VENV): torch alone is some gigabytes, this takes minutes"
	$(RUN) -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

$(VENV)/.installed-dev: requirements-dev.txt $(VENV)/.installed
	$(RUN) -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@
