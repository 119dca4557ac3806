#!/usr/bin/env bash
# A sweep through a real Slurm: the short grid on phantoms, trained in one process, killed (kill -9) and resumed, and as a job
# array. All three leaderboards have to be the same bytes.
#
#   tests/slurm.sh target/release/thorax-train
#
# As root on Debian. Where Slurm is missing it is installed (slurm-wlm); its daemons run on loopback, on ports and folders of
# their own, and are stopped at the end. A Slurm that runs on the machine already is left alone.
set -euo pipefail
repository=$(cd "$(dirname "$0")/.." && pwd)
[ $# -eq 1 ] && [ -x "$1" ] || { echo "usage: tests/slurm.sh PATH-OF-thorax-train" >&2; exit 2; }
program=$(realpath "$1")
[ "$(id -u)" -eq 0 ] || { echo "Slurm's daemons are started as root: run this as root" >&2; exit 2; }

if ! command -v slurmctld >/dev/null || ! command -v slurmd >/dev/null || ! command -v munged >/dev/null; then
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends slurm-wlm munge
fi

folder=$(mktemp -d)
# From here on every Slurm command is for ours, never for one that runs on the machine already.
export SLURM_CONF=$folder/slurm.conf
daemons=()
stop() {
    code=$?
    if [ $code -ne 0 ]; then
        tail -n 20 "$folder"/*.log "$folder"/*/slurm/*.txt >&2 || true
        echo "=== FAILED" >&2
    fi
    # What an early end has left in the queue.
    if sinfo >/dev/null 2>&1; then
        scancel --user="$(id -un)"
        for _ in $(seq 20); do [ -z "$(squeue -h)" ] && break; sleep 1; done
    fi
    for daemon in ${daemons[@]+"${daemons[@]}"}; do
        kill "$daemon" 2>/dev/null || true
        wait "$daemon" 2>/dev/null || true
    done
    rm -rf "$folder"
    exit $code
}
trap stop EXIT

echo "=== Slurm $(slurmctld -V | cut -d' ' -f2) on loopback"
host=$(hostname -s)
mkdir -m 700 "$folder/munge" "$folder/state" "$folder/spool"
head -c 1024 /dev/urandom >"$folder/munge/key"
chmod 600 "$folder/munge/key"
# Others have to reach munged's socket in it.
chmod 711 "$folder" "$folder/munge"
cat >"$folder/slurm.conf" <<CONF
ClusterName=thorax
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=16817
SlurmdPort=16818
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$folder/munge/socket
CryptoType=crypto/munge
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerType=sched/backfill
MpiDefault=none
ReturnToService=2
NodeName=$host NodeAddr=127.0.0.1 CPUs=$(nproc) State=UNKNOWN
PartitionName=sweep Nodes=$host Default=YES MaxTime=INFINITE State=UP
CONF

munged --foreground --key-file="$folder/munge/key" --socket="$folder/munge/socket" --pid-file="$folder/munge/pid" \
    --seed-file="$folder/munge/seed" --log-file="$folder/munge/munged.log" >"$folder/munged.log" 2>&1 &
daemons+=($!)
until [ -S "$folder/munge/socket" ]; do kill -0 "${daemons[0]}"; sleep 0.1; done
slurmctld -D >"$folder/slurmctld.log" 2>&1 &
daemons+=($!)
slurmd -D -N "$host" >"$folder/slurmd.log" 2>&1 &
daemons+=($!)
for _ in $(seq 60); do
    sinfo -h -o %T 2>/dev/null | grep -q '^idle$' && break
    kill -0 "${daemons[1]}" "${daemons[2]}"
    sleep 1
done
sinfo
sinfo -h -o %T | grep -q '^idle$'

echo "=== phantoms"
"$program" phantom "$folder/films" --count 9 --modality xray --size 128 --seed 3
"$program" data import "$folder/films" --out "$folder/films/manifest.csv"

sweep() {
    out=$1
    shift
    "$program" sweep "$repository/docs/segmentation/short_grid.toml" --manifest "$folder/films/manifest.csv" \
        --modality xray --out "$folder/$out" "$@"
}
epochs() { cat "$folder/$1"/*/epochs.csv 2>/dev/null | grep -vc '^epoch' || true; }
state() { grep -c ",$2\$" "$folder/$1/leaderboard.csv" || true; }

echo "=== in one process"
sweep whole
runs=$(state whole finished)
[ "$runs" -ge 6 ]

echo "=== killed and resumed"
# A session of its own, so that the sweep and its child can be killed together.
setsid "$program" sweep "$repository/docs/segmentation/short_grid.toml" --manifest "$folder/films/manifest.csv" \
    --modality xray --out "$folder/killed" &
sweep=$!
# Two runs of two epochs are finished, and the third has done its first.
until [ "$(epochs killed)" -ge 5 ]; do kill -0 $sweep; sleep 0.01; done
kill -9 -- -$sweep
wait $sweep 2>/dev/null && { echo "ended before it could be killed" >&2; exit 1; }
[ "$(epochs killed)" -lt $((2 * runs)) ]
sweep killed

echo "=== through Slurm"
sweep slurm --slurm --wait --slurm-options "--partition=sweep --cpus-per-task=1 --time=10"
tail -n 3 "$folder"/slurm/slurm/*_0.txt
grep -h -o 'sweep.sbatch\|--array=.*' "$folder/slurm/slurm/sweep.sbatch"
[ "$(ls "$folder"/slurm/slurm/*_*.txt | wc -l)" -eq "$runs" ]

echo "=== what Slurm refuses, and a run that fails there"
if sweep refused --slurm --slurm-options "--partition=none" 2>"$folder/refused.log"; then exit 1; fi
grep -q 'sbatch refused' "$folder/refused.log"
grep -q 'partition.*--slurm-options' "$folder/refused.log"
cat >"$folder/failing.toml" <<GRID
[fixed]
side = 64
base-channels = 4
[grid]
begin = [{ name = "drawn", epochs = 1 }, { name = "lost", epochs = 1, start = "lost.safetensors" }]
GRID
if "$program" sweep "$folder/failing.toml" --manifest "$folder/films/manifest.csv" --modality xray \
    --out "$folder/failing" --slurm --wait --jobs 1 2>"$folder/failing.log"; then exit 1; fi
grep -q '1 of 2 runs failed: begin=lost;' "$folder/failing.log"
grep -q 'lost.safetensors' "$folder/failing/slurm/"*_1.txt
[ "$(state failing finished)" -eq 1 ]

for kind in csv md; do
    cmp "$folder/whole/leaderboard.$kind" "$folder/killed/leaderboard.$kind"
    cmp "$folder/whole/leaderboard.$kind" "$folder/slurm/leaderboard.$kind"
done
cat "$folder/whole/leaderboard.csv"
echo "=== all three leaderboards are the same bytes"
