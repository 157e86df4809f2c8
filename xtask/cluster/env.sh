# all settings and the helpers every script uses; source it. K8S_ROOT: where everything that is built or written at run time goes.
KIT=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
export K8S_ROOT=${K8S_ROOT:-$KIT/../../target/cluster}
BIN=$K8S_ROOT/bin IMG=$K8S_ROOT/img RUN=$K8S_ROOT/run LOG=$K8S_ROOT/log PKI=$K8S_ROOT/run/pki
BRIDGE=k8s0 NET=10.99.0 HOST_IP=10.99.0.1    # the node network: this machine's end, and $NET.1<i> for node i (1 to 9)
POD_NET=10.88 POD_CIDR=10.88.0.0/16          # node i: 10.88.<i>.0/24
SVC_CIDR=10.96.0.0/16 API=https://$HOST_IP:6443
export PATH=$BIN:$PATH:/usr/sbin:/sbin KUBECONFIG=$RUN/admin.kubeconfig KUBECACHEDIR=$RUN/kubectl

# up NAME COMMAND...: in the background, in a session of its own, output to $LOG/NAME.log, process id to $RUN/pid/NAME
up() { local n=$1; shift; mkdir -p $LOG $RUN/pid; setsid "$@" >> $LOG/$n.log 2>&1 < /dev/null & echo "$! $WRAPPED" > $RUN/pid/$n; }
# up_wrapped: the same where COMMAND (unshare, nsenter) forks and the process that counts is its child
up_wrapped() { WRAPPED=yes up "$@"; }
# pid NAME: that process if it still runs; a process of ours has K8S_ROOT in its environment (an old file's number may be another's by now)
pid() { local p w; [ -f $RUN/pid/$1 ] && read -r p w < $RUN/pid/$1 || return 1; grep -zqx "K8S_ROOT=$K8S_ROOT" /proc/$p/environ 2>/dev/null || return 1
  if [ -n "$w" ]; then p=$(ps -o pid= --ppid $p) && p=${p//[^0-9]/}; fi; [ -n "$p" ] && echo $p; }
waitfor() { local i; for i in $(seq 600); do "$@" >/dev/null 2>&1 && return 0; sleep 0.1; done; echo "gave up: $*" >&2; return 1; }
in_node() { local p; p=$(pid node$1) || return 1; shift; nsenter -t $p -m -n -p -u -- "$@"; }  # in_node I COMMAND...
# the cgroups of node I: one directory for each cgroup v1 controller; on a cgroup v2 machine (not tried) the one at the top
mk_cgroups() { local r; for r in /sys/fs/cgroup/*/tasks /sys/fs/cgroup/cgroup.controllers; do [ ! -e $r ] || mkdir -p ${r%/*}/k8s-node$1; done; }
# They outlive the processes (also in "unified", where runc mirrors them), and a kubelet that finds old ones is Ready only 3 s a container later.
rm_cgroups() { local t d; for t in $(seq 30); do d=$(ls -d /sys/fs/cgroup/k8s-node$1 /sys/fs/cgroup/*/k8s-node$1 2>/dev/null || true); [ -n "$d" ] || return 0
  find $d -depth -type d -exec rmdir {} + 2>/dev/null || true; sleep 0.1; done; echo "left: $d" >&2; }
