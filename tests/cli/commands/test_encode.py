"""The command encode: what it writes, how it goes on, and what it refuses."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from ranks import run_ranks

from hybrid_fast.cli import main
from hybrid_fast.models import BiEncoder
from hybrid_fast.retrieval import EncodedCorpus

COMMAND = "encode m c.jsonl --out o --lang de --shard-rows 10"


@pytest.fixture
def corpus(project, model) -> list[str]:
    """Write 25 texts to c.jsonl; return them."""
    texts = [f"answer {n}" for n in range(25)]
    write(project / "c.jsonl", texts)
    return texts


def write(path: Path, texts: list[str]) -> None:
    rows = [{"_id": f"d{n}", "text": text} for n, text in enumerate(texts)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_encode_writes_a_folder_of_vectors(corpus, project, capsys):
    main([*COMMAND.split(), "--store-texts", "--vector-dtype", "float16", "--batch-size", "4"])
    captured = capsys.readouterr()
    assert captured.out == "vectors: o, 25 of 8 dimensions in 3 shards\n"
    loaded, done = captured.err.splitlines()
    assert loaded.startswith("hybrid-fast: Loaded m: ")
    assert done.startswith(f"hybrid-fast: Encoded 25 texts to {project / 'o'} (")
    encoded = EncodedCorpus("o")
    assert [text for shard in encoded for text in shard.texts] == corpus
    expected = BiEncoder.from_pretrained("m").encode_passages(corpus).astype(np.float16)
    assert np.array_equal(np.concatenate([shard.vectors for shard in encoded]), expected)
    assert encoded.manifest.corpus == "c"
    main([*COMMAND.split(), "--store-texts", "--vector-dtype", "float16", "--batch-size", "4"])
    captured = capsys.readouterr()
    assert captured.out == "vectors: o, 25 of 8 dimensions in 3 shards\n"
    assert captured.err.splitlines()[1:] == [
        f"hybrid-fast: {project / 'o'} is whole: nothing is left to encode."
    ]


def test_fields_by_other_names(corpus, project):
    rows = [{"nr": n, "body": text, "l": "fr"} for n, text in enumerate(corpus)]
    Path("c.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    main("encode m c.jsonl --out o --columns id=nr,text=body,language=l".split())
    assert EncodedCorpus("o").manifest.languages == {"fr": 25}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("encode m none.jsonl --out o", "no such file or folder: none.jsonl"),
        ("encode none c.jsonl --out o", "none"),
        ("encode m c.jsonl --out c.jsonl", "c.jsonl is a file"),
        ("encode m c.jsonl --out task --lang de", "holds de.json and no encoding that was begun"),
        ("encode m c.jsonl --out o", "c.jsonl:1: the language is unknown; give lang='en'"),
        ("encode m c.jsonl --out o --lang de --vector-dtype int8", "must be one of 'float32'"),
        ("encode m c.jsonl --out o --lang de --columns id", "as OURS=THEIRS, with commas"),
        ("encode m c.jsonl --out o --lang de --shard-rows 0", "Invalid value for '--shard-rows'"),
        ("encode m c.jsonl --out o --lang de --split test", "split= are for data sets"),
        ("encode m c.jsonl", "Missing option '--out'"),
    ],
    ids=range(10),
)
def test_what_is_refused(corpus, project, fails, arguments, message):
    assert message in fails(*arguments.split())
    assert not (project / "o").exists()


def test_a_corpus_that_changed(corpus, project, fails, capsys):
    main(COMMAND.split())
    capsys.readouterr()
    before = content(project / "o")
    write(project / "c.jsonl", [*corpus[:4], "another", *corpus[5:]])
    assert "some of the texts 0 to 9 has changed" in fails(*COMMAND.split())
    assert "vector_dtype was 'float32' and is now 'float16'" in fails(
        *COMMAND.split(), "--vector-dtype", "float16"
    )
    assert content(project / "o") == before


def test_ctrl_c_leaves_what_can_be_gone_on_with(corpus, project, monkeypatch, capsys):
    main([*COMMAND.split()[:4], "whole", *COMMAND.split()[5:]])
    encode, calls = BiEncoder.encode_passages, []

    def interrupted(model, texts, **options):
        calls.append(texts)
        if len(calls) > 2:
            raise KeyboardInterrupt
        return encode(model, texts, **options)

    with monkeypatch.context() as patched:
        patched.setattr(BiEncoder, "encode_passages", interrupted)
        with pytest.raises(SystemExit) as ended:
            main(COMMAND.split())
    assert ended.value.code == 130
    assert "keeps the shards that are finished; start again to go on" in capsys.readouterr().err
    assert {path.name for path in (project / "o").iterdir()} == {
        *("unfinished.json", "shard-00000.parquet", "shard-00000.json")
    }
    main(COMMAND.split())
    assert content(project / "o") == content(project / "whole")


def run_command(rank: int, world_size: int, *arguments: str) -> list[str]:
    """Return what a command writes to stdout and stderr."""
    with redirect_stdout(StringIO()) as out, redirect_stderr(StringIO()) as err:
        main(arguments)
    return [out.getvalue(), err.getvalue()]


def test_processes_of_a_launcher_share_it(corpus, project):
    main([*COMMAND.split()[:4], "whole", *COMMAND.split()[5:]])
    arguments = [str(project / each) if each in ("m", "c.jsonl", "o") else each for each in
                 COMMAND.split()]  # fmt: skip
    (out, err), (other_out, other_err) = run_ranks(run_command, 2, *arguments)
    assert "25 of 8 dimensions in 3 shards" in out
    assert "Encoded 25 texts" in err
    assert other_out == other_err == ""
    found, expected = content(project / "o"), content(project / "whole")
    assert found.pop("manifest.json") != expected.pop("manifest.json")  # the path of the model
    assert found == expected


def limit_files() -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8000, 8000))


@pytest.mark.slow
def test_a_disk_that_takes_no_more(corpus, project):
    """A file may not be larger than 8000 bytes, so the shard of all texts cannot be written."""
    command = COMMAND.replace("--shard-rows 10", "").replace("--lang de", "--lang de --store-texts")
    write(project / "c.jsonl", [f"answer {n}" for n in range(2000)])
    program = [sys.executable, "-c", "from hybrid_fast.cli import main; main()"]
    ended = subprocess.run(
        [*program, *command.split()], capture_output=True, preexec_fn=limit_files, check=False
    )
    assert ended.returncode == 2
    _, error = ended.stderr.decode().splitlines()  # after what loading says
    assert "shard-00000.parquet could not be written: the file system, or ulimit -f" in error
    assert not (project / "o").exists()
    main(command.split())
    assert len(EncodedCorpus("o")) == 2000


@pytest.fixture
def small_disk(tmp_path):
    """A folder on a disk of 400 kB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(folder)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no small disk can be mounted here, as root may elsewhere: {error}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_full_disk(corpus, project, fails, small_disk, capsys):
    write(project / "c.jsonl", [f"answer {n}" for n in range(3000)])
    command = COMMAND.replace("--shard-rows 10", "--shard-rows 500").split()
    main([*command[:4], "whole", *command[5:]])
    capsys.readouterr()
    (small_disk / "other").write_bytes(bytes(300_000))
    command[4] = str(small_disk / "o")
    message = fails(*command)
    assert "could not be written: the disk is full" in message
    assert "make room" in message
    left = {path.suffix for path in (small_disk / "o").iterdir()}
    assert left == {".json", ".parquet"}
    assert not (small_disk / "o" / "manifest.json").exists()
    os.remove(small_disk / "other")
    main(command)
    assert content(small_disk / "o") == content(project / "whole")
