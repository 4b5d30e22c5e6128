package cluster

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"gopkg.in/yaml.v3"

	"holdfast/internal/cluster/kubeapi"
	"holdfast/internal/cluster/pki"
)

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestANetworkIsTakenThatNobodyKnows(t *testing.T) {
	taken := []netip.Prefix{netip.MustParsePrefix("10.89.0.0/23"), netip.MustParsePrefix("10.89.2.77/32"), netip.MustParsePrefix("192.168.0.0/16")}
	got, err := free(subnets, taken)
	if want := netip.MustParsePrefix("10.89.3.0/24"); got != want || err != nil {
		t.Errorf("got %v, %v, want %v", got, err, want)
	}
	if _, err := free(subnets, []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}); !errors.Is(err, errNoNetwork) {
		t.Errorf("got %v, want errNoNetwork", err)
	}
	if len(subnets) != 256 || len(pods) != 4 || len(services) != 8 || pods[3].String() != "10.247.0.0/16" || services[7].String() != "10.103.0.0/16" {
		t.Errorf("got %d subnets, pods %v, services %v", len(subnets), pods, services)
	}
}

func newPair(t *testing.T, dir string) (pki.Keys, pki.Pair) {
	t.Helper()
	keys, err := pki.Open(dir, time.Now())
	check(t, err)
	p, err := keys.Cluster.Issue(pki.Subject{Name: "holdfast:admin", Groups: []string{"holdfast:cluster-admins"}}, time.Now(), time.Hour)
	check(t, err)
	return keys, p
}

const foreign = `# mine
apiVersion: v1
kind: Config
clusters:
- name: work
  cluster: {server: https://work.example, certificate-authority-data: YQ==} # of the firm
contexts:
- name: work
  context: {cluster: work, user: me, namespace: team}
current-context: work
users:
- name: me
  user: {exec: {command: login, apiVersion: client.authentication.k8s.io/v1}}
extensions:
- {name: x, extension: {a: 1}}
`

func TestAKubeconfigOfOthersIsKeptWhenOursComesAndGoes(t *testing.T) {
	keys, p := newPair(t, t.TempDir())
	own, err := kubeconfig(contextName("lab"), "https://10.89.0.2:6443", keys.Cluster.PEM, inline(p))
	check(t, err)
	path := filepath.Join(t.TempDir(), "kube", "config")
	check(t, edit(path, func(old []byte) ([]byte, error) { return merge(old, own) })) // from nothing
	check(t, os.WriteFile(path, []byte(foreign), 0o600))
	for range 2 {
		check(t, edit(path, func(old []byte) ([]byte, error) { return merge(old, own) }))
	}
	with, err := os.ReadFile(path)
	check(t, err)
	for _, want := range []string{"# mine", "# of the firm", "https://work.example", "namespace: team", "command: login", "extensions:", "current-context: holdfast-lab"} {
		if !strings.Contains(string(with), want) {
			t.Errorf("no %q in\n%s", want, with)
		}
	}
	if n := strings.Count(string(with), "name: holdfast-lab"); n != 3 {
		t.Errorf("it is there %d times, want once in each list", n)
	}
	check(t, edit(path, func(old []byte) ([]byte, error) { return unmerge(old, contextName("lab")) }))
	without, err := os.ReadFile(path)
	check(t, err)
	var got, want map[string]any
	check(t, yaml.Unmarshal(without, &got))
	check(t, yaml.Unmarshal([]byte(foreign), &want))
	if len(got) != len(want) || strings.Contains(string(without), "holdfast") || got["current-context"] != "" {
		t.Errorf("got\n%s", without)
	}
	if info, _ := os.Stat(path); info.Mode().Perm() != 0o600 {
		t.Errorf("got mode %o", info.Mode().Perm())
	}
	if left, _ := os.ReadDir(filepath.Dir(path)); len(left) != 1 {
		t.Errorf("got %v beside it", left)
	}
}

func TestWhatIsNoKubeconfigIsLeftAsItIs(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config")
	for _, bad := range []string{"- a\n- b\n", "a: [", "just words"} {
		check(t, os.WriteFile(path, []byte(bad), 0o600))
		if err := edit(path, func(old []byte) ([]byte, error) { return merge(old, []byte(foreign)) }); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%q: got %v", bad, err)
		}
		if got, _ := os.ReadFile(path); string(got) != bad {
			t.Errorf("it was changed to %q", got)
		}
	}
}

