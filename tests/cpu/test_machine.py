"""What is known of the processor."""

from hybrid_fast.cpu import processor

EPYC = """processor\t: 0
vendor_id\t: AuthenticAMD
cpu family\t: 26
model\t\t: 2
model name\t: AMD EPYC
flags\t\t: fpu avx2 avx512f avx512_bf16

processor\t: 1
model name\t: another
"""
NEOVERSE = """processor\t: 0
BogoMIPS\t: 2100.00
Features\t: fp asimd fphp asimdhp i8mm bf16
CPU implementer\t: 0x41
"""


def test_kind_of_a_processor(tmp_path):
    file = tmp_path / "cpuinfo"
    file.write_text(EPYC)
    found = processor(file)
    assert (found["name"], found["family"], found["model"]) == ("AMD EPYC", "26", "2")
    assert found["instruction_sets"] == ["avx2", "avx512f", "avx512_bf16"]


def test_systems_that_do_not_tell_where_a_process_may_run(monkeypatch, tmp_path):
    monkeypatch.delattr("os.sched_getaffinity")
    monkeypatch.setattr("os.cpu_count", lambda: 7)
    assert processor(tmp_path / "none")["cores"] == 7


def test_instruction_sets_of_arm(tmp_path):
    file = tmp_path / "cpuinfo"
    file.write_text(NEOVERSE)
    assert processor(file)["instruction_sets"] == ["asimd", "asimdhp", "bf16"]


def test_without_cpuinfo_the_architecture_is_known(tmp_path):
    found = processor(tmp_path / "missing")
    assert found["name"]
    assert found["vendor"] == "unknown vendor"
    assert found["instruction_sets"] == []
    assert found["cores"] >= 1
