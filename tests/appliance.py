#!/usr/bin/env python3
"""Measures `thorax-edge serve` beside other real programs: how fast images come in, and what half an hour of all sorts of work does to it.

    cargo build --release --bin thorax-edge
    python3 tests/appliance.py intake        # ours and Orthanc take the same films, in pairs
    python3 tests/appliance.py soak 30       # minutes of mixed load; draws docs/soak.svg
    python3 tests/appliance.py panel         # from the start to the idle page, and from a film's last byte to its result on the panel

Needs DCMTK's programs and, by tests/orthanc.sh, Orthanc. Nothing of it is a test that passes or fails by its time; the soak ends with an
error where an image is lost, and so does the intake.
"""
import datetime, glob, http.client, json, os, random, re, shutil, signal, socket, statistics, subprocess, sys, tempfile, threading, time
import urllib.parse, urllib.request

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
EDGE = f"{ROOT}/target/release/thorax-edge"
BUNDLES = [f"{ROOT}/models/xray/thorax-xray.thorax", f"{ROOT}/models/ct/thorax-ct.thorax"]
ORTHANC_DICOM, ORTHANC_HTTP = 14242, 18042


def films(folder, count):
    """Phantom films of a study each: the same few pictures, under UIDs of their own of the same length."""
    os.makedirs(f"{folder}/drawn")
    subprocess.run([EDGE, "phantom", f"{folder}/drawn", "--modality", "xray", "--count", "4", "--formats", "dicom"], check=True, capture_output=True)
    drawn = [open(name, "rb").read() for name in sorted(glob.glob(f"{folder}/drawn/*.dcm"))]
    uids = [sorted({uid for uid in re.findall(rb"2\.25\.\d{20,}", data)}) for data in drawn]
    names = []
    for number in range(count):
        data = drawn[number % len(drawn)]
        for uid in uids[number % len(drawn)]:
            # The first digits stay, so that the three differ.
            data = data.replace(uid, uid[:-8] + b"%08d" % (number + 1))
        names.append(f"{folder}/{number:05}.dcm")
        open(names[-1], "wb").write(data)
    return names


class Process:
    """A program, and what it holds."""

    def __init__(self, arguments, log):
        self.log = log
        self.out = open(log, "a")
        self.process = subprocess.Popen(arguments, stdout=self.out, stderr=self.out)

    def held(self):
        """Resident memory in MiB, open files, threads."""
        status = open(f"/proc/{self.process.pid}/status").read()
        number = lambda key: int(re.search(rf"{key}:\s+(\d+)", status)[1])
        return number("VmRSS") / 1024, len(os.listdir(f"/proc/{self.process.pid}/fd")), number("Threads")

    def most_memory(self):
        return int(re.search(r"VmHWM:\s+(\d+)", open(f"/proc/{self.process.pid}/status").read())[1]) / 1024

    def processor_seconds(self):
        fields = open(f"/proc/{self.process.pid}/stat").read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(120)


class Device(Process):
    def __init__(self, folder, profile, before=(), options=()):
        os.makedirs(folder)
        open(f"{folder}/profile.toml", "w").write(profile)
        self.began = time.time()
        super().__init__([*before, EDGE, "serve", "--board", folder, "--data", f"{folder}/data", *options], f"{folder}/log")
        running = f"{folder}/data/running.json"
        until = time.time() + 60
        while not os.path.exists(running):
            assert self.process.poll() is None and time.time() < until, open(self.log).read()
            time.sleep(0.05)
        time.sleep(0.2)
        self.running = json.load(open(running))
        self.port = self.running["dicom"].split(":")[1]
        self.folder = folder

    def get(self, path):
        return urllib.request.urlopen(f"http://{self.running['status']}{path}", timeout=20).read().decode()

    def metrics(self):
        lines = (line.rsplit(" ", 1) for line in self.get("/metrics").splitlines() if not line.startswith("#"))
        return {name: float(value) for name, value in lines}

    def journal(self, *arguments):
        return subprocess.run([EDGE, "journal", *arguments, "--data", f"{self.folder}/data"], capture_output=True, text=True, check=True).stdout

    def latencies(self):
        """Milliseconds from an image's last byte to its record, as the log has them."""
        text = re.sub(r"\x1b\[[0-9;]*m", "", open(self.log).read())
        return sorted(float(found) for found in re.findall(r"received .*milliseconds=([0-9.]+)", text))


def orthanc(folder):
    process = Process([f"{ROOT}/tests/orthanc.sh", folder, "ORTHANC", str(ORTHANC_DICOM), str(ORTHANC_HTTP)], "/dev/null")
    until = time.time() + 60
    while subprocess.run(["echoscu", "-aec", "ORTHANC", "127.0.0.1", str(ORTHANC_DICOM)], capture_output=True).returncode:
        assert time.time() < until, "Orthanc does not answer"
        time.sleep(0.2)
    return process


