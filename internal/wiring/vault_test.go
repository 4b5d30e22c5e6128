package wiring

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-tpm/tpm2"

	"holdfast/internal/api"
	"holdfast/internal/attest/kbc"
	"holdfast/internal/attest/tpm"
	"holdfast/internal/broker/admin"
	"holdfast/internal/ca"
	"holdfast/internal/enc"
	"holdfast/internal/hsm"
	"holdfast/internal/hsm/hsmtest"
	"holdfast/internal/keys"
	"holdfast/internal/seal"
	"holdfast/internal/sign"
	"holdfast/internal/swtpm"
)

const zeroPCR = "0000000000000000000000000000000000000000000000000000000000000000"

const guestDocument = `version = "0.1.0"
algorithm = "sha256"

[data]
"holdfast.json" = '{}'
`

// A desk is an installation whose broker is served, with a software TPM that
// stands for a machine which booted what is trusted.
type desk struct {
	Installation
	t      *testing.T
	ring   *keys.Ring
	url    string
	admin  *admin.Client
	client *kbc.Client
}

func newDesk(t *testing.T, setup func(*testing.T, Installation), resources ...string) *desk {
	t.Helper()
	if err := swtpm.Installed(); err != nil {
		t.Skipf("needs software TPMs (%v): apt-get install swtpm swtpm-tools, then go test ./internal/wiring", err)
	}
	i, err := Open(t.TempDir())
	check(t, err)
	ring, err := i.Ring(t.Context())
	check(t, err)
	if setup != nil {
		setup(t, i)
	}
	chip := filepath.Join(i.Dir(), "chip")
	check(t, swtpm.Manufacture(t.Context(), swtpm.Config{Dir: chip, CADir: i.TPMAuthority()}))
	machine, err := swtpm.Open(t.Context(), chip)
	check(t, err)
	t.Cleanup(func() { _ = machine.Close() })
	d := &desk{Installation: i, t: t, ring: ring}
	d.serve()
	d.trust(machine, resources)
	attester := tpm.New(tpm.Config{TPM: machine})
	_, err = attester.MeasureInitData(t.Context(), []byte(guestDocument))
	check(t, err)
	t.Cleanup(func() { _ = attester.Close() })
	d.client, err = kbc.New(kbc.Config{URL: d.url, HTTP: &http.Client{}, Attester: attester, InitData: []byte(guestDocument)})
	check(t, err)
	t.Cleanup(d.client.Close)
	return d
}

// useHSM gives the installation a SoftHSM, before its broker is served.
func useHSM(t *testing.T, i Installation) {
	t.Helper()
	c := hsmtest.Config(t)
	for _, v := range c.Env {
		if name, value, _ := strings.Cut(v, "="); name == "SOFTHSM2_CONF" {
			t.Setenv(name, value)
		}
	}
	_, err := i.UseHSM(t.Context(), HSM{Program: c.Program, Module: c.Module, Token: c.Token, PINFile: c.PINFile})
	check(t, err)
}

func (d *desk) serve() {
	b, kept, err := d.newBroker(d.ring, TPMTrust{}, EvidenceConfig{}, nil)
	check(d.t, err)
	server := httptest.NewServer(b)
	d.t.Cleanup(func() {
		server.Close()
		check(d.t, kept.Close())
	})
	d.url, d.admin = server.URL, newAdmin(d.ring, server.URL, "test")
}

func (d *desk) trust(machine *swtpm.TPM, resources []string) {
	values := api.ReferenceValues{Image: "guest", PCRs: map[string]string{"11": d.measure(machine, 11), "12": zeroPCR, "13": zeroPCR},
		Firmware: []api.FirmwareReference{{SecureBoot: true, PCRs: map[string]string{"4": d.measure(machine, 4), "7": d.measure(machine, 7)}}}}
	statement, err := sign.NewStatement(api.ReferenceType, values)
	check(d.t, err)
	envelope, err := sign.Seal(statement, d.ring.Statements())
	check(d.t, err)
	raw, err := json.Marshal(envelope)
	check(d.t, err)
	check(d.t, d.admin.Trust(d.t.Context(), raw))
	check(d.t, d.admin.Allow(d.t.Context(), fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(guestDocument))), resources))
}

