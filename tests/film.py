#!/usr/bin/env python3
"""A film of the whole appliance in a window of the desktop: phantom films arrive, keys are pressed, and what the window shows is kept as a strip.

    cargo build --release --workspace --bins --features thorax-edge/window
    python3 tests/film.py docs/screens/film.png

Needs Debian's libsdl2-dev (to build), xvfb, xdotool and imagemagick. The window is a real one of SDL on an X server without a monitor; the keys go
through X.
"""
import os, shutil, subprocess, sys, tempfile, time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
EDGE = f"{ROOT}/target/release/thorax-edge"
SCREEN = ":97"
# What is pressed, and for how many seconds it is waited before the picture is taken.
STORY = [
    (None, 0.2), (None, "ready"), (None, "result"), ("Return", 1), ("Return", 1), ("Escape", 1), ("Return", 1), ("Return", 1),
    ("Escape", 1), ("Down Down Return", 1), ("Return", 1), ("Down Return", 2), ("Escape", 1), ("Down Down Down Down Return", 1), (None, "stop"),
]


def pictures(log, what):
    return open(log).read().count(what)


def main(strip):
    work = tempfile.mkdtemp(prefix="film-")
    environment = {**os.environ, "DISPLAY": SCREEN}
    os.makedirs(f"{work}/board")
    open(f"{work}/board/profile.toml", "w").write(
        '[site]\nname = "Dress rehearsal"\n[board]\nname = "A PC"\ncores = 1\nmemory_budget_mebibytes = 2048\n'
        f'power_off_file = "{work}/power-off"\n[panel.window]\ndrawn = [480, 320]\n[journal]\nreserve_bytes = 16777216\n'
        '[intake]\naddress = "127.0.0.1:0"\naccept_any_peer = true\n[status]\naddress = "127.0.0.1:0"\n')
    x = subprocess.Popen(["Xvfb", SCREEN, "-screen", "0", "480x320x24", "-nolisten", "tcp"], stderr=subprocess.DEVNULL)
    time.sleep(1)
    log = f"{work}/log"
    device = subprocess.Popen([EDGE, "serve", "--board", f"{work}/board", "--data", f"{work}/data", "--demo", "--log", "debug"], env=environment, stdout=open(log, "w"), stderr=subprocess.STDOUT)
    try:
        frames = []
        for keys, wait in STORY:
            for key in (keys or "").split():
                subprocess.run(["xdotool", "key", key], env=environment, check=True)
                time.sleep(0.4)
            if wait == "stop":
                device.terminate()
                device.wait(60)
                continue
            elif isinstance(wait, str):
                told = {"ready": "shows=Page", "result": "shows=Result"}[wait]
                until = time.time() + 120
                while pictures(log, told) == 0:
                    assert device.poll() is None and time.time() < until, open(log).read()
                    time.sleep(0.1)
                time.sleep(0.5)
            else:
                time.sleep(wait)
            frames.append(f"{work}/{len(frames):02}.png")
            subprocess.run(["import", "-window", "root", frames[-1]], env=environment, check=True)
        assert device.returncode == 0, open(log).read()
        subprocess.run(["montage", *frames, "-tile", "5x", "-geometry", "480x320+6+6", "-background", "white", strip], check=True)
        subprocess.run(["mogrify", "-define", "png:compression-level=9", "-strip", strip], check=True)
        print(f"{len(frames)} pictures in {strip}")
    finally:
        for process in (device, x):
            if process.poll() is None:
                process.kill()
        shutil.rmtree(work)


if len(sys.argv) != 2:
    sys.exit(__doc__)
main(sys.argv[1])
