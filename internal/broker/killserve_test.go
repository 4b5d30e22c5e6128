package broker

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"holdfast/internal/api"
	"holdfast/internal/attest"
	"holdfast/internal/broker/audit"
	"holdfast/internal/broker/state"
	"holdfast/internal/keys"
	"holdfast/internal/proof"
	"holdfast/internal/seal/sealtest"
)

// serverEnv makes this test binary a broker that is killed: see below.
const serverEnv = "BROKER_TEST_SERVE_FROM"

// provingFrom is the configuration of a broker that leaves proofs.
func provingFrom(ring *keys.Ring) func(*Config) {
	return func(c *Config) {
		c.TokenKey = ring.Pair(keys.Token).Key.(*ecdsa.PrivateKey)
		c.Proofs = &Proofs{Signer: ring.Releases(), TokenCertificate: ring.Pair(keys.Token).Certificate}
		c.VerifyReference = func(raw []byte) (*api.ReferenceValues, error) {
			return proof.OpenReference(raw, ring.RootPool(), time.Now())
		}
		free := Rate{Every: -1}
		c.Limits = Limits{Source: free, Device: free, Token: free}
	}
}

// serveForEver tells its address and serves, beside whoever has the folder too.
func serveForEver(dir string) {
	ctx := context.Background()
	ring, err := keys.Open(ctx, filepath.Join(dir, "keys"), time.Now())
	if err != nil {
		panic(err)
	}
	c := Config{Dir: filepath.Join(dir, "broker"), Verifiers: []attest.Verifier{fakeVerifier{}}}
	provingFrom(ring)(&c)
	if c.State, err = state.Open(ctx, state.Config{Dir: c.Dir, Sealer: sealtest.New()}); err != nil {
		panic(err)
	}
	b, err := New(c)
	if err != nil {
		panic(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	fmt.Println("http://" + l.Addr().String())
	panic(http.Serve(l, b))
}

// A client asks a broker that may die at any moment.
type client struct {
	*machine
	url string
}

func (c *client) do(method, path string, body, into any) error {
	raw, err := json.Marshal(body)
	if err != nil {
		return err
	}
	req, err := http.NewRequest(method, c.url+path, bytes.NewReader(raw))
	if err != nil {
		return err
	}
	if c.cookie != nil {
		req.AddCookie(c.cookie)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	for _, k := range resp.Cookies() {
		c.cookie = k
	}
	raw, err = io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%d %s", resp.StatusCode, raw)
	}
	if err != nil {
		return err
	}
	return json.Unmarshal(raw, into)
}

// release is one handshake and what it is for. It returns the session.
func (c *client) release() (string, error) {
	var challenge api.KBSChallenge
	var token api.KBSToken
	var value sealed
	err := c.do("POST", "/kbs/v0/auth", map[string]any{"version": "0.4.0", "tee": "tpm", "extra-params": map[string]any{"tpm-activation": map[string]any{}}}, &challenge)
	if c.nonce = challenge.Nonce; err == nil {
		err = c.do("POST", "/kbs/v0/attest", c.attestation(), &token)
	}
	if err == nil {
		err = c.do("GET", "/kbs/v0/resource/default/key/x", nil, &value)
	}
	if err != nil {
		return "", err
	}
	t, err := readToken(token.Token)
	if err == nil && value.Ciphertext == "" {
		err = errors.New("an answer without a value")
	}
	if err != nil {
		return "", err
	}
	return t.claims.Session, nil
}

// underLoad has clients ask until the broker is killed, and lists the sessions
// to whom a key was released.
func underLoad(t *testing.T, b *bench, dir string, enough int) (released []string) {
	cmd := exec.Command(os.Args[0])
	cmd.Env, cmd.Stderr = append(os.Environ(), serverEnv+"="+dir), os.Stderr
	out, err := cmd.StdoutPipe()
	check(t, err)
	check(t, cmd.Start())
	url, err := bufio.NewReader(out).ReadString('\n')
	check(t, err)
	var mu sync.Mutex
	var clients sync.WaitGroup
	for range 8 {
		clients.Go(func() {
			for {
				c := &client{machine: b.machine(), url: strings.TrimSpace(url)}
				session, err := c.release()
				if err != nil {
					return // it was killed
				}
				mu.Lock()
				if released = append(released, session); len(released) == enough {
					_ = cmd.Process.Kill() // in the midst of the others' requests
				}
				mu.Unlock()
			}
		})
	}
	clients.Wait()
	_ = cmd.Process.Kill()
	_ = cmd.Wait() // it was killed
	if len(released) < enough {
		t.Fatalf("%d keys were released, want %d before it is killed", len(released), enough)
	}
	return released
}

func TestNoKeyIsReleasedWithoutItsRecordWhenTheBrokerIsKilled(t *testing.T) {
	dir := t.TempDir()
	ring, err := keys.Init(t.Context(), filepath.Join(dir, "keys"), time.Now())
	check(t, err)
	b := newBench(t, func(c *Config) { provingFrom(ring)(c); c.Dir = filepath.Join(dir, "broker") })
	check(t, b.admin.Trust(t.Context(), signedReference(t, ring, guestValues)))
	check(t, b.admin.Allow(t.Context(), initDataDigest, []string{"default/key/x"}))
	check(t, b.admin.SetResource(t.Context(), "default/key/x", []byte("the key")))
	for round := range 3 {
		released := underLoad(t, b, dir, 20+7*round)
		proofs := map[string]string{}
		for _, e := range b.auditLog() {
			if e.Action == "get-resource" && e.Decision == api.AuditAllow {
				proofs[e.Session] = e.Proof
			}
		}
		for _, session := range released {
			id, recorded := proofs[session]
			if !recorded {
				t.Fatalf("session %s was given a key, and the log does not say so", session)
			}
			if _, err := b.state.Proof(t.Context(), id); err != nil {
				t.Fatalf("session %s was given a key, and its proof %q is not kept: %v", session, id, err)
			}
		}
		check(t, b.admin.SetResource(t.Context(), "default/after/kill", []byte("x"))) // nobody waits for the dead
		head, err := b.state.AuditHead(t.Context())
		check(t, err)
		files, err := audit.Files(b.cfg.Dir)
		check(t, err)
		if report, err := audit.Verify(files, &head, nil); err != nil || len(report.Problems) > 0 {
			t.Fatalf("got %+v, %v, want a log that is whole", report.Problems, err)
		}
		t.Logf("%d released", len(released))
	}
}

// A disk that is full takes no record, so nothing leaves; afterwards all goes on.
func TestAFullDiskUnderTheLogReleasesNothingAndSaysSo(t *testing.T) {
	ring, prove := proving(t)
	b := newBench(t, prove)
	m := released(t, b, ring)
	before := b.proofs()
	log := filepath.Join(b.cfg.Dir, AuditFile)
	check(t, os.Rename(log, log+".kept"))
	check(t, os.Symlink("/dev/full", log)) // which says ENOSPC to every write
	status, body := m.call("GET", "/kbs/v0/resource/default/key/x", nil)
	wantProblem(t, status, body, http.StatusInsufficientStorage, kindInternal, "no space left where the broker keeps its state")
	fresh := b.machine()
	fresh.auth()
	status, body = fresh.call("POST", "/kbs/v0/attest", fresh.attestation())
	wantProblem(t, status, body, http.StatusInsufficientStorage, kindInternal, "no space left")
	if fresh.token != "" || len(fresh.cookie.Value) == 32 {
		t.Error("a session was begun that no log knows")
	}
	if err := b.admin.SetResource(t.Context(), "default/key/x", []byte("another")); err == nil || !strings.Contains(err.Error(), "no space left") {
		t.Errorf("a change: got %v, want that there is no space", err)
	}
	check(t, os.Remove(log))
	check(t, os.Rename(log+".kept", log))
	m.fetch()
	if got := b.proofs(); len(got) != len(before)+1 {
		t.Errorf("got %d proofs, want %d: what did not happen is not proved", len(got), len(before)+1)
	}
}
