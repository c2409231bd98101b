.PHONY: install lint format test cpp-test sanitize bench gpu-check stubs

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

gpu-check:
	PYTHONPATH=. python benchmarks/gpu_check.py

stubs:
	pybind11-stubgen hybrid_fast._core -o .
