#!/usr/bin/env python3
"""Boots an image of packaging/image.sh as a virtual machine (QEMU), sends it films from outside, looks at its monitor, and cuts its power.

    packaging/boot.py IMAGE --program thorax-edge [--board uefi-arm64] [--cuts 20] [--out FOLDER] [--seed 0]

IMAGE is of the board, and is not changed: a copy runs, on a disk one GiB larger, with a profile that lets anybody send as CART. The machine is always
QEMU's `virt`, with a monitor and a keyboard: firmware (UEFI) starts the image; of a Raspberry Pi's image, which has none for it, QEMU takes kernel, initial file
system and command line from the first partition, as the board's boot loader does, and the profile's panel and contacts make way for monitor and keyboard. After
the first film, which is an X-ray, films and CT slices take turns.
--program is the device's program for this machine: it makes the films, and reads the journal of the copy after each power cut. FOLDER gets pictures of
the monitor (PNG) and what the serial console said.

It fails unless: the box answers C-ECHO; its data takes the whole disk; a film's result stands on the monitor; a key of the keyboard changes the picture;
after every power cut the box starts again, every film that it had acknowledged (also before earlier cuts) is in the journal, and `journal verify`
finds each record and file whole.

Wants, of Debian: qemu-system-arm qemu-efi-aarch64 qemu-utils dcmtk e2fsprogs fdisk mtools. No root, no network. An emulated processor is some twenty times slower than
a real one: a cut takes about as long as the box needs to start.
"""

import argparse
import contextlib
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from power_cut import Disk

os.environ["PATH"] += ":/usr/sbin:/sbin"
FIRMWARE = "/usr/share/qemu-efi-aarch64/QEMU_EFI.fd"
KEYBOARD = "QEMU Virtio Keyboard"
# Far more than it takes, but not where others have the processors: 90 s of one go into a start, under emulation.
MOST_SECONDS_TO_START = 900
PACKAGES = {
    "qemu-system-aarch64": "qemu-system-arm",
    "qemu-img": "qemu-utils",
    "storescu": "dcmtk",
    "debugfs": "e2fsprogs",
    "sfdisk": "fdisk",
    "mcopy": "mtools",
    FIRMWARE: "qemu-efi-aarch64",
}


class Failure(Exception):
    """What is told, without a trace."""


def say(text):
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


def run(*command, **options):
    """Runs a program that has to succeed; gives its output."""
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False, **options)
    if done.returncode != 0:
        raise Failure(f"{command[0]} gave {done.returncode}: {done.stderr.strip()[-600:]}{done.stdout.strip()[-600:]}")
    return done.stdout


def place(disk, name):
    """Offset and size of a partition, in bytes."""
    table = json.loads(run("sfdisk", "--json", disk))["partitiontable"]
    (part,) = (part for part in table["partitions"] if part.get("name") == name)
    return part["start"] * 512, part["size"] * 512


def starter(image, folder):
    """QEMU's arguments for what starts the image."""
    fat = f"{image}@@{place(image, 'thorax-boot')[0]}"
    if subprocess.run(["mtype", "-i", fat, "::config.txt"], capture_output=True, check=False).returncode != 0:
        return ["-bios", FIRMWARE]
    config = run("mtype", "-i", fat, "::config.txt")
    kernel, initial = Path(folder) / "vmlinuz", Path(folder) / "initrd"
    for pattern, file in ((r"^kernel=(\S+)", kernel), (r"^initramfs (\S+)", initial)):
        run("mcopy", "-n", "-o", "-i", fat, f"::{re.search(pattern, config, re.MULTILINE).group(1)}", file)
    return ["-kernel", str(kernel), "-initrd", str(initial), "-append", run("mtype", "-i", fat, "::cmdline.txt").strip()]


