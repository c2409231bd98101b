"""Python in processes of their own."""

from __future__ import annotations

import time

from gpu import processes


def test_a_process_that_outlasts_its_time_ends_with_what_it_began():
    script = "import subprocess, sys; print('begun', flush=True); subprocess.run(['sleep', '60'])"
    begin = time.monotonic()
    returncode, said = processes.run(["-c", script], 1.5)
    assert time.monotonic() - begin < 20
    assert returncode is None
    assert said.startswith("begun")
    assert "stopped after" in said


def test_processes_find_the_library_and_what_they_are_told():
    script = "import gpu, hybrid_fast, os; print(os.environ['SAID'])"
    assert processes.run(["-c", script], 60, {"SAID": "so"}) == (0, "so\n")
