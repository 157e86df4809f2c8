#!/bin/bash
# First process of node $1, already in network, mount, pid and uts namespaces of its own (ctl.sh start node<i>).
# Everything a node writes by default paths lands under $RUN/node<i>, and all its mounts and processes end with this process.
set -e; . "$(dirname "$0")/../env.sh"; i=$1 N=$RUN/node$1
hostname node$i; mount --make-rshared /
mkdir -p $N/run/cni $N/run/pki $N/lib $N/log/pods $N/log/containers
mkdir -p $RUN/certs.d; ln -sfn $RUN/certs.d $N/run/certs.d
cp $PKI/ca.crt $PKI/kubelet.crt $PKI/kubelet.key $N/run/pki
cat > $N/run/cni/10-bridge.conflist <<Y
{"cniVersion": "0.4.0", "name": "k8s", "plugins": [
 {"type": "bridge", "bridge": "cni0", "isGateway": true, "hairpinMode": true,
  "ipam": {"type": "host-local", "ranges": [[{"subnet": "$POD_NET.$i.0/24"}]], "routes": [{"dst": "0.0.0.0/0"}]}},
 {"type": "portmap", "capabilities": {"portMappings": true}}]}
Y
mount --bind $N/lib /var/lib; mount --bind $N/log /var/log; mount --bind $N/run /run
sysctl -qw net.ipv4.ip_forward=1 net.bridge.bridge-nf-call-iptables=1   # of this network namespace
ip link set lo up; until ip link show eth0 >/dev/null 2>&1; do sleep 0.02; done   # comes from ctl.sh
ip addr add $NET.1$i/24 dev eth0; ip link set eth0 up
ip route add $SVC_CIDR via $HOST_IP        # never used as such (kube-proxy rewrites first), but without a route connect() fails before that
for j in 1 2 3 4 5 6 7 8 9; do [ $j = $i ] || ip route add $POD_NET.$j.0/24 via $NET.1$j; done
touch $N/ready; exec $BIN/app pause        # reaps the shims' zombies
