package kube

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"holdfast/test/port"
)

// start runs a program until the test ends; its log is shown when that failed.
func start(t *testing.T, name string, args ...string) {
	t.Helper()
	log, err := os.Create(filepath.Join(t.TempDir(), "log"))
	check(t, err)
	cmd := exec.Command(name, args...)
	cmd.Stdout, cmd.Stderr = log, log
	check(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		killer := time.AfterFunc(10*time.Second, func() { _ = cmd.Process.Kill() })
		_ = cmd.Wait()
		killer.Stop()
		if said, err := os.ReadFile(log.Name()); t.Failed() && err == nil {
			t.Logf("%s:\n%s", args[0], said[max(0, len(said)-4000):])
		}
	})
}

// accountKey is what tokens of service accounts are signed with.
func accountKey(t *testing.T) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(t, err)
	der, err := x509.MarshalECPrivateKey(key)
	check(t, err)
	path := filepath.Join(t.TempDir(), "accounts.key")
	check(t, os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}), 0o600))
	return path
}

func TestAPIServerIsReadyOverItsEtcd(t *testing.T) {
	kube, dir := programs(t).Path("kube"), t.TempDir()
	client, peer, secure := "http://"+port.Address(t), "http://"+port.Address(t), strconv.Itoa(port.Free(t))
	start(t, kube, "etcd", "--data-dir", filepath.Join(dir, "etcd"), "--listen-client-urls", client, "--advertise-client-urls", client,
		"--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", "default="+peer)
	tokens, key := filepath.Join(dir, "tokens"), accountKey(t)
	check(t, os.WriteFile(tokens, []byte("hush,admin,1,system:masters\n"), 0o600))
	begun := time.Now()
	start(t, kube, "apiserver", "--etcd-servers", client, "--bind-address", "127.0.0.1", "--secure-port", secure, "--cert-dir", dir,
		"--service-account-issuer", "https://test", "--service-account-key-file", key, "--service-account-signing-key-file", key,
		"--service-cluster-ip-range", "10.96.0.0/16", "--token-auth-file", tokens, "--authorization-mode", "RBAC")
	kubectl := func(args ...string) (string, error) {
		words := append([]string{"kubectl", "--kubeconfig", "/dev/null", "--server", "https://127.0.0.1:" + secure, "--insecure-skip-tls-verify", "--token", "hush"}, args...)
		out, err := exec.CommandContext(t.Context(), kube, words...).CombinedOutput()
		return string(out), err
	}
	for {
		out, err := kubectl("get", "--raw", "/readyz")
		if err == nil && out == "ok" {
			break
		}
		if time.Since(begun) > 2*time.Minute {
			t.Fatalf("readyz after 2 minutes: got %v, %s, want ok", err, out)
		}
		time.Sleep(200 * time.Millisecond)
	}
	t.Logf("ready %v after its start", time.Since(begun).Round(100*time.Millisecond))
	var version struct {
		ClientVersion, ServerVersion struct{ GitVersion, Minor string }
	}
	out, err := kubectl("version", "-o", "json")
	check(t, err)
	check(t, json.Unmarshal([]byte(out), &version))
	if version.ServerVersion != version.ClientVersion || version.ServerVersion.Minor != "36" || !strings.HasPrefix(version.ServerVersion.GitVersion, "v1.36.") {
		t.Errorf("got %+v, want the same 1.36 of both", version)
	}
}
