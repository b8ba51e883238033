#!/bin/sh
# A private Slurm cluster of two nodes on this machine, for the tests. Needs root.
#
#   slurm.sh start FOLDER   start it with its files in FOLDER, and print the path of its slurm.conf:
#                           SLURM_CONF=<that path> sbatch ... uses it
#   slurm.sh stop FOLDER    cancel its jobs and end its daemons
#   slurm.sh kill FOLDER 2  end the daemon of node2 as a crash would
#   slurm.sh node FOLDER 2  start the daemon of node2 again
#
# No munge, no accounting, no control groups. A requeued job waits for cred_expire (5 seconds here,
# 120 by default) before it starts again.
set -eu

action=$1
folder=$2
export SLURM_CONF="$folder/slurm.conf"

free_port() {
    python3 -c "import socket; s = socket.socket(); s.bind(('', 0)); print(s.getsockname()[1])"
}

configure() {
    mkdir -p "$folder/state" "$folder/node1" "$folder/node2"
    host=$(hostname -s)
    slots=${SLURM_TEST_SLOTS:-2} # CPUs that a node claims to have
    cat > "$SLURM_CONF" <<END
ClusterName=test
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$(free_port)
SlurmUser=root
AuthType=auth/none
AuthInfo=cred_expire=5
CredType=cred/none
CryptoType=crypto/none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
MpiDefault=none
SwitchType=switch/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SlurmdParameters=config_overrides
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
ReturnToService=2
KillWait=60
MinJobAge=300
SlurmdTimeout=30
SchedulerParameters=bf_interval=1,sched_interval=2,batch_sched_delay=1
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/%n
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/%n.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/%n.log
NodeName=node1 NodeHostname=$host NodeAddr=127.0.0.1 Port=$(free_port) CPUs=$slots RealMemory=2000
NodeName=node2 NodeHostname=$host NodeAddr=127.0.0.1 Port=$(free_port) CPUs=$slots RealMemory=2000
PartitionName=low Nodes=ALL Default=YES MaxTime=INFINITE PriorityTier=1 GraceTime=60
PartitionName=high Nodes=ALL MaxTime=INFINITE PriorityTier=2
END
}

start_node() {
    slurmd -f "$SLURM_CONF" -N "node$1"
}

case $action in
start)
    configure
    slurmctld -f "$SLURM_CONF" -c
    start_node 1
    start_node 2
    for _ in $(seq 240); do
        [ "$(sinfo -h -N -p low -t idle -o %N 2>/dev/null | wc -l)" = 2 ] && break
        sleep 0.5
    done
    sinfo -h -N -p low -t idle -o %N | grep -q node2 || { tail "$folder"/*.log >&2; exit 1; }
    echo "$SLURM_CONF"
    ;;
stop)
    scancel -u "$(id -un)" --quiet 2>/dev/null || true
    for name in slurmctld node1 node2; do
        pid=$(cat "$folder/$name.pid" 2>/dev/null) || continue
        kill "$pid" 2>/dev/null || continue
        for _ in $(seq 40); do # it writes its state
            [ -f "$folder/$name.pid" ] || break
            sleep 0.25
        done
    done
    ;;
kill)
    kill -9 "$(cat "$folder/node$3.pid")"
    ;;
node)
    start_node "$3"
    ;;
esac