class DataPartition:
    """The third partition of a disk, by e2fsprogs: no root is needed, and nothing is mounted."""

    def __init__(self, disk):
        self.disk = disk

    def place(self):
        """Offset and size in bytes."""
        return place(self.disk, "thorax-data")

    def taken_out(self, folder):
        """Copies the partition to a file in `folder`, and puts its file system right, as at a start. Gives the file, and e2fsck's exit code."""
        offset, size = self.place()
        part = Path(folder) / "data.ext4"
        part.unlink(missing_ok=True)
        run("dd", f"if={self.disk}", f"of={part}", "bs=1M", f"skip={offset >> 20}", f"count={size}", "iflag=count_bytes", "conv=sparse", "status=none")
        # Its end may be a hole.
        os.truncate(part, size)
        checked = subprocess.run(["e2fsck", "-fy", part], capture_output=True, text=True, check=False)
        # 0: nothing, 1: it was put right.
        if checked.returncode > 1:
            raise Failure(f"e2fsck gave {checked.returncode}: {checked.stdout[-600:]}{checked.stderr[-600:]}")
        return part, checked.returncode

    def write(self, text, path, folder):
        """Puts a file in the place of another, while the machine is off."""
        part, _ = self.taken_out(folder)
        with tempfile.NamedTemporaryFile("w") as file:
            file.write(text)
            file.flush()
            for command in (f"rm {path}", f"write {file.name} {path}", f"set_inode_field {path} mode 0100644"):
                done = subprocess.run(["debugfs", "-w", "-R", command, part], capture_output=True, text=True, check=False)
                if done.returncode != 0 or "not found" in done.stderr:
                    raise Failure(f"debugfs {command}: {done.stderr}")
        # What is empty in the file is not written, and has to be empty on the disk.
        offset, size = self.place()
        run("fallocate", "--punch-hole", "--offset", offset, "--length", size, self.disk)
        run("dd", f"if={part}", f"of={self.disk}", "bs=1M", f"seek={offset >> 20}", "conv=sparse,notrunc", "status=none")
        part.unlink()

    def copy(self, folder):
        """Copies the folder of data, as it is after the file system was put right. Gives e2fsck's exit code."""
        part, repaired = self.taken_out(folder)
        out = Path(folder) / "thorax"
        shutil.rmtree(out, ignore_errors=True)
        run("debugfs", "-R", f"rdump /thorax {folder}", part)
        if not (out / "journal" / "journal.redb").exists():
            raise Failure("there is no journal on the data partition")
        part.unlink()
        return repaired


