"""Extraction under fire: the features of many real images, once undisturbed and once killed again and again; both stores
must be the same bytes.

    python3 trainer/references/kill_extraction.py target/release/thorax-train FOLDER --images 2000 --kills 10

FOLDER is a collection that `thorax-train data import` reads. Its CT slices are taken, those with masks too (as pictures to
classify: what they are labelled does not matter here). The program is killed with SIGKILL when a drawn number of rows is
done. Needs only Python's standard library, and room for both stores, which stay in --work where it is given.
"""

import argparse
import csv
import json
import pathlib
import random
import signal
import struct
import subprocess
import tempfile
import time
import zlib

arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
arguments.add_argument("program", type=lambda name: pathlib.Path(name).resolve())
arguments.add_argument("folder", type=pathlib.Path)
arguments.add_argument("--images", type=int, default=2000)
arguments.add_argument("--kills", type=int, default=10)
arguments.add_argument("--backbone", default="resnet50")
arguments.add_argument("--weights", default="random:1")
arguments.add_argument("--work", type=pathlib.Path, default=None, help="a new folder for the stores [default: a temporary one]")
arguments.add_argument("--seed", type=int, default=1)
arguments.add_argument("--options", nargs=argparse.REMAINDER, default=[], help="further options of `features`, last")
arguments = arguments.parse_args()


def manifest_of(folder):
    """A manifest with the first CT slices of the collection, all of them for classification."""
    path = folder / "manifest.csv"
    imported = [arguments.program, "data", "import", arguments.folder, "--out", path]
    subprocess.run(imported, check=True, stdout=subprocess.DEVNULL)
    head, text = path.read_text().split("\n", 1)
    assert head.startswith("# root: "), head
    table = csv.DictReader(text.splitlines())
    rows = {}
    for row in table:
        if row["modality"] == "ct" and row["task"] in ("classify", "segment"):
            label = row["label"] if row["label"] != "unlabelled" else "positive"
            row.update(task="classify", label=label, mask="", lung_mask="")
            rows.setdefault(row["path"], row)
    rows = list(rows.values())[: arguments.images]
    assert len(rows) == arguments.images, f"only {len(rows)} CT slices"
    with path.open("w") as file:
        file.write(head + "\n")
        writer = csv.DictWriter(file, table.fieldnames, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return path


def command(manifest, store):
    words = ["features", "--manifest", manifest, "--modality", "ct", "--out", store]
    return [arguments.program, *words, "--backbone", arguments.backbone, "--weights", arguments.weights, *arguments.options]


def header(store):
    """Where the data begin, and what the header says."""
    with store.open("rb") as file:
        length = struct.unpack("<Q", file.read(8))[0]
        return 8 + length, json.loads(file.read(length)) if length else None


def rows_done(partial):
    """Rows whose state is set; 0 while there is no header yet."""
    try:
        start, words = header(partial)
        if words is None:
            return 0
        begin, end = words["state"]["data_offsets"]
        with partial.open("rb") as file:
            file.seek(start + begin)
            return sum(state != 0 for (state,) in struct.iter_unpack("<I", file.read(end - begin)))
    except (FileNotFoundError, struct.error):
        return 0


def most_memory(process):
    """The most resident memory that a running process has had, in MiB."""
    try:
        status = pathlib.Path(f"/proc/{process.pid}/status").read_text()
        return max((int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmHWM:")), default=0)
    except (FileNotFoundError, ProcessLookupError):
        return 0


def same(a, b):
    with a.open("rb") as a, b.open("rb") as b:
        while True:
            left, right = a.read(1 << 22), b.read(1 << 22)
            if left != right:
                return False
            if not left:
                return True


with tempfile.TemporaryDirectory() as temporary:
    folder = arguments.work or pathlib.Path(temporary)
    folder.mkdir(exist_ok=True)
    manifest = manifest_of(folder)
    whole, killed = folder / "whole.features", folder / "killed.features"

    started, memory = time.monotonic(), 0
    with subprocess.Popen(command(manifest, whole), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while process.poll() is None:
            memory = max(memory, most_memory(process))
            time.sleep(0.02)
    assert process.returncode == 0, f"the undisturbed run ended with {process.returncode}"
    seconds = time.monotonic() - started
    start, words = header(whole)
    shape, (begin, end) = words["features"]["shape"], words["features"]["data_offsets"]
    assert shape[0] == arguments.images
    assert whole.stat().st_size == start + end
    print(f"undisturbed: {shape} {words['features']['dtype']}, {whole.stat().st_size} bytes ({start + begin} before the "
          f"features), {seconds:.0f} s, {arguments.images / seconds:.1f} images/s, at most {memory:.0f} MiB resident", flush=True)
    with whole.open("rb") as file:
        file.seek(start)
        checksums = struct.unpack(f"<{shape[0]}I", file.read(4 * shape[0]))
        file.seek(start + begin)
        size = (end - begin) // shape[0]
        assert all(zlib.crc32(file.read(size)) == checksum for checksum in checksums), "a checksum is wrong"

    draw = random.Random(arguments.seed)
    partial = killed.with_name(killed.name + ".partial")
    targets = sorted(draw.randrange(arguments.images * 19 // 20) for _ in range(arguments.kills))
    for target in targets:
        process = subprocess.Popen(command(manifest, killed), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while rows_done(partial) < target:
            assert process.poll() is None, f"the program ended by itself with {process.returncode}"
            time.sleep(0.005)
        time.sleep(draw.uniform(0, 0.3))
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL, "the program had ended before it was killed"
        print(f"killed after {rows_done(partial)} of {arguments.images} rows", flush=True)
    subprocess.run(command(manifest, killed), check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    assert not partial.exists()
    assert same(whole, killed), "the stores differ"
    print(f"killed {arguments.kills} times and gone on: the same bytes")
