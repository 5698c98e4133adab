#!/usr/bin/env bash
# Three hosts of a small network on this machine: each a network namespace with an address, a name and an sshd of its own,
# and a fourth, "front", for whoever starts training. All share this machine's files, as over a shared disk. Nothing of it
# can be reached from outside, nor reaches out.
#
#   hosts.sh install                 installs what is missing (77: not possible here, tests are to be skipped)
#   hosts.sh up|down STATE           STATE is an empty folder for keys, sockets and logs
#   hosts.sh run STATE HOST CMD...   runs a command on a host, or on "front"
#   hosts.sh pids STATE HOST         lists the processes of a host that are not part of the host itself
#   hosts.sh cut|join STATE HOST     takes the host's cable out, or puts it back
#   hosts.sh slurm STATE             also starts Slurm on them; `run STATE front srun ...` uses it
set -euo pipefail

HOSTS="worker-1 worker-2 worker-3"
say() { printf '%s\n' "$*"; }
have() { command -v "$1" >/dev/null 2>&1; }
skip() { printf 'skip: %s\n' "$*" >&2; exit 77; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }

address() { case $1 in front) say 10.97.0.100 ;; *) say "10.97.0.${1##*-}" ;; esac }
# Names of namespaces are the machine's: several of these networks may be up.
space() { say "$(cat "$STATE/tag")-$1"; }
# A process of a host has its network, its name, and its own names of others; /sys stays, which Slurm looks into.
within() {
  local host=$1; shift
  exec nsenter --net="/run/netns/$(space "$host")" -- unshare --uts --mount -- sh -c '
    mount --bind "$0/hosts" /etc/hosts && mount --bind "$0/ssh_config" /etc/ssh/ssh_config && hostname "$1" && shift && exec "$@"
  ' "$STATE" "$host" "$@"
}

wait_for() { # SECONDS WHAT CMD...
  local what=$2 end=$((SECONDS + $1)); shift 2
  while [ "$SECONDS" -lt "$end" ]; do
    if timeout 10 "$@" >/dev/null 2>&1; then return; fi
    sleep 0.1
  done
  die "$what did not come up in time; see $STATE"
}

install() {
  [ "$(id -u)" = 0 ] || skip "network namespaces need root"
  [ "$(uname -s)" = Linux ] || skip "network namespaces need Linux"
  . "$(dirname "${BASH_SOURCE[0]}")/../packages.sh"
  ensure_packages "
/usr/sbin/sshd                      openssh-server
/usr/bin/ssh                        openssh-client
/usr/bin/pdsh                       pdsh
/usr/bin/mpirun                     openmpi-bin
/usr/sbin/slurmctld                 slurmctld
/usr/sbin/slurmd                    slurmd
/usr/bin/srun                       slurm-client
/usr/sbin/munged                    munge
/usr/bin/nsenter                    util-linux
/usr/sbin/ip|/sbin/ip|/bin/ip       iproute2
/usr/bin/python3                    python3-minimal
"
  ip netns add dsh-probe 2>/dev/null || skip "this machine lets nobody make network namespaces"
  ip netns del dsh-probe
}

up() {
  mkdir -p "$STATE"
  say "dsh$$" >"$STATE/tag"
  local tag host inside keys
  tag=$(cat "$STATE/tag")
  ssh-keygen -q -t ed25519 -N '' -f "$STATE/key"
  ip netns add "$tag-net"
  ip -n "$tag-net" link add bridge type bridge
  ip -n "$tag-net" link set bridge up
  mkdir -p /run/sshd
  etc
  for host in front $HOSTS; do
    inside=$(space "$host")
    ip netns add "$inside"
    ip -n "$inside" link add eth0 type veth peer name "$host" netns "$tag-net"
    ip -n "$tag-net" link set "$host" master bridge up
    ip -n "$inside" link set lo up
    ip -n "$inside" addr add "$(address "$host")/24" dev eth0
    ip -n "$inside" link set eth0 up
  done

  for host in $HOSTS; do
    ssh-keygen -q -t ed25519 -N '' -f "$STATE/$host.key"
    say "$host,$(address "$host") $(cat "$STATE/$host.key.pub")" >>"$STATE/known_hosts"
    cat >"$STATE/$host.conf" <<CONF
Port 22
ListenAddress $(address "$host")
HostKey $STATE/$host.key
AuthorizedKeysFile $STATE/key.pub
StrictModes no
UsePAM no
PermitRootLogin yes
PidFile none
SetEnv PATH=$PATH
CONF
    within "$host" /usr/sbin/sshd -D -e -f "$STATE/$host.conf" </dev/null >"$STATE/$host.log" 2>&1 &
    echo $! >"$STATE/$host.pid"
  done

  for host in $HOSTS; do
    wait_for 30 "sshd of $host" "$0" run "$STATE" front ssh -o BatchMode=yes "$host" true
  done
  remember
}

