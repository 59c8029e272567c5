#!/bin/sh
# A real Slurm of one node on the loopback, private to one folder: its own configuration, ports, keys and logs.
#
#   tests/slurm/cluster.sh install            Debian's packages; needs root
#   tests/slurm/cluster.sh start FOLDER PORT  uses PORT and PORT + 1; then SLURM_CONF=FOLDER/slurm.conf reaches it
#   tests/slurm/cluster.sh stop FOLDER        cancels what runs, ends the daemons and waits for their ends
set -eu

install() {
    command -v slurmctld >/dev/null && command -v slurmd >/dev/null && command -v munged >/dev/null && return
    [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || { echo "Slurm needs root and apt-get here" >&2; return 1; }
    export DEBIAN_FRONTEND=noninteractive
    apt-get install -y -qq slurm-wlm munge >/dev/null || { apt-get update -qq && apt-get install -y -qq slurm-wlm munge; }
}

configure() {
    # NodeName=localhost: the first name of SLURM_NODELIST is where the ranks meet. cred_expire is also how long a
    # requeued job is held back: 120 s by default, 5 at least. EnforcePartLimits: refuse at once what can never run.
    # config_overrides: four CPUs are lent whatever the machine has, so that no test waits for another one.
    user=$(id -un)
    cat >"$folder/slurm.conf" <<CONF
ClusterName=test
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort=$port
SlurmdPort=$((port + 1))
SlurmUser=$user
SlurmdUser=$user
AuthType=auth/munge
AuthInfo=socket=$folder/munge.socket,cred_expire=5
CredType=cred/munge
EnforcePartLimits=ALL
SlurmdParameters=config_overrides
CommunicationParameters=NoInAddrAny
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
ReturnToService=2
JobRequeue=1
SlurmctldTimeout=30
SlurmdTimeout=60
InactiveLimit=0
KillWait=5
MinJobAge=300
SchedulerParameters=bf_interval=1,sched_interval=1,sched_min_interval=0
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.log
NodeName=localhost NodeAddr=127.0.0.1 CPUs=4 RealMemory=$(($(awk '/MemTotal/{print $2}' /proc/meminfo) / 1024 - 256)) State=UNKNOWN
PartitionName=main Nodes=localhost Default=YES MaxTime=INFINITE State=UP OverSubscribe=NO
CONF
}

start() {
    mkdir -p "$folder/state" "$folder/spool"
    chmod 700 "$folder"
    configure
    dd if=/dev/urandom of="$folder/munge.key" bs=128 count=1 status=none
    chmod 600 "$folder/munge.key"
    # --force: the daemon warns that others may enter the folders above its socket; the keys are its own.
    munged --force --key-file="$folder/munge.key" --socket="$folder/munge.socket" --pid-file="$folder/munged.pid" \
        --log-file="$folder/munged.log" --seed-file="$folder/munge.seed" 2>>"$folder/start.log"
    slurmctld -f "$SLURM_CONF" >>"$folder/start.log" 2>&1
    slurmd -f "$SLURM_CONF" -N localhost >>"$folder/start.log" 2>&1
    for _ in $(seq 100); do
        timeout 3 sinfo -h -o %T 2>/dev/null | grep -q idle && return
        sleep 0.1
    done
    tail -n 5 "$folder"/*.log >&2
    stop
    echo "Slurm did not become idle" >&2
    return 1
}

stop() {
    # A job outlives its daemons, so jobs go first.
    timeout 5 scancel --full --signal=KILL --partition=main 2>/dev/null || true
    timeout 5 scancel --partition=main 2>/dev/null || true
    for _ in $(seq 50); do
        [ -z "$(timeout 3 squeue -h 2>/dev/null)" ] && break
        sleep 0.1
    done
    for name in slurmd slurmctld munged; do
        [ -f "$folder/$name.pid" ] || continue
        pid=$(cat "$folder/$name.pid")
        kill "$pid" 2>/dev/null || continue
        for _ in $(seq 100); do
            kill -0 "$pid" 2>/dev/null || break
            sleep 0.1
        done
    done
}

command=${1:-}
folder=${2:-}
port=${3:-}
export SLURM_CONF="$folder/slurm.conf"
case "$command" in
install | start | stop) "$command" ;;
*) sed -n 's/^#   //p' "$0" >&2 && exit 2 ;;
esac