func (d *desk) measure(machine *swtpm.TPM, n int) string {
	sum := sha256.Sum256(fmt.Append(nil, n))
	_, err := tpm2.PCRExtend{
		PCRHandle: tpm2.AuthHandle{Handle: tpm2.TPMHandle(n), Auth: tpm2.PasswordAuth(nil)},
		Digests:   tpm2.TPMLDigestValues{Digests: []tpm2.TPMTHA{{HashAlg: tpm2.TPMAlgSHA256, Digest: sum[:]}}},
	}.Execute(machine)
	check(d.t, err)
	value := sha256.Sum256(append(make([]byte, sha256.Size), sum[:]...))
	return hex.EncodeToString(value[:])
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// An image is encrypted for a key that is made in the HSM. The machine gets the
// layer's key by having the HSM open the packet; the wrapping key is nowhere.
func TestALayerOpensWithAKeyThatNobodyHas(t *testing.T) {
	d := newDesk(t, useHSM, "default/key/redis")
	check(t, d.admin.MakeKept(t.Context(), "default/key/redis"))
	check(t, d.admin.MakeKept(t.Context(), "default/key/other"))

	secret := []byte("the layer")
	layer := func(path string) (map[string]string, []byte) {
		r, _, err := recipient(t.Context(), d.admin, "hsm:///"+path)
		check(t, err)
		e, err := enc.Encrypt(bytes.NewReader(secret), enc.Config{Recipients: []enc.Recipient{r}})
		check(t, err)
		box, err := io.ReadAll(e)
		check(t, err)
		annotations, err := e.Annotations()
		check(t, err)
		return annotations, box
	}
	annotations, box := layer("default/key/redis")
	options, err := enc.Unwrap(t.Context(), annotations, enc.BrokerKey(d.client.Resource))
	check(t, err)
	plain, err := enc.Decrypt(bytes.NewReader(box), options)
	check(t, err)
	if got, err := io.ReadAll(plain); err != nil || !bytes.Equal(got, secret) {
		t.Errorf("got %q, %v", got, err)
	}

	annotations, _ = layer("default/key/other")
	if _, err := enc.Unwrap(t.Context(), annotations, enc.BrokerKey(d.client.Resource)); err == nil || !strings.Contains(err.Error(), "may not have resource default/key/other") {
		t.Errorf("a key that it may not use: got %v", err)
	}
	if _, err := d.client.Resource(t.Context(), "kbs:///default/key/redis"); err == nil || !strings.Contains(err.Error(), "never leaves") {
		t.Errorf("the key itself: got %v", err)
	}
	kept, err := d.admin.KeptKeys(t.Context())
	check(t, err)
	for _, k := range kept {
		if k.Extractable || !k.NeverExtractable || !k.Sensitive {
			t.Errorf("%+v can leave", k)
		}
	}
	list, err := d.admin.Decisions(t.Context())
	check(t, err)
	found := false
	for _, e := range list {
		found = found || e.Decision == api.AuditAllow && e.Resource == "pkcs11/unwrap-key/default/key/redis" && e.Proof != ""
	}
	if !found {
		t.Error("the audit log does not tell of the packet")
	}
}

func TestAMachineIsCertifiedAsWhatItMayBe(t *testing.T) {
	d := newDesk(t, nil, "default/workload/web")
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(t, err)
	request, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	check(t, err)
	if _, err := d.client.Certify(t.Context(), "kbs:///default/workload/web", request); err == nil || !strings.Contains(err.Error(), "there is no certificate authority") {
		t.Errorf("without an authority: got %v", err)
	}
	_, err = d.RotateCA(t.Context(), ca.Rotation{Domain: "machines.example.org"})
	check(t, err)
	issued, err := d.client.Certify(t.Context(), "kbs:///default/workload/web", request)
	check(t, err)
	block, _ := pem.Decode([]byte(issued.Certificate))
	cert, err := x509.ParseCertificate(block.Bytes)
	check(t, err)
	answer, err := http.Get(d.url + "/kbs/v0/spiffe/bundle.pem")
	check(t, err)
	defer answer.Body.Close()
	bundle, err := io.ReadAll(answer.Body)
	check(t, err)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(bundle)
	_, err = cert.Verify(x509.VerifyOptions{Roots: roots})
	check(t, err)
	if !key.PublicKey.Equal(cert.PublicKey) || cert.URIs[0].String() != "spiffe://machines.example.org/default/workload/web" {
		t.Errorf("got %v", cert.URIs)
	}
	if _, err := d.client.Certify(t.Context(), "kbs:///default/workload/bank", request); err == nil || !strings.Contains(err.Error(), "may not have resource") {
		t.Errorf("as another: got %v", err)
	}
}

// Master, authority and the key of tokens are replaced while machines and
// administrators ask: no request fails, nor one with a token of before.
func TestKeysRotateWhileRequestsAreServed(t *testing.T) {
	d := newDesk(t, nil, "default/key/x", "default/workload/web")
	_, err := d.RotateCA(t.Context(), ca.Rotation{Domain: "machines.example.org"})
	check(t, err)
	check(t, d.admin.CreateResource(t.Context(), "default/key/x", []byte("the key")))
	var stop atomic.Bool
	var asked atomic.Int32
	var work sync.WaitGroup
	load := func(ask func(n int) error) {
		work.Go(func() {
			for n := 0; !stop.Load(); n++ {
				if err := ask(n); err != nil {
					t.Error(err)
					return
				}
				asked.Add(1)
			}
		})
	}
	load(func(int) error {
		value, err := d.client.Resource(t.Context(), "kbs:///default/key/x")
		if err == nil && string(value) != "the key" {
			err = fmt.Errorf("got %q", value)
		}
		return err
	})
	load(func(n int) error {
		return d.admin.SetResource(t.Context(), fmt.Sprintf("default/load/n%d", n%8), []byte("value"))
	})
	before, _, err := d.client.Token(t.Context())
	check(t, err)
	load(func(int) error { return d.shown(before) })
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(t, err)
	request, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	check(t, err)
	load(func(int) error {
		_, err := d.client.Certify(t.Context(), "kbs:///default/workload/web", request)
		return err
	})
	var last *NewMaster
	for range 3 {
		time.Sleep(200 * time.Millisecond)
		last, err = d.RotateMaster(t.Context(), seal.FileKind, nil)
		check(t, err)
		_, err = d.RotateCA(t.Context(), ca.Rotation{AtOnce: true})
		check(t, err)
		_, err = d.RotateToken(t.Context())
		check(t, err)
	}
	time.Sleep(1200 * time.Millisecond) // a broker looks for keys once a second
	for end := time.Now().Add(time.Minute); asked.Load() < 30 && !t.Failed() && time.Now().Before(end); {
		time.Sleep(100 * time.Millisecond)
	}
	stop.Store(true)
	work.Wait()
	if known, err := d.admin.TokenKeys(t.Context()); err != nil || len(known) != 4 {
		t.Errorf("after three rotations the broker knows %d keys of tokens, %v; want the new one and three of before", len(known), err)
	}
	if asked.Load() < 30 || last.Resealed < 2 {
		t.Errorf("only %d requests and %d resources were in it: this shows little", asked.Load(), last.Resealed)
	}
}

// shown shows a token for the one resource.
func (d *desk) shown(token string) error {
	request, err := http.NewRequestWithContext(d.t.Context(), http.MethodGet, d.url+api.KBSPrefix+"/resource/default/key/x", nil)
	if err != nil {
		return err
	}
	request.Header.Set("Authorization", "Bearer "+token)
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(answer.Body)
		return fmt.Errorf("a token of before: %d %s", answer.StatusCode, text)
	}
	return nil
}