class Machine:
    """A virtual machine that runs, with its monitor's socket (QMP)."""

    def __init__(self, disk, starter, folder, port, memory, processors):
        self.folder, self.port = Path(folder), port
        self.console = self.folder / "console.log"
        socket_path = self.folder / "qmp.sock"
        socket_path.unlink(missing_ok=True)
        self.started = time.monotonic()
        self.process = subprocess.Popen(
            [
                *("qemu-system-aarch64", "-M", "virt", "-cpu", "cortex-a76", "-smp", str(processors), "-m", str(memory), "-nodefaults"),
                *(*starter, *disk.arguments()),
                *("-device", "virtio-gpu-pci", "-device", "virtio-keyboard-pci", "-display", "none"),
                # Nobody outside is reached from in there, and it is reached at this port of the loopback alone.
                *("-netdev", f"user,id=net0,restrict=on,hostfwd=tcp:127.0.0.1:{port}-:11112", "-device", "virtio-net-pci,netdev=net0,romfile="),
                *("-chardev", f"file,id=console,path={self.console},append=on", "-serial", "chardev:console"),
                *("-qmp", f"unix:{socket_path},server=on,wait=off", "-device", "virtio-rng-pci"),
            ],
            stdout=subprocess.DEVNULL,
            stderr=open(self.folder / "qemu.log", "a"),
        )
        for _ in range(100):
            self.alive()
            self.qmp = socket.socket(socket.AF_UNIX)
            with contextlib.suppress(OSError):
                self.qmp.connect(str(socket_path))
                break
            time.sleep(0.1)
        self.answers = self.qmp.makefile("r")
        self.ask("qmp_capabilities")

    def alive(self):
        if self.process.poll() is not None:
            raise Failure(f"QEMU ended: {(self.folder / 'qemu.log').read_text()[-600:]}")

    def ask(self, command, **arguments):
        with contextlib.suppress(OSError):
            self.qmp.sendall((json.dumps({"execute": command, "arguments": arguments}) + "\n").encode())
            # Between the answers QEMU greets, and tells of events.
            for line in self.answers:
                answer = json.loads(line)
                if "error" in answer:
                    raise Failure(f"{command}: {answer['error']['desc']}")
                if "return" in answer:
                    return answer["return"]
        self.process.wait(timeout=10)
        self.alive()

    def picture(self, name):
        """The monitor's picture: a PNG of this name, and the pixels (columns, rows, RGB)."""
        self.ask("screendump", filename=str(self.folder / f"{name}.png"), format="png")
        raw = self.folder / "picture.ppm"
        self.ask("screendump", filename=str(raw), format="ppm")
        head, size, most, pixels = raw.read_bytes().split(b"\n", 3)
        if head != b"P6" or most != b"255":
            raise Failure("a screendump that is no PPM of 8 bits")
        columns, rows = map(int, size.split())
        return columns, rows, pixels

    def press(self, key):
        self.ask("send-key", keys=[{"type": "qcode", "data": key}], **{"hold-time": 120})

    def wait_until_ready(self):
        """Until it answers C-ECHO. Gives the seconds since it was switched on."""
        while time.monotonic() - self.started < MOST_SECONDS_TO_START:
            self.alive()
            # Before the box listens, QEMU takes the call and hangs up.
            echo = ["echoscu", "-to", "5", "-ta", "20", "-td", "20", "-aet", "CART", "-aec", "THORAX", "127.0.0.1", str(self.port)]
            if subprocess.run(echo, capture_output=True, check=False).returncode == 0:
                return time.monotonic() - self.started
            time.sleep(1)
        raise Failure(f"no answer to C-ECHO within {MOST_SECONDS_TO_START} s; the console's end:\n{self.console.read_text(errors='replace')[-2000:]}")

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.qmp.close()


def changed(one, other):
    """The share of pixels that are different."""
    if one[:2] != other[:2]:
        return 1.0
    one, other = one[2], other[2]
    return sum(one[at : at + 3] != other[at : at + 3] for at in range(0, len(one), 3)) / (len(one) / 3)


class Films:
    """Phantoms as DICOM files, each of its own SOP Instance UID; more are made when they are used up."""

    def __init__(self, program, folder, seed):
        self.program, self.folder, self.seed, self.waiting, self.modality = program, Path(folder), seed, [], "xray"
        self.lock = threading.Lock()

    def make(self, least):
        """Makes films until so many wait."""
        while len(self.waiting) < least:
            folder = self.folder / f"films-{self.seed}"
            command = ("phantom", folder, "--count", 20, "--modality", self.modality, "--size", 512, "--formats", "dicom", "--seed", self.seed)
            run(self.program, *command)
            self.seed += 1
            # The second file of a phantom is the same film, negated, in a series of its own; one of them will do. CT slices and films take turns.
            paths = (path for path in folder.glob("*.dcm") if "monochrome1" not in path.name)
            self.waiting += sorted(paths, key=lambda path: path.name.split("_")[2])

    def next(self):
        with self.lock:
            self.make(1)
            film = self.waiting.pop(0)
        uid = re.search(r"\[([0-9.]+)\]", run("dcmdump", "+P", "SOPInstanceUID", film)).group(1)
        return film, uid


def send(film, port):
    """Whether the box has acknowledged the film."""
    command = ["storescu", "-v", "-to", "10", "-ta", "60", "-td", "60", "-aet", "CART", "-aec", "THORAX", "127.0.0.1", str(port), str(film)]
    said = subprocess.run(command, capture_output=True, text=True, check=False)
    return "Received Store Response (Success)" in said.stdout + said.stderr


