package story

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-tpm/tpm2"

	"holdfast/internal/api"
	"holdfast/internal/attest/kbc"
	"holdfast/internal/attest/tpm"
	"holdfast/internal/keys"
	"holdfast/internal/sign"
	"holdfast/internal/swtpm"
	"holdfast/test/port"
)

const (
	secret        = "canary-of-a-value"
	configuration = "version = \"0.1.0\"\nalgorithm = \"sha256\"\n\n[data]\n\"holdfast.json\" = '{}'\n"
	refuseAll     = "package policy\n\ndefault allow := false\n"
)

// A house is an installation in a folder, whose broker a process of its own
// serves while others change it, and a software TPM that asks it.
type house struct {
	testing.TB
	dir, url string
	machine  *tpm.Attester
}

func newHouse(t testing.TB) *house {
	if err := swtpm.Installed(); err != nil {
		t.Skipf("needs software TPMs (%v): apt-get install swtpm swtpm-tools, then go test ./test/story", err)
	}
	h := &house{TB: t, dir: t.TempDir()}
	h.holdfast("key", "init")
	chip := filepath.Join(h.dir, "chip")
	h.check(swtpm.Manufacture(t.Context(), swtpm.Config{Dir: chip, CADir: filepath.Join(h.state(), "tpm-ca")}))
	machine, err := swtpm.Open(t.Context(), chip)
	h.check(err)
	t.Cleanup(func() { _ = machine.Close() })
	h.trust(machine)
	h.machine = tpm.New(tpm.Config{TPM: machine})
	_, err = h.machine.MeasureInitData(t.Context(), []byte(configuration))
	h.check(err)
	t.Cleanup(func() { _ = h.machine.Close() })
	h.holdfast("broker", "set", "default/key/x", h.file("secret", []byte(secret)))
	h.holdfast("broker", "allow", digestOf(configuration), "--resource", "default/key/x")
	h.serve()
	return h
}

func digestOf(text string) string { return fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(text))) }

func (h *house) state() string { return filepath.Join(h.dir, "state") }

func (h *house) check(err error) {
	h.Helper()
	if err != nil {
		h.Fatal(err)
	}
}

func (h *house) file(name string, content []byte) string {
	h.Helper()
	path := filepath.Join(h.dir, name)
	h.check(os.WriteFile(path, content, 0o600))
	return path
}

func (h *house) command(args ...string) *exec.Cmd {
	c := exec.Command("holdfast", args...)
	c.Env = append(os.Environ(), "HOLDFAST_STATE="+h.state())
	return c
}

// holdfast runs a process to its end.
func (h *house) holdfast(args ...string) {
	h.Helper()
	if out, err := h.command(args...).CombinedOutput(); err != nil {
		h.Fatalf("holdfast %s: %v: %s", strings.Join(args, " "), err, out)
	}
}

// serve starts a process that lasts as long as the test.
func (h *house) serve() {
	broker := port.Address(h)
	c := h.command("serve", "--registry-listen", port.Address(h), "--broker-listen", broker)
	var said bytes.Buffer
	c.Stdout, c.Stderr = &said, &said
	h.check(c.Start())
	h.Cleanup(func() {
		_ = c.Process.Signal(syscall.SIGTERM)
		if err := c.Wait(); err != nil || h.Failed() {
			h.Errorf("holdfast serve: %v: %s", err, said.Bytes())
		}
	})
	h.url = "http://" + broker
	for end := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		if conn, err := net.Dial("tcp", broker); err == nil {
			h.check(conn.Close())
			return
		}
		if time.Now().After(end) {
			h.Fatal("nobody listens")
		}
	}
}

// trust makes what a TPM shows from now on an image called guest.
func (h *house) trust(machine *swtpm.TPM) {
	h.Helper()
	none := strings.Repeat("0", 64)
	values := api.ReferenceValues{Image: "guest", PCRs: map[string]string{"11": h.measure(machine, 11), "12": none, "13": none},
		Firmware: []api.FirmwareReference{{SecureBoot: true, PCRs: map[string]string{"4": h.measure(machine, 4), "7": h.measure(machine, 7)}}}}
	statement, err := sign.NewStatement(api.ReferenceType, values)
	h.check(err)
	ring, err := keys.Open(h.Context(), filepath.Join(h.state(), "keys"), time.Now())
	h.check(err)
	envelope, err := sign.Seal(statement, ring.Statements())
	h.check(err)
	raw, err := json.Marshal(envelope)
	h.check(err)
	h.holdfast("broker", "trust", h.file("reference.json", raw))
}

func (h *house) measure(machine *swtpm.TPM, n int) string {
	h.Helper()
	sum := sha256.Sum256(fmt.Append(nil, n))
	_, err := tpm2.PCRExtend{
		PCRHandle: tpm2.AuthHandle{Handle: tpm2.TPMHandle(n), Auth: tpm2.PasswordAuth(nil)},
		Digests:   tpm2.TPMLDigestValues{Digests: []tpm2.TPMTHA{{HashAlg: tpm2.TPMAlgSHA256, Digest: sum[:]}}},
	}.Execute(machine)
	h.check(err)
	value := sha256.Sum256(append(make([]byte, sha256.Size), sum[:]...))
	return hex.EncodeToString(value[:])
}

// client is a machine without a session yet.
func (h *house) client() *kbc.Client {
	h.Helper()
	c, err := kbc.New(kbc.Config{URL: h.url, HTTP: &http.Client{}, Attester: h.machine, InitData: []byte(configuration)})
	h.check(err)
	h.Cleanup(c.Close)
	return c
}

func (h *house) gets(c *kbc.Client, when string) {
	h.Helper()
	if value, err := c.Resource(h.Context(), "kbs:///default/key/x"); err != nil || string(value) != secret {
		h.Fatalf("%s: got %q, %v, want the key", when, value, err)
	}
}

func (h *house) isRefused(c *kbc.Client, when, reason string) {
	h.Helper()
	if value, err := c.Resource(h.Context(), "kbs:///default/key/x"); err == nil || !strings.Contains(err.Error(), reason) {
		h.Errorf("%s: got %q, %v, want it to say %q", when, value, err, reason)
	}
}

// What one process decides another one does a second later, for machines that
// have a session as for those that come.
func TestAChangeByTheCommandLineHoldsInAServedBrokerWithinASecond(t *testing.T) {
	h := newHouse(t)
	policy := h.file("refuse.rego", []byte(refuseAll))
	held := h.client()
	for _, change := range []struct {
		name, reason string
		make, undo   []string
	}{
		{"a revoked image", "its key leaked", []string{"revoke", "guest", "--reason", "its key leaked"}, []string{"revoke", "guest", "--lift"}},
		{"a changed policy", "policy resource.rego does not allow it", []string{"policy", "set", "resource", policy}, []string{"policy", "rollback", "resource", "0"}},
		{"a withdrawn configuration", "is not authorised", []string{"withdraw", digestOf(configuration)}, []string{"allow", digestOf(configuration), "--resource", "default/key/x"}},
	} {
		h.gets(held, "before "+change.name)
		h.holdfast(append([]string{"broker"}, change.make...)...)
		time.Sleep(time.Second)
		h.isRefused(held, change.name+", in a session", change.reason)
		h.isRefused(h.client(), change.name+", anew", change.reason)
		h.holdfast(append([]string{"broker"}, change.undo...)...)
		time.Sleep(time.Second)
		h.gets(h.client(), "after "+change.name)
	}
	h.holdfast("broker", "audit", "verify")
}
