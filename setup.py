"""Build the C++ extension `hybrid_fast._core` with CMake; everything else is in pyproject.toml."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext


class CMakeBuild(build_ext):
    """Run CMake in a fresh directory.

    A build directory kept from an earlier install names the ninja and pybind11 of that install's
    isolated environment, which no longer exists.
    """

    def build_extension(self, extension):
        import pybind11

        target = Path(self.get_ext_fullpath(extension.name)).resolve().parent
        configure = [
            "cmake",
            "-S",
            str(Path(__file__).resolve().parent),
            "-G",
            "Ninja",
            "-DCMAKE_BUILD_TYPE=Release",
            f"-DHYBRID_FAST_OUTPUT_DIRECTORY={target}",
            f"-DPython_EXECUTABLE={sys.executable}",
            f"-Dpybind11_DIR={pybind11.get_cmake_dir()}",
            *os.environ.get("CMAKE_ARGS", "").split(),
        ]
        with tempfile.TemporaryDirectory(prefix="hybrid_fast_build_") as build:
            try:
                subprocess.run([*configure, "-B", build], check=True)
                subprocess.run(["cmake", "--build", build], check=True)
            except subprocess.CalledProcessError:
                sys.exit(
                    "hybrid_fast: the C++ extension could not be built; a C++20 compiler "
                    "(g++ >= 11 or clang++ >= 14) is needed: install one or name it in CXX. "
                    "CMake's own message stands above."
                )


setup(ext_modules=[Extension("hybrid_fast._core", sources=[])], cmdclass={"build_ext": CMakeBuild})
