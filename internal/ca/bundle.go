package ca

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// Bundle is the trust domain's bundle as SPIFFE_Trust_Domain_and_Bundle.md,
// section 4, has it: a JWK set in which each authority's certificate is one
// key's x5c.
func (f *Folder) Bundle(ctx context.Context) ([]byte, error) {
	all, err := f.read(ctx)
	if err != nil {
		return nil, err
	}
	doc := struct {
		Keys     []jose.JSONWebKey `json:"keys"`
		Sequence int64             `json:"spiffe_sequence"`
		Refresh  int64             `json:"spiffe_refresh_hint"`
	}{Keys: []jose.JSONWebKey{}, Refresh: int64(RefreshHint / time.Second)}
	for _, a := range all.vouching(f.now()) {
		doc.Keys = append(doc.Keys, jose.JSONWebKey{Key: a.cert.PublicKey, Use: "x509-svid", Certificates: []*x509.Certificate{a.cert}})
	}
	for _, a := range all.list { // grows with every rotation
		doc.Sequence = max(doc.Sequence, a.Made.Unix())
	}
	return json.Marshal(doc)
}

// PEM is the same for programs that know no SPIFFE.
func (f *Folder) PEM(ctx context.Context) ([]byte, error) {
	all, err := f.read(ctx)
	if err != nil {
		return nil, err
	}
	return all.bundle(f.now()), nil
}