# What /etc has other than this machine's: names, and how ssh logs in.
etc() {
  local name
  { say "127.0.0.1 localhost"; for name in front $HOSTS; do say "$(address "$name") $name"; done; } >"$STATE/hosts"
  cat >"$STATE/ssh_config" <<CONF
Host *
  User root
  IdentityFile $STATE/key
  IdentitiesOnly yes
  UserKnownHostsFile $STATE/known_hosts
CONF
}

slurm() {
  mkdir -p "$STATE/slurm/state"
  local host
  cat >"$STATE/slurm/slurm.conf" <<CONF
ClusterName=hosts
SlurmctldHost=front($(address front))
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$STATE/slurm/munge.socket
CredType=cred/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/linear
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
SlurmdParameters=config_overrides
StateSaveLocation=$STATE/slurm/state
SlurmdSpoolDir=$STATE/slurm/spool-%n
SlurmctldPidFile=$STATE/slurm/ctld.pid
SlurmdPidFile=$STATE/slurm/%n.pid
SlurmctldLogFile=$STATE/slurm/ctld.log
SlurmdLogFile=$STATE/slurm/%n.log
KillWait=30
$(for host in $HOSTS; do say "NodeName=$host NodeAddr=$(address "$host") CPUs=2"; done)
PartitionName=all Nodes=ALL Default=YES OverSubscribe=FORCE:8 State=UP
CONF
  head -c 1024 /dev/urandom >"$STATE/slurm/munge.key"
  chmod 600 "$STATE/slurm/munge.key"
  within front munged --foreground --force --key-file "$STATE/slurm/munge.key" --socket "$STATE/slurm/munge.socket" \
    --pid-file "$STATE/slurm/munge.pid" --log-file "$STATE/slurm/munge.log" --seed-file "$STATE/slurm/munge.seed" \
    </dev/null >"$STATE/slurm/munged.out" 2>&1 &
  echo $! >"$STATE/munged.pid"
  wait_for 30 munged test -S "$STATE/slurm/munge.socket"
  export SLURM_CONF="$STATE/slurm/slurm.conf"
  within front slurmctld -D </dev/null >"$STATE/slurm/ctld.out" 2>&1 &
  echo $! >"$STATE/slurmctld.pid"
  for host in $HOSTS; do
    within "$host" slurmd -D -N "$host" </dev/null >"$STATE/slurm/$host.out" 2>&1 &
    echo $! >"$STATE/slurmd-$host.pid"
  done
  wait_for 60 Slurm sh -c "[ \"\$($0 run $STATE front sinfo -h -t idle -o %D)\" = 3 ]"
  remember
}

run() {
  local host=$1; shift
  [ ! -e "$STATE/slurm/slurm.conf" ] || export SLURM_CONF="$STATE/slurm/slurm.conf"
  # mpirun asks whether root really means it.
  export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
  within "$host" "$@"
}

# What belongs to the hosts themselves, children of their services included.
remember() { for host in front $HOSTS; do ip netns pids "$(space "$host")"; done >"$STATE/own.pid"; }

pids() {
  local own pid line
  own=" $(cat "$STATE"/*.pid "$STATE"/slurm/*.pid 2>/dev/null | tr '\n' ' ') "
  for pid in $(ip netns pids "$(space "$1")"); do
    case $own in *" $pid "*) continue ;; esac
    line=$(tr '\0' ' ' 2>/dev/null <"/proc/$pid/cmdline" | cut -c 1-200) || continue
    # An sshd session of a host that was cut off waits for its client until TCP gives up; nothing of the training is in it.
    case $line in '' | sshd:*) continue ;; esac
    say "$pid $line"
  done
}

down() {
  [ -e "$STATE/tag" ] || return 0
  local tag host pid
  tag=$(cat "$STATE/tag")
  for host in front $HOSTS; do
    for pid in $(ip netns pids "$tag-$host" 2>/dev/null); do kill -KILL "$pid" 2>/dev/null || true; done
    ip netns del "$tag-$host" 2>/dev/null || true
  done
  ip netns del "$tag-net" 2>/dev/null || true
}

command=${1:-}
case $command in
  install) install ;;
  up | down | slurm) STATE=$2; "$command" ;;
  pids | run) STATE=$2; shift 2; "$command" "$@" ;;
  cut) STATE=$2; ip -n "$(cat "$STATE/tag")-net" link set "$3" down ;;
  join) STATE=$2; ip -n "$(cat "$STATE/tag")-net" link set "$3" up ;;
  *) sed -n '2,/^set/p' "$0" | grep '^#' >&2; exit 64 ;;
esac
