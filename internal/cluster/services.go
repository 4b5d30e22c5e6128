package cluster

import (
	"path"
	"strconv"

	"holdfast/internal/api"
)

const (
	etc   = "/etc/kubernetes"
	pkiIn = etc + "/pki/"
	kube  = "/opt/holdfast/bin/kube"
)

// frugal has services keep half the garbage that Go would: what one node's cluster asks
// of them leaves time to collect it. docs/kubernetes-build.md has what it saves.
const frugal = "GOGC=50"

// services are what process 1 of a node keeps running.
func (s *Spec) services(n Node, c *Components, images []string) []api.Service {
	var all []api.Service
	var server []string // where it is on this node
	if n.Index == 1 {
		all, server = s.control(n), []string{"apiserver"}
	}
	if c.Pods != nil {
		all = append(all, snapshotter)
	}
	all = append(all,
		api.Service{Name: "rules", Once: true, Argv: []string{"/usr/sbin/nft", "-f", etc + "/rules.nft"}},
		api.Service{Name: "containerd", Notify: true, KeepChildren: true, Argv: []string{"/opt/holdfast/bin/containerd", "--config", etc + "/containerd.toml"}},
		api.Service{Name: "kubelet", After: append([]string{"containerd"}, server...), Argv: []string{kube, "kubelet",
			"--config=" + etc + "/kubelet.yaml", "--kubeconfig=" + etc + "/kubelet.conf", "--cert-dir=/var/lib/kubelet/pki",
			"--hostname-override=" + n.Name, "--node-ip=" + n.Address.String(), "--v=1"}},
		api.Service{Name: "agent", After: server, Argv: []string{"/opt/holdfast/bin/holdfast-agent", "--kubeconfig=" + etc + "/agent.conf", "--node=" + n.Name}},
		api.Service{Name: "proxy", After: server, Argv: []string{kube, "kube-proxy", "--config=" + etc + "/proxy.yaml"}},
	)
	for i := range all {
		all[i].Env = []string{frugal}
	}
	for _, image := range images {
		all = append(all, api.Service{Name: "image-" + path.Base(image), Once: true, After: []string{"containerd"}, Argv: []string{
			"/opt/holdfast/bin/ctr", "--namespace", "k8s.io", "images", "import", "--local", "--platform", "linux/amd64", path.Join("/opt/holdfast/images", image)}})
	}
	return all
}

// control is the control plane.
func (s *Spec) control(n Node) []api.Service {
	return []api.Service{
		{Name: "etcd", Notify: true, Argv: s.etcd(n)},
		{Name: "apiserver", Notify: true, After: []string{"etcd"}, Argv: s.apiserver(n)},
		{Name: "controller-manager", After: []string{"apiserver"}, Argv: []string{kube, "kube-controller-manager",
			"--kubeconfig=" + etc + "/controller-manager.conf",
			"--authentication-kubeconfig=" + etc + "/controller-manager.conf", "--authorization-kubeconfig=" + etc + "/controller-manager.conf",
			"--requestheader-client-ca-file=" + pkiIn + "front-proxy-ca.crt", "--client-ca-file=" + pkiIn + "ca.crt",
			"--bind-address=127.0.0.1", "--use-service-account-credentials=true", "--controllers=*",
			"--service-account-private-key-file=" + pkiIn + "accounts.key", "--root-ca-file=" + pkiIn + "ca.crt",
			"--cluster-signing-cert-file=" + pkiIn + "ca.crt", "--cluster-signing-key-file=" + pkiIn + "ca.key",
			"--allocate-node-cidrs=false", "--profiling=false", "--leader-elect=false"}},
		{Name: "scheduler", After: []string{"apiserver"}, Argv: []string{kube, "kube-scheduler",
			"--kubeconfig=" + etc + "/scheduler.conf",
			"--authentication-kubeconfig=" + etc + "/scheduler.conf", "--authorization-kubeconfig=" + etc + "/scheduler.conf",
			"--bind-address=127.0.0.1", "--profiling=false", "--leader-elect=false"}},
		{Name: "certificates", Argv: s.certificates()},
	}
}

