package broker

import (
	"cmp"
	"context"
	"crypto/x509"
	"fmt"
	"net/http"
	"regexp"
	"time"

	"holdfast/internal/api"
	"holdfast/internal/proof"
	"holdfast/internal/sign"
)

// Proofs says how a broker proves what it releases.
type Proofs struct {
	Signer           sign.Signer       // certified for signing documents
	TokenCertificate *x509.Certificate // of Config.TokenKey

	// EndorsementChain gives the DER certificates that stand between that of a
	// TPM and a root. Optional.
	EndorsementChain func(certificate []byte) ([][]byte, error)

	Keep int // how many proofs, the latest; 1000 when 0
}

const keptProofs = 1000

// prove writes the proof of a release and returns its ID.
func (b *Broker) prove(ctx context.Context, v *verified, granted question, want wanted, value string) (string, error) {
	if b.cfg.Proofs == nil {
		b.keepDecision(ctx, granted, "get-resource", v.session, "")
		return "", nil
	}
	admitted, err := b.admitted(ctx, v)
	if err != nil {
		return "", err
	}
	granted, _, _ = b.narrow(ctx, granted, v.evidence(), v.initData())
	decision, err := granted.proof(nil)
	if err != nil {
		return "", err
	}
	now := b.cfg.Now().UTC()
	release := api.ProofRelease{Time: now.Truncate(time.Second), Resource: want.path, Plugin: want.named(), Value: value, Policy: decision}
	raw, err := admitted.Seal(release, b.cfg.Proofs.Signer)
	if err != nil {
		return "", fmt.Errorf("proof of the release: %w", err)
	}
	id := fmt.Sprintf("%s-%s-%s", now.Format(proofTime), v.session, randomHex(8))
	if err := b.state.KeepProof(ctx, id, raw, cmp.Or(b.cfg.Proofs.Keep, keptProofs), granted.recorded(decision, "get-resource", v.session, "", now)); err != nil {
		return "", fmt.Errorf("write the proof, without which nothing is released: %w", err)
	}
	return id, nil
}

// admitted is what a proof begins with: how the machine came in. For each secret
// of a session that is the same.
func (b *Broker) admitted(ctx context.Context, v *verified) (*proof.Admitted, error) {
	if v.issuer != "" {
		return proof.Admit(api.ProofAttestation{}, &api.ProofPassport{Issuer: v.issuer, Session: v.session, Token: v.token})
	}
	if known, ok := b.came.get(v.session); ok {
		if kept, err := b.state.IsAttested(ctx, v.session); kept || err != nil {
			return known, err
		}
	}
	attested, err := b.readAttested(ctx, v.session)
	if err != nil {
		return nil, err
	}
	a, err := proof.Admit(*attested, nil)
	if err == nil {
		b.came.put(v.session, a, a.Size())
	}
	return a, err
}

// proofTime sorts as text in the order of time.
const proofTime = "20060102T150405.000000000Z"

var (
	sessionForm = regexp.MustCompile(`^[0-9a-f]{16}$`)
	proofForm   = regexp.MustCompile(`^[0-9]{8}T[0-9]{6}\.[0-9]{9}Z-[0-9a-f]{16}-[0-9a-f]{16}$`)
)

// dropProof takes a proof back: the release that it tells of did not happen.
func (b *Broker) dropProof(ctx context.Context, id string) {
	if id == "" {
		return
	}
	if err := b.state.DropProof(context.WithoutCancel(ctx), id); err != nil {
		b.log.Error("broker: a proof is left of a release that did not happen", "id", id, "error", err)
	}
}

// listProofs tells of the proofs what the audit log has of them.
func (b *Broker) listProofs(w http.ResponseWriter, r *http.Request, _ string) error {
	ids, err := b.state.Proofs(r.Context())
	if err != nil {
		return err
	}
	kept := map[string]bool{}
	for _, id := range ids {
		kept[id] = true
	}
	list := []api.ProofEntry{}
	err = b.audit.each(func(e api.AuditEntry) {
		if e.Decision == api.AuditAllow && kept[e.Proof] {
			list = append(list, api.ProofEntry{ID: e.Proof, Time: e.Time, Session: e.Session, Resource: e.Resource, Configuration: e.InitData})
		}
	})
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, list)
	return nil
}

func (b *Broker) getProof(w http.ResponseWriter, r *http.Request, _ string) error {
	id := r.PathValue("id")
	if !proofForm.MatchString(id) {
		return refuse(http.StatusNotFound, kindInternal, "proof not found: %.80s", id)
	}
	raw, err := b.state.Proof(r.Context(), id)
	if err != nil {
		return absent(err, "proof not found: %s", id)
	}
	w.Header().Set("Content-Type", "application/vnd.dsse.envelope.v1+json")
	_, _ = w.Write(raw) // the other side may stop reading
	return nil
}
