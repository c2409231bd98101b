.PHONY: install lint format test cpp-test sanitize bench gpu-check gpu-check-loss gpu-check-training stubs

install:
	pip install -c constraints.txt -e '.[test,bench,docs,dev]'

lint:
	ruff check . && ruff format --check . && mypy && clang-format --dry-run --Werror csrc/*/*.cc csrc/*/*.h

format:
	ruff check --fix . ; ruff format . ; clang-format -i csrc/*/*.cc csrc/*/*.h

test:
	pytest

cpp-test:
	cmake -S . -B build/cpp -G Ninja -DHYBRID_FAST_PYTHON=OFF -DHYBRID_FAST_TESTS=ON && cmake --build build/cpp && ctest --test-dir build/cpp --output-on-failure --parallel $$(nproc)

sanitize:
	.ci/sanitize

bench:
	pytest benchmarks/ --benchmark-only --benchmark-json=benchmarks/results/$$(date -u +%F).json

# Each call takes GPU_LIMIT seconds at most; when made again it measures what had no time. COMMIT
# names the sources where there is no git.
GPU_JSON ?= benchmarks/results/$(shell date -u +%F)-gpu.json
GPU_LIMIT ?= 550
GPU_CHECK = PYTHONPATH=.:$$PYTHONPATH python3 benchmarks/gpu_check.py --resume --limit $(GPU_LIMIT) --out $(GPU_JSON) --commit "$(COMMIT)"

gpu-check:
	$(MAKE) -k gpu-check-loss gpu-check-training

gpu-check-loss:
	$(GPU_CHECK) build tests loss small

gpu-check-training:
	$(GPU_CHECK) build training profile parts tiles

stubs:
	pybind11-stubgen hybrid_fast._core -o .
