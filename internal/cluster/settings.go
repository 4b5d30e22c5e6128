package cluster

import (
	"bytes"
	"crypto/rand"
	"embed"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"text/template"

	"holdfast/internal/atomicfile"
	"holdfast/internal/cluster/pki"
	"holdfast/internal/input"
)

//go:embed settings manifests
var texts embed.FS

// facts are what the texts are filled in with.
type facts struct {
	Node           Node
	Pods, Services netip.Prefix
	DNS            netip.Addr
	MTU            int
	Restricted     bool
	Confidential   *PodMachines
	GVisor         bool
	Pause, CoreDNS string
	Metrics        string // image of metrics-server
	CA, Cert, Key  string // in base64: whom the API server trusts to serve metrics, and what that has
}

func (f *Fleet) facts(s *Spec, n Node, c *Components) facts {
	return facts{Node: n, Pods: s.Pods, Services: s.Services, DNS: s.dns(), MTU: s.Network.MTU,
		Restricted: f.Restricted, Confidential: c.Pods, GVisor: s.GVisor, Pause: c.Pause, CoreDNS: c.CoreDNS, Metrics: c.Metrics}
}

// fill is the text called name with the facts in it.
func fill(name string, with facts) ([]byte, error) {
	t, err := template.New(filepath.Base(name)).Option("missingkey=error").ParseFS(texts, name)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	err = t.Execute(&b, with)
	return b.Bytes(), err
}

// A folder of files to write for a node. Keys are only their owner's to read, and
// so is all that is not said to be public.
type files map[string][]byte

func (f files) put(name string, p pki.Pair) {
	f["pki/"+name+".crt"], f["pki/"+name+".key"] = p.Cert, p.Key
}