// Where the first node has what it renews: the authorities, and a folder of certificates
// for each node.
const (
	authoritiesIn  = "/run/holdfast/authorities"
	certificatesIn = "/run/holdfast/certificates"
)

func (s *Spec) certificates() []string {
	argv := []string{"/usr/sbin/holdfast-node", api.CertifyWord, etc + "/approver.conf", etc + "/approver.json", authoritiesIn}
	for _, n := range s.Nodes {
		argv = append(argv, path.Join(certificatesIn, n.Name))
	}
	return argv
}

func (s *Spec) etcd(n Node) []string {
	return []string{kube, "etcd", "--name=" + n.Name, "--data-dir=/var/lib/etcd",
		"--listen-client-urls=https://127.0.0.1:2379", "--advertise-client-urls=https://127.0.0.1:2379",
		"--listen-peer-urls=https://127.0.0.1:2380", "--initial-advertise-peer-urls=https://127.0.0.1:2380",
		"--initial-cluster=" + n.Name + "=https://127.0.0.1:2380",
		"--client-cert-auth=true", "--trusted-ca-file=" + pkiIn + "etcd-ca.crt", "--cert-file=" + pkiIn + "etcd.crt", "--key-file=" + pkiIn + "etcd.key",
		"--peer-client-cert-auth=true", "--peer-trusted-ca-file=" + pkiIn + "etcd-ca.crt", "--peer-cert-file=" + pkiIn + "etcd.crt", "--peer-key-file=" + pkiIn + "etcd.key",
		"--auto-compaction-mode=periodic", "--auto-compaction-retention=1h", "--snapshot-count=10000", "--log-level=warn"}
}

func (s *Spec) apiserver(n Node) []string {
	return []string{kube, "kube-apiserver",
		"--advertise-address=" + n.Address.String(), "--secure-port=" + strconv.Itoa(apiPort),
		"--etcd-servers=https://127.0.0.1:2379", "--etcd-cafile=" + pkiIn + "etcd-ca.crt",
		"--etcd-certfile=" + pkiIn + "apiserver-etcd.crt", "--etcd-keyfile=" + pkiIn + "apiserver-etcd.key",
		"--client-ca-file=" + pkiIn + "ca.crt", "--tls-cert-file=" + pkiIn + "apiserver.crt", "--tls-private-key-file=" + pkiIn + "apiserver.key",
		"--kubelet-certificate-authority=" + pkiIn + "ca.crt",
		"--kubelet-client-certificate=" + pkiIn + "apiserver-kubelet.crt", "--kubelet-client-key=" + pkiIn + "apiserver-kubelet.key",
		"--kubelet-preferred-address-types=InternalIP",
		"--proxy-client-cert-file=" + pkiIn + "front-proxy.crt", "--proxy-client-key-file=" + pkiIn + "front-proxy.key",
		"--requestheader-client-ca-file=" + pkiIn + "front-proxy-ca.crt", "--requestheader-allowed-names=front-proxy-client",
		"--requestheader-username-headers=X-Remote-User", "--requestheader-group-headers=X-Remote-Group", "--requestheader-extra-headers-prefix=X-Remote-Extra-",
		"--service-account-issuer=https://kubernetes.default.svc.cluster.local",
		"--service-account-key-file=" + pkiIn + "accounts.key", "--service-account-signing-key-file=" + pkiIn + "accounts.key",
		"--service-cluster-ip-range=" + s.Services.String(),
		"--authorization-mode=Node,RBAC", "--anonymous-auth=false", "--enable-admission-plugins=NodeRestriction",
		"--admission-control-config-file=" + etc + "/admission.yaml", "--encryption-provider-config=" + etc + "/encryption.yaml",
		"--audit-policy-file=" + etc + "/audit.yaml", "--audit-log-path=/var/log/holdfast/audit.jsonl",
		"--audit-log-maxage=30", "--audit-log-maxbackup=4", "--audit-log-maxsize=64",
		"--profiling=false", "--allow-privileged=true"}
}
