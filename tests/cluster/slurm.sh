#!/usr/bin/env bash
# A SLURM of our own on this machine: munged, slurmctld and slurmd with all their files in one
# folder, so that nothing of an installed SLURM is touched. Needs the Debian packages slurm-wlm and
# munge (their services may stay stopped).
#
#     tests/cluster/slurm.sh up FOLDER
#     export SLURM_CONF=FOLDER/slurm.conf PATH=FOLDER/bin:$PATH
#     tests/cluster/slurm.sh restart FOLDER      # the controller alone, which remembers its jobs
#     tests/cluster/slurm.sh down FOLDER
#
# GPUS (2), CPUS (64) and MEMORY (256000 MB) say what a node pretends to have, NODES (1) how many
# there are, MIN_JOB_AGE (7200 s) how long finished jobs are known. PORT (26817) and the three after
# it must be free, and as many as there are nodes from PORT + 10. DATABASE=yes starts slurmdbd over
# MariaDB as well (the packages slurmdbd and mariadb-server); the user is then of the account `lab`,
# no other is let in, and the QOS `few` takes two jobs at a time.
set -euo pipefail

HERE=$(cd "$(dirname "$0")" && pwd)
ACTION=${1:?up, restart or down}
mkdir -p "${2:?folder of the cluster}"
DIR=$(cd "$2" && pwd)
GPUS=${GPUS:-2}
CPUS=${CPUS:-64}
MEMORY=${MEMORY:-256000}
PORT=${PORT:-26817}
DATABASE=${DATABASE:-no}
NODES=${NODES:-1}
MIN_JOB_AGE=${MIN_JOB_AGE:-7200}
export SLURM_CONF=$DIR/slurm.conf
export PATH=$PATH:/usr/sbin:/sbin

# wait_until SECONDS COMMAND...
wait_until() {
  local seconds=$1 start=$SECONDS
  shift
  until "$@" > /dev/null 2>&1; do
    ((SECONDS - start < seconds)) || { echo "gave up waiting for: $*" >&2; return 1; }
    sleep 0.2
  done
}

configure() {
  local accounting='AccountingStorageType=accounting_storage/none'
  if [ "$DATABASE" = yes ]; then
    accounting='AccountingStorageType=accounting_storage/slurmdbd\nAccountingStorageHost=127.0.0.1'
    accounting+="\nAccountingStoragePort=$((PORT + 2))\nAccountingStorageEnforce=limits,qos"
    accounting+="\nAccountingStoragePass=$DIR/munge/socket"
  fi
  accounting+="\nMinJobAge=$MIN_JOB_AGE"
  local nodes='' number
  for number in $(seq "$NODES"); do
    nodes+="NodeName=n$number NodeHostname=$(hostname -s) NodeAddr=127.0.0.1 Port=$((PORT + 9 + number))"
    nodes+=" CPUs=$CPUS Boards=1 SocketsPerBoard=1 CoresPerSocket=$CPUS ThreadsPerCore=1"
    nodes+=" RealMemory=$MEMORY Gres=gpu:a100:$GPUS\\n"
  done
  sed -e "s|@DIR@|$DIR|g; s|@USER@|$(id -un)|g; s|@HOST@|$(hostname -s)|g" \
    -e "s|@GPUS@|$GPUS|g; s|@CPUS@|$CPUS|g; s|@MEMORY@|$MEMORY|g" \
    -e "s|@ACCOUNTING@|$accounting|; s|@NODES@|$nodes|" \
    -e "s|@PORT@|$PORT|g" "$HERE/slurm.conf.in" > "$SLURM_CONF"
  # A GPU must be a character device. Every machine has these; nobody opens them.
  local devices=(/dev/null /dev/zero /dev/full /dev/random /dev/urandom /dev/tty /dev/ptmx /dev/mem)
  : > "$DIR/gres.conf"
  for device in "${devices[@]:0:GPUS}"; do
    echo "Name=gpu Type=a100 File=$device" >> "$DIR/gres.conf"
  done
}

