package attack

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"path/filepath"

	"github.com/google/go-tpm/tpm2"

	"holdfast/internal/api"
	"holdfast/internal/attest/kbc"
	"holdfast/internal/attest/tpm"
	"holdfast/internal/swtpm"
	"holdfast/internal/wiring/machine"
)

// The TPMs of a site. The last is by a maker whom the broker does not trust.
const (
	ownTPM     = "tpm-own"
	otherTPM   = "tpm-other"
	foreignTPM = "tpm-foreign"
)

// What a lab's machine measures while it boots; the reference values are
// computed from the same words.
const (
	loaderMeasured = "the UKI"
	keysMeasured   = "Secure Boot's keys"
	ukiMeasured    = "the UKI's sections"
)

// extended predicts a PCR after one measurement.
func extended(what string) string {
	sum := sha256.Sum256([]byte(what))
	pcr := sha256.Sum256(append(make([]byte, sha256.Size), sum[:]...))
	return hex.EncodeToString(pcr[:])
}

// A suspect is a machine after its boot, without the machine: a TPM that was
// cleared and measured into, with the program's own attester and client.
type suspect struct {
	kbc.Attester
	site     *site
	chip     *swtpm.TPM
	undo     func() error                 // what else is to be undone when it goes off
	document []byte                       // what it says its configuration is
	evidence func(*api.TPMEvidence) error // changes evidence before it is sent
	wire     wire                         // changes messages on their way
}

// A start says how a suspect boots.
type start struct {
	tpm      string // ownTPM when empty
	uki      string // ukiMeasured when empty
	document []byte // that is measured
	extra    []measurement
}

type measurement struct {
	pcr  int
	what string
}

// boot starts a TPM and measures what firmware and node would.
func (s *site) boot(ctx context.Context, b start) (*suspect, error) {
	chip, err := s.chip(ctx, b.tpm)
	if err != nil {
		return nil, err
	}
	g := &suspect{Attester: tpm.New(tpm.Config{TPM: chip}), site: s, chip: chip, document: b.document}
	booted := []measurement{{4, loaderMeasured}, {7, keysMeasured}, {11, cmp.Or(b.uki, ukiMeasured)}}
	for _, m := range append(booted, b.extra...) {
		err = errors.Join(err, g.measure(m))
	}
	if err == nil {
		_, err = g.Attester.(*tpm.Attester).MeasureInitData(ctx, b.document)
	}
	if err != nil {
		return nil, errors.Join(err, g.Close())
	}
	return g, nil
}

// chip is a running TPM of the site, made when it is absent.
func (s *site) chip(ctx context.Context, name string) (*swtpm.TPM, error) {
	name = cmp.Or(name, ownTPM)
	ca := s.installation.TPMAuthority()
	if name == foreignTPM {
		ca = filepath.Join(s.lab.dir, "foreign-ca")
	}
	dir := filepath.Join(s.lab.dir, name)
	if err := swtpm.Manufacture(ctx, swtpm.Config{Dir: dir, CADir: ca}); err != nil {
		return nil, err
	}
	return swtpm.Open(ctx, dir)
}

// Close turns the machine off.
func (g *suspect) Close() error {
	err := g.chip.Close()
	if g.undo != nil {
		err = errors.Join(err, g.undo())
	}
	return err
}

func (g *suspect) measure(m measurement) error {
	sum := sha256.Sum256([]byte(m.what))
	_, err := tpm2.PCRExtend{
		PCRHandle: tpm2.AuthHandle{Handle: tpm2.TPMHandle(m.pcr), Auth: tpm2.PasswordAuth(nil)},
		Digests:   tpm2.TPMLDigestValues{Digests: []tpm2.TPMTHA{{HashAlg: tpm2.TPMAlgSHA256, Digest: sum[:]}}},
	}.Execute(g.chip)
	return err
}

// Evidence implements kbc.Attester.
func (g *suspect) Evidence(ctx context.Context, digest []byte, c *api.ActivationChallenge) (json.RawMessage, error) {
	raw, err := g.Attester.Evidence(ctx, digest, c)
	if err != nil || g.evidence == nil {
		return raw, err
	}
	return altered(raw, g.evidence)
}

// client speaks to the site's broker as a machine does, by way of wire.
func (g *suspect) client() (*kbc.Client, error) {
	broker := g.site.endpoint(g.site.services.BrokerURL())
	client, err := machine.Pinned(broker)
	if err != nil {
		return nil, err
	}
	if g.wire != nil {
		client.Transport = tapped{client.Transport, g.wire}
	}
	return kbc.New(kbc.Config{URL: broker.URL, HTTP: client, Attester: g, InitData: g.document})
}

// fetch asks the broker for a resource.
func (g *suspect) fetch(ctx context.Context, resource string) ([]byte, error) {
	client, err := g.client()
	if err != nil {
		return nil, err
	}
	defer client.Close()
	return client.Resource(ctx, "kbs:///"+resource)
}