// write makes dir hold these files. It is done before the node starts, so what
// is there already is replaced file by file.
func (f files) write(dir string) error {
	for name, content := range f {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return err
		}
		if err := atomicfile.WriteFile(path, content, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// runsc is what gVisor's shim reads: it looks for programs in folders of the host's
// own, where nodes have none.
const runsc = "binary_name = '/opt/holdfast/bin/runsc'\n"

// nodeFiles are all that is in a node's /etc/kubernetes.
func (f *Fleet) nodeFiles(s *Spec, n Node, keys pki.Keys, c *Components) (files, error) {
	out := files{"pki/ca.crt": keys.Cluster.PEM}
	with := f.facts(s, n, c)
	for name, text := range map[string]string{
		"kubelet.yaml": "settings/kubelet.yaml", "proxy.yaml": "settings/proxy.yaml", "containerd.toml": "settings/containerd.toml",
		"network/10-pods.conflist": "settings/network.conflist", "rules.nft": "settings/rules.nft",
	} {
		var err error
		if out[name], err = fill(text, with); err != nil {
			return nil, err
		}
	}
	if c.Pods != nil {
		out[podsFile] = c.Pods.Config
	}
	if s.GVisor {
		out["runsc.toml"] = []byte(runsc)
	}
	maps.Copy(out, f.registries(s))
	if n.Index == 1 {
		if err := f.controlFiles(out, s, keys); err != nil {
			return nil, err
		}
	}
	for name, user := range users(n) {
		p, err := keys.Cluster.Issue(user, f.Now(), pki.LeafLife)
		if err != nil {
			return nil, err
		}
		if out[name+".conf"], err = kubeconfig(s.Name, s.Server(), keys.Cluster.PEM, out.login(name, p)); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// login is how a component is known to the API: by files, which it reads again when they were
// renewed. A kubelet renews its own, and asks for the first as soon as it runs only where
// what it was given is in no file (client-go, util/certificate, BootstrapCertificatePEM).
func (f files) login(name string, p pki.Pair) login {
	if name == "kubelet" {
		return inline(p)
	}
	f.put(name, p)
	return login{"client-certificate": pkiIn + name + ".crt", "client-key": pkiIn + name + ".key"}
}

// users are those that a node's components speak to the API as.
func users(n Node) map[string]pki.Subject {
	all := map[string]pki.Subject{
		"kubelet": {Name: "system:node:" + n.Name, Groups: []string{"system:nodes"}}, // until it has one of its own
		"proxy":   {Name: "system:kube-proxy"},
		"agent":   {Name: "holdfast:agent:" + n.Name, Groups: []string{"holdfast:agents"}},
	}
	if n.Index == 1 {
		all["controller-manager"] = pki.Subject{Name: "system:kube-controller-manager"}
		all["scheduler"] = pki.Subject{Name: "system:kube-scheduler"}
		all["approver"] = pki.Subject{Name: "holdfast:approver"}
	}
	return all
}

// registries tell containerd where images are (containerd's hosts.md): those of our
// registry's names there alone, those of any other there first, as from a mirror. It is
// on the node's own loopback, from where it is carried to the host's.
func (f *Fleet) registries(s *Spec) files {
	url := fmt.Sprintf("http://127.0.0.1:%d", f.Registry.Port)
	mirror := fmt.Appendf(nil, "[host.%q]\ncapabilities = [\"pull\", \"resolve\"]\n", url)
	out := files{"registries/_default/hosts.toml": mirror}
	for _, name := range append(s.registryNames(), f.Registry.Names...) {
		out["registries/"+name+"/hosts.toml"] = fmt.Appendf(nil, "server = %q\n\n%s", url, mirror)
	}
	return out
}

// controlFiles are those of the control plane.
func (f *Fleet) controlFiles(out files, s *Spec, keys pki.Keys) error {
	for name, text := range map[string]string{"admission.yaml": "settings/admission.yaml", "audit.yaml": "settings/audit.yaml"} {
		raw, err := texts.ReadFile(text)
		if err != nil {
			return err
		}
		out[name] = raw
	}
	var err error
	if out["encryption.yaml"], err = f.encryption(s); err != nil {
		return err
	}
	loopback := netip.AddrFrom4([4]byte{127, 0, 0, 1})
	address := s.Control().Address
	type leaf struct {
		of *pki.Authority
		pki.Subject
	}
	for name, l := range map[string]leaf{
		"apiserver": {keys.Cluster, pki.Subject{Name: "kube-apiserver", IPs: []netip.Addr{address, loopback, nth(s.Services, 1)}, DNS: []string{
			"localhost", s.Control().Name, "kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"}}},
		"apiserver-kubelet": {keys.Cluster, pki.Subject{Name: "holdfast:apiserver"}},
		"front-proxy":       {keys.FrontProxy, pki.Subject{Name: "front-proxy-client"}},
		"etcd":              {keys.Etcd, pki.Subject{Name: s.Control().Name, DNS: []string{"localhost"}, IPs: []netip.Addr{loopback, address}}},
		"apiserver-etcd":    {keys.Etcd, pki.Subject{Name: "kube-apiserver"}},
	} {
		p, err := l.of.Issue(l.Subject, f.Now(), pki.LeafLife)
		if err != nil {
			return err
		}
		out.put(name, p)
	}
	out["pki/etcd-ca.crt"], out["pki/front-proxy-ca.crt"] = keys.Etcd.PEM, keys.FrontProxy.PEM
	for name, file := range map[string]string{"pki/ca.key": "ca.key", "pki/accounts.key": "accounts.key"} {
		if out[name], err = input.ReadFile(filepath.Join(f.pkiDir(s.Name), file), input.Key); err != nil {
			return err
		}
	}
	out["approver.json"], err = approverFile(s)
	return err
}

// approverFile says which addresses each node has.
func approverFile(s *Spec) ([]byte, error) {
	nodes := map[string][]netip.Addr{}
	for _, n := range s.Nodes {
		nodes[n.Name] = []netip.Addr{n.Address}
	}
	return json.Marshal(nodes)
}

// encryption is the configuration with the key that secrets are kept under at
// rest. The key is made once.
func (f *Fleet) encryption(s *Spec) ([]byte, error) {
	path := filepath.Join(f.pkiDir(s.Name), "secrets.key")
	key, err := input.ReadFile(path, input.Key)
	if errors.Is(err, fs.ErrNotExist) {
		key = make([]byte, 32)
		_, _ = rand.Read(key)
		err = atomicfile.WriteFile(path, key, 0o600)
	}
	if err != nil {
		return nil, err
	}
	return marshal(map[string]any{
		"apiVersion": "apiserver.config.k8s.io/v1", "kind": "EncryptionConfiguration",
		"resources": []any{map[string]any{
			"resources": []string{"secrets"},
			"providers": []any{
				map[string]any{"secretbox": map[string]any{"keys": []any{map[string]any{"name": "key1", "secret": base64.StdEncoding.EncodeToString(key)}}}},
				map[string]any{"identity": map[string]any{}},
			},
		}},
	})
}