func TestKeysAreMadeOnceAndVouchForTheirOwn(t *testing.T) {
	dir := t.TempDir()
	first, p := newPair(t, dir)
	second, err := pki.Open(dir, time.Now())
	check(t, err)
	if !first.Cluster.Cert.Equal(second.Cluster.Cert) || !first.Accounts.Equal(second.Accounts) {
		t.Error("the second time gives other keys")
	}
	block, _ := pem.Decode(p.Cert)
	cert, err := x509.ParseCertificate(block.Bytes)
	check(t, err)
	for ca, ok := range map[*pki.Authority]bool{first.Cluster: true, first.Etcd: false, first.FrontProxy: false} {
		roots := x509.NewCertPool()
		roots.AddCert(ca.Cert)
		_, err := cert.Verify(x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
		if (err == nil) != ok {
			t.Errorf("%s: got %v, want it to vouch: %v", ca.Cert.Subject.CommonName, err, ok)
		}
	}
	keys, err := filepath.Glob(filepath.Join(dir, "*.key"))
	check(t, err)
	for _, key := range keys {
		if info, _ := os.Stat(key); info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %o", key, info.Mode().Perm())
		}
	}
	doc, err := kubeconfig("a", "https://10.89.0.2:6443", first.Cluster.PEM, inline(p))
	check(t, err)
	c, err := kubeapi.ParseKubeconfig(doc)
	if err != nil || c.URL != "https://10.89.0.2:6443" || string(c.CA) != string(first.Cluster.PEM) || string(c.Key) != string(p.Key) {
		t.Errorf("got %+v, %v", c, err)
	}
}

// What is in a file is renewed there; a kubelet asks for a certificate of its own at once
// only when that which it has is in none.
func TestOnlyAKubeletsLoginIsInNoFile(t *testing.T) {
	_, p := newPair(t, t.TempDir())
	for name := range users(Node{Index: 1}) {
		out := files{}
		who := out.login(name, p)
		if isFile := len(out) == 2 && who["client-certificate"] == pkiIn+name+".crt" && who["client-key-data"] == ""; isFile == (name == "kubelet") {
			t.Errorf("%s: got %d files, %v", name, len(out), slices.Sorted(maps.Keys(who)))
		}
	}
}

func TestNamesThatCannotBeAreRefused(t *testing.T) {
	for _, name := range []string{"", "-a", "a-", "A", "a b", "../a", ".gone-x", "a.b", strings.Repeat("a", 33)} {
		if CheckName(name) == nil {
			t.Errorf("%q passes", name)
		}
	}
	check(t, CheckName("lab-2"))
}

func TestAClusterIsNotTakenForOneThatCanMore(t *testing.T) {
	plain, all := Extras{}, Extras{Confidential: true, GVisor: true}
	for _, c := range []struct {
		is, wanted Extras
		err        error
	}{
		{plain, plain, nil}, {all, plain, nil}, {all, all, nil},
		{plain, Extras{Confidential: true}, ErrPlain}, {Extras{Confidential: true}, Extras{GVisor: true}, ErrNoGVisor},
	} {
		if err := c.is.cover(c.wanted); !errors.Is(err, c.err) {
			t.Errorf("%+v for %+v: got %v, want %v", c.is, c.wanted, err, c.err)
		}
	}
}

func TestAPartThatIsNotReadyInTimeSaysWhatItAnswered(t *testing.T) {
	f, answer := &Fleet{}, errors.New("not yet")
	err := f.await(t.Context(), &Spec{patience: 20 * time.Millisecond}, nil, func(context.Context) error { return answer })
	var slow *SlowError
	if !errors.As(err, &slow) || slow.After != 20*time.Millisecond || !errors.Is(err, answer) {
		t.Errorf("got %v", err)
	}
	err = f.await(t.Context(), &Spec{patience: time.Millisecond}, nil, func(ctx context.Context) error { <-ctx.Done(); return answer })
	if !errors.As(err, &slow) || !errors.Is(err, answer) {
		t.Errorf("who took longer than that to answer: got %v", err)
	}
}

// A server that has just begun is asked again, one that says what is wrong is not.
func TestWhatIsTurnedAwayForAMomentIsAskedAgain(t *testing.T) {
	for name, c := range map[string]struct {
		err   error // of the first two answers
		asked int
		fails bool
	}{
		"starting":  {&kubeapi.StatusError{Code: 503}, 3, false},
		"not ready": {&kubeapi.StatusError{Code: 403}, 3, false},
		"reset":     {errors.New("connection reset by peer"), 3, false},
		"wrong":     {fmt.Errorf("PATCH: %w", &kubeapi.StatusError{Code: 422}), 1, true},
	} {
		asked := 0
		err := (&Fleet{}).insist(t.Context(), &Spec{}, nil, func(context.Context) error {
			if asked++; asked < 3 {
				return c.err
			}
			return nil
		})
		if asked != c.asked || c.fails != errors.Is(err, c.err) || !c.fails && err != nil {
			t.Errorf("%s: got %v after asking %d times, want %d", name, err, asked, c.asked)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	err := (&Fleet{}).insist(ctx, &Spec{}, nil, func(context.Context) error { cancel(); return &kubeapi.StatusError{Code: 503} })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted: got %v", err)
	}
}
