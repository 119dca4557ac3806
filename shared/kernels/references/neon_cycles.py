#!/usr/bin/env python3
"""Predicts (does not measure) the cycles of the inner loops of the int8 product on ARM, by llvm-mca.

    neon_cycles.py PROGRAM [MCA [OBJDUMP]]

PROGRAM is any program for arm64 with thorax-kernels in it, such as the example quantized_time; MCA and OBJDUMP are those
of an LLVM, 19 unless told. For each tile of the product (pixels times registers of four output channels) its loop is
looked for by its instructions, and llvm-mca says how many cycles a turn takes. LLVM has no model of its own for
Cortex-A72, A76 and A78: A72 goes by that of A57, which its maker's guide calls alike, and A76 and A78 by that of
Neoverse N1, which is the A76 for servers.
"""

import re
import subprocess
import sys

# What the pipes allow at best: products a cycle. A57, A72: one `smull` or `smlal` a cycle of eight products each (its
# optimisation guide, pipe F0). N1: two `sdot` a cycle, of sixteen products each (pipes V0 and V1).
MODELS = {
    "smlal": [("cortex-a57", "A57, A72", 8)],
    "sdot": [("neoverse-n1", "A76, A78", 32)],
}
# Each stands for four products of four sums: `sdot` makes them alone, `smlal` with the `smull` before it.
PRODUCTS = 16
BRANCH = re.compile(r"^(b\.|cbn?z|tbn?z)")


def loops(program, objdump):
    """Bodies of the innermost loops, without the branch."""
    text = subprocess.run([objdump, "-d", "--no-show-raw-insn", program], capture_output=True, text=True, check=True)
    rows, places = [], {}
    for line in text.stdout.splitlines():
        match = re.match(r"^ *([0-9a-f]+):\s+(\S+)\s*(.*)", line)
        if match:
            places[int(match[1], 16)] = len(rows)
            rows.append((int(match[1], 16), match[2], re.sub(r"\s*(//|<).*", "", match[3])))
    for end, (address, name, operands) in enumerate(rows):
        target = re.search(r"0x([0-9a-f]+)$", operands) if BRANCH.match(name) else None
        start = places.get(int(target[1], 16)) if target else None
        if start is None or start >= end or end - start > 600:
            continue
        body = [(name, operands) for _, name, operands in rows[start:end]]
        if not any(BRANCH.match(name) or name in ("b", "bl", "ret") for name, _ in body):
            yield body


def cycles(body, model, mca):
    """Cycles of a turn, over many."""
    # Where a program counter is asked for, any number will do.
    text = "\n".join(f"{name} {operands}" for name, operands in body if name not in ("adr", "adrp"))
    command = [mca, "-mtriple=aarch64", f"-mcpu={model}", "-mattr=+dotprod", "-iterations=200"]
    report = subprocess.run(command, input=text, capture_output=True, text=True, check=True).stdout
    return int(re.search(r"Total Cycles:\s+(\d+)", report)[1]) / 200


def main():
    program = sys.argv[1]
    mca, objdump = (sys.argv[2:] + ["llvm-mca-19", "llvm-objdump-19"][len(sys.argv[2:]) :])[:2]
    found = {}
    for body in loops(program, objdump):
        for kind in MODELS:
            count = sum(name == kind for name, _ in body)
            # Of the copies that the compiler made of a loop, the shortest.
            loads = sum(name in ("ldr", "ldp", "ldur", "ld1") for name, _ in body)
            if count >= 16 and count % 4 == 0 and loads:
                key = (kind, count)
                if key not in found or len(body) < len(found[key]):
                    found[key] = body
    print("predicted, not measured")
    print(f"{'model':<12} {'for':<9} {'products':>9} {'instructions':>13} {'cycles':>8} {'a cycle':>8} {'of the limit':>13}")
    for (kind, count), body in sorted(found.items()):
        for model, cores, limit in MODELS[kind]:
            turn = cycles(body, model, mca)
            rate = count * PRODUCTS / turn
            print(
                f"{model:<12} {cores:<9} {count * PRODUCTS:>9} {len(body) + 1:>13} {turn:>8.1f} {rate:>8.1f} "
                f"{100 * rate / limit:>11.0f} %"
            )


main()