func TestTheMasterMayMoveToTheHSM(t *testing.T) {
	i, err := Open(t.TempDir())
	check(t, err)
	ring, err := i.Ring(t.Context())
	check(t, err)
	useHSM(t, i)
	client, err := i.Admin(ring)
	check(t, err)
	check(t, client.CreateResource(t.Context(), "default/key/x", []byte("the key")))
	client.Close()
	made, err := i.RotateMaster(t.Context(), hsm.MasterKind, nil)
	check(t, err)
	if made.Resealed != 1 || len(made.Earlier) != 1 || made.Earlier[0].Kind != seal.FileKind || made.Earlier[0].Resources != 0 {
		t.Errorf("got %+v, want one resource sealed again and one master of no use", made)
	}
	records, err := filepath.Glob(filepath.Join(i.Masters(), "*.json"))
	check(t, err)
	for _, path := range records { // what the file held opens nothing any more
		if !strings.Contains(path, made.ID.String()) {
			check(t, os.Remove(path))
		}
	}
	kept, err := i.openState(nil)
	check(t, err)
	defer kept.Close()
	value, err := kept.Resource(context.Background(), "default/key/x")
	if err != nil || string(value) != "the key" {
		t.Errorf("got %q, %v", value, err)
	}
}

// A folder of masters that is gone, or is not mounted, makes no other master.
func TestLostMastersAreAskedForAndNotMadeAnew(t *testing.T) {
	i, err := Open(t.TempDir())
	check(t, err)
	ring, err := i.Ring(t.Context())
	check(t, err)
	set := func(name string) error {
		client, err := i.Admin(ring)
		if err != nil {
			return err
		}
		defer client.Close()
		return client.SetResource(t.Context(), name, []byte("value"))
	}
	check(t, set("default/key/a"))
	away := i.Masters() + ".away"
	check(t, os.Rename(i.Masters(), away))
	for _, mounted := range []bool{false, true} { // an empty folder is no better
		if mounted {
			check(t, os.MkdirAll(i.Masters(), 0o700))
		}
		if err := set("default/key/b"); err == nil || !strings.Contains(err.Error(), "1 resources need master") {
			t.Errorf("got %v, want the master asked for", err)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(i.Masters(), "*")); len(left) > 0 {
		t.Errorf("made were %q", left)
	}
	check(t, os.Remove(i.Masters()))
	check(t, os.Rename(away, i.Masters()))
	check(t, set("default/key/b"))
}