def send(files, port, title, *options, calling="CART"):
    return subprocess.Popen(
        ["storescu", "-v", "-aet", calling, "-aec", title, *options, "127.0.0.1", str(port), *files],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def acknowledged(sender):
    return sender.communicate()[0].count("Received Store Response (Success)")


def send_all(files, port, title, senders):
    """Films a minute, all of which have to be acknowledged."""
    began = time.time()
    running = [send(files[place::senders], port, title) for place in range(senders)]
    assert sum(map(acknowledged, running)) == len(files)
    return 60 * len(files) / (time.time() - began)


PROFILE = """[intake]
address = "127.0.0.1:0"
close_at_release = {close}
[[intake.peers]]
ae_title = "CART"
[journal]
quiet_seconds = {quiet}
{journal}
[screening]
bundles = {bundles}
[status]
address = "127.0.0.1:0"
"""


def profile(close, quiet, journal="", rest=""):
    return PROFILE.format(close=str(close).lower(), quiet=quiet, journal=journal, bundles=json.dumps(BUNDLES)) + rest


def intake(work):
    pairs, block = 5, 160
    made = films(f"{work}/films", 2 * pairs * block)
    print(f"films of {os.path.getsize(made[0])} bytes, {pairs} pairs of {block} films for each row; films acknowledged a minute, medians")
    print("| | ours, only storing | ours, reading meanwhile | Orthanc | ratio to Orthanc, storing |\n|---|---|---|---|---|")
    # A quiet time of an hour: nothing is read meanwhile, as Orthanc reads nothing.
    storing = Device(f"{work}/storing", profile(False, 3600))
    reading = Device(f"{work}/reading", profile(True, 30))
    other = orthanc(f"{work}/orthanc")
    for part, senders in enumerate((1, 8)):
        rates = []
        for pair in range(pairs):
            start = (part * pairs + pair) * block
            chosen = made[start:start + block]
            row = [send_all(chosen, storing.port, "THORAX", senders), send_all(chosen, ORTHANC_DICOM, "ORTHANC", senders)]
            row.insert(1, send_all(chosen, reading.port, "THORAX", senders))
            rates.append(row)
        ours, busy, theirs = (statistics.median(column) for column in zip(*rates))
        ratio = statistics.median(row[0] / row[2] for row in rates)
        print(f"| {senders} sender{'s' * (senders > 1)} | {ours:.0f} | {busy:.0f} | {theirs:.0f} | {ratio:.2f} |", flush=True)
        if senders == 1:
            alone = storing.latencies()
    for what, found in (("one sender", alone), ("both", storing.latencies())):
        print(f"from last byte to record, {what}: median {statistics.median(found):.0f} ms, 99th percentile {found[int(0.99 * len(found))]:.0f} ms, longest {found[-1]:.0f} ms")
    print(f"most memory, MiB: storing {storing.most_memory():.0f}, reading {reading.most_memory():.0f}, Orthanc {other.most_memory():.0f}")
    kept = json.loads(storing.journal("export", "--format", "json"))
    assert len({image["sop_instance_uid"] for study in kept for image in study["objects"]}) == len(made)
    print(storing.journal("verify").strip())
    for process in (storing, reading, other):
        process.stop()


class Page:
    """A reader at the tablet."""

    def __init__(self, address):
        self.address, self.cookie = address, None

    def ask(self, method, path, form=None):
        connection = http.client.HTTPConnection(self.address, timeout=20)
        headers = {"Origin": f"http://{self.address}"} | ({"Cookie": self.cookie} if self.cookie else {})
        body = urllib.parse.urlencode(form) if form else None
        if body:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        text = answer.read()
        if cookie := answer.getheader("Set-Cookie"):
            self.cookie = cookie.split(";")[0]
        connection.close()
        return answer.status, text.decode("utf-8", "replace")


def soak(work, minutes):
    rest = f"""
[data]
retention_every_seconds = 60
[[folders]]
name = "incoming"
path = "{work}/incoming"
settle_seconds = 1
[page]
address = "127.0.0.1:18181"
users = "{work}/page.users"
[delivery]
first_pause_seconds = 1
longest_pause_seconds = 10
[[delivery.destinations]]
name = "archive"
to.dicom = {{ address = "127.0.0.1:{ORTHANC_DICOM}", ae_title = "ORTHANC" }}
"""
    os.makedirs(f"{work}/incoming")
    add = [EDGE, "page", "user", "--users", f"{work}/page.users", "add", "ada", "--role", "reader"]
    subprocess.run(add, input="a long phantom password\n", text=True, check=True, capture_output=True)
    made = films(f"{work}/films", 60 * minutes)
    subprocess.run([EDGE, "phantom", f"{work}/volumes", "--modality", "ct", "--count", "1", "--formats", "nifti,png"], check=True, capture_output=True)
    loose = sorted(glob.glob(f"{work}/volumes/*.nii.gz") + glob.glob(f"{work}/volumes/*.png"))
    archive = orthanc(f"{work}/orthanc")
    device = Device(f"{work}/device", profile(True, 5, "keep_studies = 100", rest))
    began, end = time.time(), time.time() + 60 * minutes
    counted = {"films": 0, "again": 0, "files": 0, "pages": 0, "strangers": 0, "damaged": 0}
    wrong, waiting = [], list(made)

    def forever(pause, task):
        def run():
            number = 0
            while time.time() < end:
                try:
                    task(number)
                except Exception as error:  # told at the end, and an error then
                    wrong.append(f"{task.__name__}: {error!r}")
                number += 1
                time.sleep(pause)
        threads.append(threading.Thread(target=run))

    def take(count):
        return [waiting.pop() for _ in range(min(count, len(waiting)))]

    def one_film(number):
        syntax = random.choice([[], ["-xe"], ["-xi"]])
        counted["films"] += acknowledged(send(take(1), device.port, "THORAX", *syntax))

    def a_burst(number):
        running = [send(take(5), device.port, "THORAX") for _ in range(4)]
        counted["films"] += sum(map(acknowledged, running))

    def again(number):
        counted["again"] += acknowledged(send([random.choice(made[-200:])], device.port, "THORAX"))

    def a_stranger(number):
        assert acknowledged(send(made[:1], device.port, "THORAX", calling="STRANGER")) == 0
        counted["strangers"] += 1

    def damaged(number):
        with socket.create_connection(("127.0.0.1", int(device.port))) as peer:
            peer.sendall(random.Random(number).randbytes(random.Random(number).randint(1, 4000)))
            time.sleep(random.Random(number).choice([0, 0.5, 15]))
        counted["damaged"] += 1

    def a_file(number):
        name = random.choice(loose)
        data = open(name, "rb").read()
        # A PNG with other bytes behind its end is another file, and the same picture.
        data += b"" if name.endswith(".gz") else str(number).encode()
        end = "".join(re.findall(r"\.nii\.gz$|\.png$", name))
        open(f"{work}/part", "wb").write(data)
        os.rename(f"{work}/part", f"{work}/incoming/{number}{end}")
        counted["files"] += 1

    reader = Page("127.0.0.1:18181")

    def at_the_tablet(number):
        status, text = reader.ask("GET", "/")
        if status != 200 or "/study/" not in text:
            _, form = reader.ask("GET", "/login")
            token = re.search(r'name="token" value="([^"]+)"', form)
            reader.ask("POST", "/login", {"name": "ada", "password": "a long phantom password"} | ({"token": token[1]} if token else {}))
            return
        study = random.choice(re.findall(r"/study/(\d+)", text))
        _, text = reader.ask("GET", f"/study/{study}")
        for picture in re.findall(rf'src="(/study/{study}/picture/\d+)"', text)[:3]:
            reader.ask("GET", picture)
        counted["pages"] += 1

    def the_archive_goes_away(number):
        if number:
            archive.process.kill()
            archive.process.wait()
            time.sleep(60)
            back = orthanc(f"{work}/orthanc")
            archive.process = back.process

    threads, samples = [], []
    # About as many films as one worker reads.
    forever(3, one_film)
    forever(90, a_burst)
    forever(20, again)
    forever(15, a_stranger)
    forever(10, damaged)
    forever(12, a_file)
    forever(4, at_the_tablet)
    forever(60 * max(2, minutes // 3), the_archive_goes_away)
    for thread in threads:
        thread.start()
    while time.time() < end:
        time.sleep(5)
        metrics = device.metrics()
        assert json.loads(device.get("/health"))["status"] in ("ok", "degraded")
        samples.append(((time.time() - began) / 60, *device.held(), metrics["thorax_images_waiting"]))
        memory, files, running = samples[-1][1:4]
        print(f"\r{samples[-1][0]:5.1f} min  {memory:6.1f} MiB  {files:3} files  {running:3} threads  {counted}", end="", flush=True)
    print()
    for thread in threads:
        thread.join()
    until = time.time() + 600
    while device.metrics()["thorax_images_waiting"] and time.time() < until:
        time.sleep(1)
    metrics = device.metrics()
    print(f"sent: {counted}")
    print("taken: " + ", ".join(f"{name[7:]} {value:.0f}" for name, value in metrics.items() if re.match(r"thorax_(images|assoc|studies_read|deliveries)", name)))
    print(device.journal("verify").strip())
    seconds = device.processor_seconds()
    print(f"processor {seconds:.0f} s of {time.time() - began:.0f} s; most memory {device.most_memory():.0f} MiB; exit code {device.stop()}")
    archive.stop()
    third = len(samples) // 3
    for column, (what, unit) in enumerate((("memory", "MiB"), ("files", ""), ("threads", ""))):
        middle, last = ([sample[column + 1] for sample in part] for part in (samples[third:2 * third], samples[2 * third:]))
        print(f"{what}: median of the second third {statistics.median(middle):.1f} {unit}, of the last {statistics.median(last):.1f} {unit}; most {max(middle + last):.1f}")
    draw(samples, f"{ROOT}/docs/soak.svg")
    assert not wrong, wrong[:5]
    assert counted["films"] + counted["files"] <= metrics["thorax_images_accepted_total"] + metrics["thorax_images_duplicate_total"], "an image is missing"


def panel(work):
    """On one processor. The panel is a file: a picture is there with all that it costs but a panel's own bus."""
    runs = 7
    made = films(f"{work}/films", runs)
    starts, results = [], []
    for run in range(runs):
        table = '[panel.png]\nfile = "panel.png"\ndrawn = [320, 240]\n'
        device = Device(f"{work}/device-{run}", profile(True, 1, rest=table), ("taskset", "-c", "0"), ("--log", "debug"))

        def at(what):
            """When the log said so first, and the line."""
            until = time.time() + 60
            while time.time() < until:
                for line in re.sub(r"\x1b\[[0-9;]*m", "", open(device.log).read()).splitlines():
                    if re.search(what, line):
                        return datetime.datetime.fromisoformat(line.split()[0]).timestamp(), line
                time.sleep(0.02)
            sys.exit(f"never told: {what}")

        starts.append(at("on the panel shows=Page")[0] - device.began)
        assert acknowledged(send([made[run]], device.port, "THORAX")) == 1
        recorded, line = at("received .*milliseconds=")
        last_byte = recorded - float(re.search(r"milliseconds=([0-9.]+)", line)[1]) / 1000
        results.append(at("on the panel shows=Result")[0] - last_byte)
        device.stop()
    for what, found in (("from the start of the process to the idle page, with the self-test of two bundles", starts), ("from a film's last byte to its result on the panel", results)):
        print(f"{what}: median {1000 * statistics.median(found):.0f} ms, {1000 * min(found):.0f} to {1000 * max(found):.0f}, {runs} runs")


def draw(samples, path):
    """Three curves over the minutes, one below the other, in a file without a library."""
    width, height, left, gap = 720, 110, 70, 34
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {3 * (height + gap) + 30}" font-family="sans-serif" font-size="12">',
             '<rect width="100%" height="100%" fill="white"/>']
    minutes = samples[-1][0]
    for row, (name, column) in enumerate((("resident memory, MiB", 1), ("open files", 2), ("images waiting", 4))):
        top = 24 + row * (height + gap)
        values = [sample[column] for sample in samples]
        most = max(values) * 1.1 or 1
        x = lambda minute: left + (width - left - 20) * minute / minutes
        y = lambda value: top + height * (1 - value / most)
        points = " ".join(f"{x(sample[0]):.1f},{y(sample[column]):.1f}" for sample in samples)
        parts.append(f'<text x="{left}" y="{top - 6}">{name}</text>')
        parts.append(f'<rect x="{left}" y="{top}" width="{width - left - 20}" height="{height}" fill="none" stroke="#bbb"/>')
        for value in (0, max(values)):
            parts.append(f'<text x="{left - 6}" y="{y(value) + 4:.1f}" text-anchor="end">{value:.0f}</text>')
        parts.append(f'<polyline points="{points}" fill="none" stroke="#0b5394" stroke-width="1.5"/>')
    bottom = 24 + 3 * (height + gap) - gap
    for minute in range(0, int(minutes) + 1, 5):
        parts.append(f'<text x="{left + (width - left - 20) * minute / minutes:.1f}" y="{bottom + 18}" text-anchor="middle">{minute} min</text>')
    open(path, "w").write("\n".join(parts + ["</svg>", ""]))


def main():
    if len(sys.argv) < 2 or sys.argv[1] not in ("intake", "soak", "panel"):
        sys.exit(__doc__)
    # On a disk and not in memory, where a sync would cost nothing.
    work = tempfile.mkdtemp(prefix="appliance-", dir=f"{ROOT}/target")
    try:
        if sys.argv[1] == "intake":
            intake(work)
        elif sys.argv[1] == "panel":
            panel(work)
        else:
            soak(work, int(sys.argv[2]) if len(sys.argv) > 2 else 30)
    finally:
        subprocess.run(["pkill", "-KILL", "-f", work])
        shutil.rmtree(work, ignore_errors=True)


main()