def site_profile(text):
    """A board's profile, for this machine: anybody may send as CART, there are a monitor and a keyboard, and films are read at once."""
    text, panels = re.subn(r"^\[panel\.spi\]\n([^[#\n].*\n)+", "[panel.drm]\ndrawn = [800, 480]\n", text, flags=re.MULTILINE)
    if panels:
        text = re.sub(r"^\[buttons\]\n([^[#\n].*\n)+", "", text, flags=re.MULTILINE)
    swaps = [
        ('address = "127.0.0.1:11112"', 'address = "0.0.0.0:11112"\nclose_at_release = true'),
        ('addresses = ["127.0.0.1", "::1"]\n', ""),
        ("[executor]", f'[buttons]\nkeyboard = "{KEYBOARD}"\n\n[executor]'),
        ("[journal]", "[journal]\nquiet_seconds = 2"),
    ]
    for one, other in swaps:
        if text.count(one) != 1:
            raise Failure(f"the board's profile has `{one}` {text.count(one)} times, and not once: correct packaging/boot.py")
        text = text.replace(one, other)
    return text


class Trial:
    """All that is done to one copy of an image."""

    def __init__(self, options):
        self.options = options
        self.folder = options.out
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "console.log").unlink(missing_ok=True)
        self.base = self.folder / "disk.img"
        self.data = DataPartition(self.base)
        self.disk, self.starter = Disk(self.base, self.folder), starter(options.image, self.folder)
        self.films = Films(options.program, self.folder, options.seed)
        self.acknowledged, self.machine = [], None

    def start(self):
        self.machine = Machine(self.disk, self.starter, self.folder, self.options.port, self.options.memory, self.options.processors)
        return self.machine

    def prepare(self):
        run("cp", "--sparse=always", self.options.image, self.base)
        with open(self.base, "r+b") as disk:
            disk.truncate(self.base.stat().st_size + (1 << 30))
        board = Path(__file__).resolve().parent.parent / "boards" / self.options.board / "profile.toml"
        self.data.write(site_profile(board.read_text()), "/settings/board/profile.toml", self.folder)

    def switched_on(self):
        """Ready, a film, its result, a key."""
        machine = self.start()
        say(f"C-ECHO answered {machine.wait_until_ready():.0f} s after power on")
        time.sleep(5)
        ready = machine.picture("ready")
        say(f"monitor: {ready[0]} x {ready[1]}, {len(set(ready[2][at:at + 3] for at in range(0, len(ready[2]), 3)))} colours")
        if changed(ready, (ready[0], ready[1], bytes(len(ready[2])))) < 0.05:
            raise Failure("the monitor is black: see console.log")
        film, uid = self.films.next()
        begun = time.monotonic()
        if not send(film, self.options.port):
            raise Failure("the first film was not acknowledged")
        self.acknowledged.append(uid)
        say(f"a film was acknowledged after {time.monotonic() - begun:.1f} s")
        # A result has a picture of the chest, so much of the monitor changes, and then stays as it is.
        before, number = ready, 0
        while time.monotonic() - begun < 300:
            time.sleep(4)
            now = machine.picture(f"after-{number}")
            if changed(ready, now) > 0.1 and changed(before, now) == 0.0:
                break
            if changed(before, now) > 0.0:
                number += 1
            before = now
        else:
            raise Failure("no result came to the monitor within 300 s: see the pictures and console.log")
        say(f"its result stands on the monitor {time.monotonic() - begun:.0f} s after it was sent, {100 * changed(ready, now):.0f} % of the pixels are new")
        result = machine.picture("result")
        machine.press("ret")
        time.sleep(4)
        after = machine.picture("key")
        say(f"a key changed {100 * changed(result, after):.0f} % of the pixels")
        if changed(result, after) < 0.02:
            raise Failure("a key of the keyboard did not change the picture")

    def cut(self, number):
        """Films arrive from two senders, and the power goes; then the journal has what was acknowledged."""
        chance = random.Random(1000 * self.options.seed + number)
        ends, sent = threading.Event(), []
        # Before the power's time begins, so that it is spent on sending.
        self.films.make(60)

        def sender():
            while not ends.is_set():
                film, uid = self.films.next()
                if send(film, self.options.port):
                    sent.append(uid)

        senders = [threading.Thread(target=sender) for _ in range(2)]
        for thread in senders:
            thread.start()
        waits = chance.uniform(3.0, 15.0)
        time.sleep(waits)
        # From here on no answer counts that had not come before.
        self.machine.kill()
        ends.set()
        for thread in senders:
            thread.join()
        self.acknowledged += sent
        kept, lost = self.disk.cut(chance.random())
        copied = Path(tempfile.mkdtemp(dir=self.folder))
        try:
            repaired = self.data.copy(copied)
            verified = run(self.options.program, "journal", "--data", copied / "thorax", "verify").strip()
            studies = json.loads(run(self.options.program, "journal", "--data", copied / "thorax", "export", "--format", "json"))
        finally:
            shutil.rmtree(copied)
        held = {an_object["sop_instance_uid"] for study in studies for an_object in study["objects"]}
        missing = [uid for uid in self.acknowledged if uid not in held]
        states = {}
        for study in studies:
            states[study["state"]] = states.get(study["state"], 0) + 1
        say(
            f"cut {number}: after {waits:.1f} s of films, {len(sent)} acknowledged in them; of the disk's writes {kept} kept, {lost} lost; e2fsck {repaired}; "
            f"{len(self.acknowledged)} acknowledged in all, {len(held)} in the journal, studies {states}; {verified}"
        )
        if missing:
            raise Failure(f"{len(missing)} acknowledged films are not in the journal: {missing}")

    def run(self):
        begun = time.monotonic()
        self.prepare()
        _, size = self.data.place()
        try:
            self.switched_on()
            starts = []
            for number in range(1, self.options.cuts + 1):
                if number > 1:
                    starts.append(self.start().wait_until_ready())
                self.cut(number)
                if number == 1:
                    _, grown = self.data.place()
                    say(f"data partition: {size >> 20} MiB in the image, {grown >> 20} MiB after the first start")
                    if grown <= size + (512 << 20):
                        raise Failure("the data partition did not take the rest of the disk")
                    self.films.modality = "both"
            starts.append(self.start().wait_until_ready())
            time.sleep(5)
            self.machine.picture("after-the-last-cut")
        finally:
            if self.machine is not None and self.machine.process.poll() is None:
                self.machine.kill()
        starts.sort()
        say(
            f"{self.options.cuts} power cuts, {len(self.acknowledged)} films acknowledged, none lost; started again each time, in {starts[0]:.0f} to "
            f"{starts[-1]:.0f} s (median {starts[len(starts) // 2]:.0f}); {(time.monotonic() - begun) / 60:.0f} minutes"
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("image", type=Path)
    parser.add_argument("--program", type=Path, required=True, help="the device's program for this machine")
    parser.add_argument("--board", default="uefi-arm64", help="which the image is of (%(default)s)")
    parser.add_argument("--cuts", type=int, default=20, help="how often the power is cut (%(default)s)")
    parser.add_argument("--out", type=Path, default=Path("boot"), help="folder of what is made (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of films, times and what the disk loses (%(default)s)")
    parser.add_argument("--port", type=int, default=21112, help="at which the box's DICOM port is reached (%(default)s)")
    parser.add_argument("--memory", type=int, default=2048, help="of the machine, MiB (%(default)s)")
    parser.add_argument("--processors", type=int, default=2, help="of the machine (%(default)s)")
    options = parser.parse_args()
    missing = sorted({package for thing, package in PACKAGES.items() if not (shutil.which(thing) or Path(thing).exists())})
    try:
        if missing:
            raise Failure(f"not there: apt-get install --no-install-recommends {' '.join(missing)}")
        if options.cuts < 1:
            raise Failure("--cuts: once at least")
        Trial(options).run()
    except Failure as failure:
        say(f"FAILED: {failure}")
        sys.exit(1)


if __name__ == "__main__":
    main()
