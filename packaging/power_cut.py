"""The disk of a virtual machine, and what is left of it when its power is cut.

A machine that is killed alone has lost nothing but its memory: what it had written, but not flushed, is in the host's memory and gets to the disk
in the end. A real disk has a cache, whose content is gone. So everything that the machine writes is put down in a log (QEMU's `blklogwrites`, in
the form of Linux's dm-log-writes), and a power cut makes the disk anew: all that was written before the last flush, and of what came
after it, each write or not, by chance.
"""

import os
import random
import struct
import subprocess
from pathlib import Path

SECTOR = 512
MAGIC = 0x6A736677736872
FLUSH, FUA, DISCARD, MARK = 1, 2, 4, 8


def writes(log, sectors):
    """Yields (sector, number of sectors, flags, offset of the data in the log) in the order of the log, for a disk of so many sectors."""
    size = os.fstat(log.fileno()).st_size
    log.seek(0)
    magic, version, _, sector_size = struct.unpack("<QQQI", log.read(28))
    if magic != MAGIC or version != 1 or sector_size != SECTOR:
        raise ValueError("no log of writes with sectors of 512 bytes")
    place = SECTOR
    while place + SECTOR <= size:
        log.seek(place)
        head = log.read(SECTOR)
        sector, count, flags, length = struct.unpack("<QQQQ", head[:32])
        # A write that the kill had caught in the middle has left no head, and what is behind it is found again.
        there = flags <= 15 and (count or flags) and length == 0 and sector + count <= sectors and not any(head[32:])
        if not there:
            place += SECTOR
            continue
        data = 0 if flags & DISCARD else count * SECTOR
        if place + SECTOR + data <= size:
            yield sector, count, flags, place + SECTOR
        place += SECTOR + data


class Disk:
    """An image (`base`), and while the machine runs a layer above it and the log."""

    def __init__(self, base, folder):
        self.base, self.layer, self.log = Path(base), Path(folder) / "layer.qcow2", Path(folder) / "writes.log"

    def arguments(self):
        """QEMU's arguments for a disk `disk0`, with nothing written since the last power cut."""
        self.log.unlink(missing_ok=True)
        self.log.touch()
        subprocess.run(
            ["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", str(self.base.resolve()), str(self.layer)], check=True
        )
        chain = (
            f"driver=blklogwrites,node-name=disk0,log-sector-size={SECTOR},log-super-update-interval=1000000000,"
            f"log.driver=file,log.filename={self.log},file.driver=qcow2,file.file.driver=file,file.file.filename={self.layer}"
        )
        return ["-blockdev", chain, "-device", "virtio-blk-pci,drive=disk0,bootindex=0"]

    def cut(self, seed):
        """Makes `base` what the disk is after the power cut. Gives the numbers of writes that were kept, and lost."""
        chance = random.Random(seed)
        kept = lost = 0
        with open(self.log, "rb") as log, open(self.base, "r+b") as disk:
            entries = list(writes(log, self.base.stat().st_size // SECTOR))
            flushed = max((index for index, entry in enumerate(entries) if entry[2] & FLUSH), default=-1)
            for index, (sector, count, flags, data) in enumerate(entries):
                if not count or flags & MARK:
                    continue
                # A write that goes through the cache (FUA) is as safe as a flushed one.
                if index > flushed and not flags & FUA and chance.random() < 0.5:
                    lost += 1
                    continue
                kept += 1
                disk.seek(sector * SECTOR)
                if flags & DISCARD:
                    disk.write(bytes(count * SECTOR))
                else:
                    log.seek(data)
                    disk.write(log.read(count * SECTOR))
        return kept, lost