# A line "JOB GPU,GPU.." for every start of a job.
write_prolog() {
  printf '#!/bin/sh\necho "$SLURM_JOB_ID ${SLURM_JOB_GPUS-}" >> %q\n' "$DIR/gpus_of_jobs" \
    > "$DIR/prolog.sh"
  chmod +x "$DIR/prolog.sh"
  : > "$DIR/gpus_of_jobs"
}

# Snakemake's plugin drops SLURM_CONF inside a job; an installed SLURM needs no such name.
write_srun() {
  mkdir -p "$DIR/bin"
  printf '#!/bin/sh\nSLURM_CONF=%q exec %q "$@"\n' "$SLURM_CONF" "$(command -v srun)" \
    > "$DIR/bin/srun"
  chmod +x "$DIR/bin/srun"
}

start_munge() {
  mkdir -p "$DIR/munge"
  chmod 700 "$DIR/munge"
  dd if=/dev/urandom of="$DIR/munge/key" bs=1 count=1024 status=none
  chmod 600 "$DIR/munge/key"
  munged --force --socket="$DIR/munge/socket" --key-file="$DIR/munge/key" \
    --pid-file="$DIR/munge.pid" --log-file="$DIR/munge/log" --seed-file="$DIR/munge/seed"
  chmod 711 "$DIR/munge"
}

start_database() {
  mariadb-install-db --no-defaults --user="$(id -un)" --datadir="$DIR/database" \
    > "$DIR/mariadb.log" 2>&1
  mariadbd --no-defaults --user="$(id -un)" --datadir="$DIR/database" --skip-grant-tables \
    --bind-address=127.0.0.1 --port=$((PORT + 3)) --socket="$DIR/mariadb.socket" \
    --pid-file="$DIR/mariadb.pid" >> "$DIR/mariadb.log" 2>&1 &
  wait_until 60 mariadb-admin --no-defaults --socket="$DIR/mariadb.socket" ping
  sed -e "s|@DIR@|$DIR|g; s|@USER@|$(id -un)|g" \
    -e "s|@PORT@|$((PORT + 2))|g; s|@DATABASE_PORT@|$((PORT + 3))|g" \
    "$HERE/slurmdbd.conf.in" > "$DIR/slurmdbd.conf"
  chmod 600 "$DIR/slurmdbd.conf"
  slurmdbd
  wait_until 60 sacctmgr --noheader show cluster
  local added
  for added in "cluster cmit" "account lab" "user $(id -un) account=lab" \
    "qos few MaxSubmitJobsPerUser=2"; do
    sacctmgr --immediate --quiet add $added > "$DIR/sacctmgr.log"
  done
  sacctmgr --immediate --quiet modify account lab set qos=normal,few > "$DIR/sacctmgr.log"
}

is_idle() { [ "$(sinfo --noheader --format=%T | sort -u)" = idle ]; }

case "$ACTION" in
  up)
    configure
    write_prolog
    write_srun
    start_munge
    [ "$DATABASE" = no ] || start_database
    mkdir -p "$DIR/state" "$DIR/spool"
    slurmctld
    wait_until 60 sinfo
    for number in $(seq "$NODES"); do slurmd -N "n$number"; done
    wait_until 60 is_idle
    sinfo --Node --partition=main --format="%N %T cpus=%c memory=%m %G"
    ;;
  down)
    for file in "$DIR"/slurmd.n*.pid "$DIR"/{slurmctld,slurmdbd,mariadb,munge}.pid; do
      [ -s "$file" ] && kill "$(cat "$file")" 2> /dev/null || true
    done
    ;;
  restart)
    kill "$(cat "$DIR/slurmctld.pid")"
    sleep "${PAUSE:-5}"
    slurmctld
    wait_until 60 sinfo
    ;;
  *)
    echo "up, restart or down, not $ACTION" >&2
    exit 1
    ;;
esac
