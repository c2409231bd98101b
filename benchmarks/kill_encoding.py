"""Whether encoding that is killed ends with the same files, bit by bit, as encoding that is not.

    python benchmarks/kill_encoding.py MODEL CORPUS [--lang LANG] [--texts N] [--shard-rows N]
                                       [--points N] [--ranks N] [--seed N] [--out FILE.json]

Each point starts anew, kills all processes (SIGKILL) at a random moment between their start and
their end, and goes on to the end. Exit status 1 if any file differs. Nothing else need be idle:
unless HYBRID_FAST_WAYS asks for others, all compute by the ways of the core, since folders that are
begun on a busy machine choose different ones, whose bytes differ.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import os
import random
import shutil
import socket
import tempfile
import time
from dataclasses import asdict, dataclass
from itertools import islice
from multiprocessing.process import BaseProcess
from pathlib import Path

import machine
import torch
import torch.distributed as dist

from hybrid_fast import encode_corpus
from hybrid_fast.cpu.ways import VARIABLE
from hybrid_fast.data.formats.corpus import open_corpus
from hybrid_fast.models.evaluable import load_evaluable


@dataclass(frozen=True)
class Work:
    """What is encoded; see `main`."""

    model: str
    corpus: str
    lang: str | None
    texts: int
    shard_rows: int
    ranks: int


def encode(rank: int, port: int, folder: Path, work: Work) -> None:
    """Encode, as one rank of several if there are any."""
    torch.set_num_threads(1)
    group = None
    if work.ranks > 1:
        os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
        dist.init_process_group("gloo", rank=rank, world_size=work.ranks)
        group = dist.group.WORLD
    texts = list(islice(open_corpus(work.corpus, lang=work.lang), work.texts))
    model = load_evaluable(work.model)
    encode_corpus(model, texts, folder, shard_rows=work.shard_rows, process_group=group)


def start(folder: Path, work: Work) -> list[BaseProcess]:
    """Start all ranks."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["hybrid_fast.training"])
    ranks = [
        context.Process(target=encode, args=(rank, port, folder, work))
        for rank in range(work.ranks)
    ]
    for process in ranks:
        process.start()
    return ranks


def finish(folder: Path, work: Work) -> float:
    """Encode to the end; return the seconds it took."""
    begin = time.monotonic()
    for process in start(folder, work):
        process.join()
        if process.exitcode:
            raise SystemExit(f"a process ended with status {process.exitcode}")
    return time.monotonic() - begin


def content(folder: Path) -> dict[str, str]:
    """Return the checksums of all files, hidden ones too."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def kill_at(seconds: float, folder: Path, work: Work) -> tuple[int, bool]:
    """Kill after some seconds; return how many shards were finished, and whether all was."""
    ranks = start(folder, work)
    time.sleep(seconds)
    for process in ranks:
        process.kill()
        process.join()
    return len(list(folder.glob("shard-*.parquet"))), (folder / "manifest.json").exists()


def measure(work: Work, num_points: int, seed: int) -> dict[str, object]:
    """Return what came of each point."""
    draw, points = random.Random(seed), []
    with tempfile.TemporaryDirectory() as temporary:
        start_folder, folder = Path(temporary, "whole"), Path(temporary, "killed")
        finish(folder, work)  # which also starts the server of processes
        shutil.rmtree(folder)
        duration = finish(start_folder, work)
        whole = content(start_folder)
        for number in range(num_points):
            seconds = draw.uniform(0, duration)
            num_shards, is_whole = kill_at(seconds, folder, work)
            finish(folder, work)
            points.append(
                {
                    "seconds": round(seconds, 2),
                    "shards": num_shards,
                    "was_whole": is_whole,
                    "same": content(folder) == whole,
                }
            )
            print(number, *points[-1].items(), flush=True)
            shutil.rmtree(folder)
    return {"seconds": round(duration, 1), "files": len(whole), "points": points}


def main() -> None:
    """Read the arguments, measure, and say what came of it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("corpus")
    parser.add_argument("--lang")
    for name, default in (("texts", 400), ("shard-rows", 16), ("ranks", 1)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--points", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    given = vars(parser.parse_args())
    num_points, seed, out = (given.pop(name) for name in ("points", "seed", "out"))
    work = Work(**given)
    os.environ.setdefault(VARIABLE, "core")  # before the server of processes starts
    found = {"work": asdict(work), **measure(work, num_points, seed)}
    points = found["points"]
    assert isinstance(points, list)
    num_same = sum(point["same"] for point in points)
    print(f"{num_same} of {len(points)} points end with the same files")
    if out is not None:
        about = {"date": machine.today(), "commit": machine.commit(), "on": machine.describe()}
        out.write_text(json.dumps({**about, **found}, indent=2) + "\n", encoding="utf-8")
    raise SystemExit(num_same < len(points))


if __name__ == "__main__":
    main()
