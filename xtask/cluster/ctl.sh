#!/bin/bash
# ctl.sh start NAME | kill NAME [SIGNAL, default KILL] | list | exec I COMMAND... (in node I)
# NAME: etcd apiserver kcm scheduler dns metrics, and for node I: node<I> (network, namespaces), containerd<I> kubelet<I> proxy<I>
# Killing node<I> is a power cut: every process of the node ends at once. Killing and starting the others again is a crash and restart.
set -eE; trap 'echo "${0##*/}: failed, line $LINENO" >&2' ERR; . "$(dirname "$0")/env.sh"; name=$2 i=${2//[^0-9]/}
start_node() {
  mkdir -p $RUN/node$i; rm -rf $RUN/node$i/ready $RUN/node$i/run; rm_cgroups $i; mk_cgroups $i
  up_wrapped node$i unshare --net --mount --propagation slave --uts --pid --fork --kill-child --mount-proc bash $KIT/node/init.sh $i
  waitfor pid node$i; ip link del k8s-node$i 2>/dev/null || true   # of a node just lost, if the kernel still has it
  ip link add k8s-node$i type veth peer name eth0 netns $(pid node$i); ip link set k8s-node$i master $BRIDGE up
  ip route replace $POD_NET.$i.0/24 via $NET.1$i; waitfor [ -e $RUN/node$i/ready ]
}
in_ns() { local n=$1; shift; up_wrapped $n nsenter -t $(pid node$i) -m -n -p -u -- "$@"; }
case $1 in
exec) shift; in_node "$@"; exit;;
kill) p=$(pid $name) || { echo "$name does not run" >&2; exit 1; }; kill -${3:-KILL} $p; exit;;
list) for n in $(ls $RUN/pid); do echo "$n: $(pid $n || echo ended)"; done; exit;;
esac
case $name in
etcd) up etcd etcd --name=e --data-dir=$RUN/etcd --unsafe-no-fsync --log-level=warn --listen-client-urls=http://127.0.0.1:23790 --advertise-client-urls=http://127.0.0.1:23790 \
  --listen-peer-urls=http://127.0.0.1:23800 --initial-advertise-peer-urls=http://127.0.0.1:23800 --initial-cluster=e=http://127.0.0.1:23800;;
apiserver) up apiserver kube-apiserver --etcd-servers=http://127.0.0.1:23790 --bind-address=$HOST_IP --secure-port=6443 --advertise-address=$HOST_IP \
  --tls-cert-file=$PKI/apiserver.crt --tls-private-key-file=$PKI/apiserver.key --client-ca-file=$PKI/ca.crt --token-auth-file=$PKI/tokens.csv \
  --authorization-mode=Node,RBAC --enable-admission-plugins=NodeRestriction --service-cluster-ip-range=$SVC_CIDR --allow-privileged=true --cert-dir=$RUN/apiserver \
  --service-account-issuer=https://kubernetes.default.svc --service-account-key-file=$PKI/sa.pub --service-account-signing-key-file=$PKI/sa.key \
  --kubelet-client-certificate=$PKI/kubelet-client.crt --kubelet-client-key=$PKI/kubelet-client.key --kubelet-certificate-authority=$PKI/ca.crt \
  --kubelet-preferred-address-types=InternalIP --requestheader-client-ca-file=$PKI/ca.crt --requestheader-username-headers=X-Remote-User --requestheader-group-headers=X-Remote-Group \
  --requestheader-extra-headers-prefix=X-Remote-Extra- --proxy-client-cert-file=$PKI/front-proxy.crt --proxy-client-key-file=$PKI/front-proxy.key \
  --enable-aggregator-routing=true --default-not-ready-toleration-seconds=5 --default-unreachable-toleration-seconds=5 $APISERVER_EXTRA;;
kcm) up kcm kube-controller-manager --kubeconfig=$RUN/kcm.kubeconfig --service-account-private-key-file=$PKI/sa.key --root-ca-file=$PKI/ca.crt --use-service-account-credentials=true \
  --leader-elect=false --allocate-node-cidrs=false --bind-address=127.0.0.1 --cert-dir=$RUN/kcm --node-monitor-period=1s --node-monitor-grace-period=10s \
  --horizontal-pod-autoscaler-sync-period=3s --horizontal-pod-autoscaler-cpu-initialization-period=5s --horizontal-pod-autoscaler-initial-readiness-delay=1s --kube-api-qps=200 --kube-api-burst=400 $KCM_EXTRA;;
scheduler) up scheduler kube-scheduler --kubeconfig=$RUN/scheduler.kubeconfig --leader-elect=false --bind-address=127.0.0.1 --cert-dir=$RUN/scheduler;;
dns) up dns env HOST_IP=$HOST_IP KUBECONFIG=$RUN/admin.kubeconfig coredns -conf $KIT/Corefile;;
metrics) up metrics metrics-server --kubeconfig=$RUN/admin.kubeconfig --authentication-kubeconfig=$RUN/admin.kubeconfig --authorization-kubeconfig=$RUN/admin.kubeconfig \
  --bind-address=$HOST_IP --secure-port=4443 --tls-cert-file=$PKI/metrics.crt --tls-private-key-file=$PKI/metrics.key --kubelet-certificate-authority=$PKI/ca.crt \
  --kubelet-preferred-address-types=InternalIP --metric-resolution=10s --kubelet-request-timeout=5s
  sed "s#HOST_IP#$HOST_IP#; s#CA_BUNDLE#$(base64 -w0 $PKI/ca.crt)#" $KIT/metrics.yaml | kubectl apply --server-side -f - > /dev/null;;
node[1-9]) start_node;;
containerd?) in_ns $name containerd -c $KIT/node/containerd.toml; waitfor in_node $i ctr version
  in_node $i ctr -n k8s.io images import $IMG/test.tar > /dev/null;;
kubelet?) in_ns $name kubelet --config=$KIT/node/kubelet.yaml --kubeconfig=$RUN/node$i.kubeconfig --hostname-override=node$i --node-ip=$NET.1$i --cgroup-root=/k8s-node$i --cluster-dns=$HOST_IP --cluster-domain=cluster.local;;
proxy?) in_ns $name kube-proxy --kubeconfig=$RUN/proxy.kubeconfig --hostname-override=node$i --proxy-mode=iptables --cluster-cidr=$POD_CIDR \
  --conntrack-max-per-core=0 --conntrack-tcp-timeout-established=0 --conntrack-tcp-timeout-close-wait=0 --oom-score-adj=0;;   # 0: leave alone, the host's alone to set
*) echo "no component $name" >&2; exit 2;;
esac
