package machine

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-tpm/tpm2"

	"holdfast/internal/api"
	"holdfast/internal/attest/tpm"
	"holdfast/internal/broker/admin"
	"holdfast/internal/keys"
	"holdfast/internal/oci"
	"holdfast/internal/sign"
	"holdfast/internal/swtpm"
	"holdfast/internal/wiring"
)

// A bench is a broker and a registry that answer, and a software TPM that
// measured what the boot of an image that the broker trusts would have.
type bench struct {
	installation wiring.Installation
	services     *wiring.Services
	admin        *admin.Client
	ca           string
	attester     *tpm.Attester
	config       api.GuestConfig
	document     []byte
	http.Handler
}

const ownResource = "default/secret/own"

// newBench is one whose machine has an API of these features.
func newBench(t *testing.T, features ...string) *bench {
	t.Helper()
	b := newSite(t)
	check(t, b.admin.SetResource(t.Context(), ownResource, []byte("the workload's own")))
	check(t, b.admin.SetResource(t.Context(), "default/secret/other", []byte("another's")))
	b.boot(t, api.GuestConfig{Image: "r.example/x@" + string(oci.SHA256(nil)), API: features}, ownResource)
	h, end, err := newHub(b.attester, b.config, b.document)
	check(t, err)
	t.Cleanup(end)
	b.Handler = h
	return b
}

// newSite has no machine yet.
func newSite(t *testing.T) *bench {
	t.Helper()
	if err := swtpm.Installed(); err != nil {
		t.Skipf("needs software TPMs (%v): apt-get install swtpm swtpm-tools, then go test ./internal/wiring/machine", err)
	}
	i, err := wiring.Open(t.TempDir())
	check(t, err)
	ring, err := i.Ring(t.Context())
	check(t, err)
	services, err := i.Serve(ring, wiring.ServeConfig{RegistryListen: "127.0.0.1:0", BrokerListen: "127.0.0.1:0", TLS: true})
	check(t, err)
	t.Cleanup(func() { check(t, services.Close()) })
	b := &bench{installation: i, services: services, ca: string(ring.CertificatePEM(keys.TLS))}
	b.admin, err = i.RemoteAdmin(ring, services.BrokerURL())
	check(t, err)
	return b
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// boot measures what the broker is told to expect, and a configuration that may
// have the resources.
func (b *bench) boot(t *testing.T, config api.GuestConfig, resources ...string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "tpm")
	check(t, swtpm.Manufacture(t.Context(), swtpm.Config{Dir: dir, CADir: b.installation.TPMAuthority()}))
	chip, err := swtpm.Open(t.Context(), dir)
	check(t, err)
	t.Cleanup(func() { _ = chip.Close() })
	check(t, b.admin.Trust(t.Context(), b.references(t, chip)))
	b.attester = tpm.New(tpm.Config{TPM: chip})
	b.config = config
	b.config.Registry = api.Endpoint{URL: b.services.RegistryURL(), CA: b.ca}
	b.config.Broker = api.Endpoint{URL: b.services.BrokerURL(), CA: b.ca}
	b.document, err = wiring.InitData(b.config)
	check(t, err)
	_, err = b.attester.MeasureInitData(t.Context(), b.document)
	check(t, err)
	check(t, b.admin.Allow(t.Context(), string(oci.SHA256(b.document)), resources))
}

// references say what the chip shows after it.
func (b *bench) references(t *testing.T, chip *swtpm.TPM) []byte {
	t.Helper()
	zero := strings.Repeat("0", 64)
	values := api.ReferenceValues{Image: "bench", PCRs: map[string]string{"11": measure(t, chip, 11), "12": zero, "13": zero},
		Firmware: []api.FirmwareReference{{SecureBoot: true, PCRs: map[string]string{"4": measure(t, chip, 4), "7": measure(t, chip, 7)}}}}
	statement, err := sign.NewStatement(api.ReferenceType, values)
	check(t, err)
	ring, err := b.installation.Ring(t.Context())
	check(t, err)
	envelope, err := sign.Seal(statement, ring.Statements())
	check(t, err)
	raw, err := json.Marshal(envelope)
	check(t, err)
	return raw
}

func measure(t *testing.T, chip *swtpm.TPM, n int) string {
	t.Helper()
	sum := sha256.Sum256([]byte{byte(n)})
	_, err := tpm2.PCRExtend{
		PCRHandle: tpm2.AuthHandle{Handle: tpm2.TPMHandle(n), Auth: tpm2.PasswordAuth(nil)},
		Digests:   tpm2.TPMLDigestValues{Digests: []tpm2.TPMTHA{{HashAlg: tpm2.TPMAlgSHA256, Digest: sum[:]}}},
	}.Execute(chip)
	check(t, err)
	value := sha256.Sum256(append(make([]byte, sha256.Size), sum[:]...))
	return hex.EncodeToString(value[:])
}
