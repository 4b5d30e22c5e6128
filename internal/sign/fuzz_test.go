package sign

import (
	"bytes"
	"crypto/ed25519"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"math/big"
	"testing"
	"time"
)

// certified is a signer and the roots that vouch for it.
func certified(t testing.TB) (Signer, *x509.CertPool) {
	t.Helper()
	key := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{1}, ed25519.SeedSize))
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotBefore: time.Unix(0, 0), NotAfter: time.Unix(4e9, 0),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(nil, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return Signer{Key: key, Certificate: cert}, pool
}

// Whatever an envelope looks like, it opens to the statement that was signed
// or to nothing, and what is read is read back.
//
//fuzz:parser sign.go:Open,Peek,ParseEnvelope,verify,parseStatement,PreAuthEncoding
func FuzzOpen(f *testing.F) {
	signer, roots := certified(f)
	st, err := NewStatement("urn:test", map[string]int{"a": 1}, Subject{Name: "x", Digest: map[string]string{"sha256": "00"}})
	if err != nil {
		f.Fatal(err)
	}
	env, err := Seal(st, signer)
	if err != nil {
		f.Fatal(err)
	}
	good, _ := json.Marshal(env)
	payload, _ := json.Marshal(st)
	f.Add(good)
	f.Add(append(bytes.Clone(good), good...))
	f.Add([]byte(`{"payloadType":"application/vnd.in-toto+json","payload":"e30=","signatures":[{"keyid":"","sig":"","cert":""}]}`))
	f.Add([]byte(`{}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		env, err := ParseEnvelope(b)
		if err != nil {
			return
		}
		if !json.Valid(b) {
			t.Errorf("accepted what is no JSON document: %q", b)
		}
		raw, err := json.Marshal(env)
		if err != nil {
			t.Fatal(err)
		}
		again, err := ParseEnvelope(raw)
		if err != nil || !bytes.Equal(again.Payload, env.Payload) || len(again.Signatures) != len(env.Signatures) {
			t.Errorf("%+v reads back as %+v, %v", env, again, err)
		}
		if _, _, err := Open(env, x509.NewCertPool(), time.Unix(1e9, 0)); err == nil {
			t.Error("opened with no root")
		}
		if _, cert, err := Open(env, roots, time.Unix(1e9, 0)); err == nil && (!bytes.Equal(env.Payload, payload) || !cert.Equal(signer.Certificate)) {
			t.Errorf("opened to %q, which nobody signed", env.Payload)
		}
	})
}

// The payload of an envelope that anybody may have written.
//
//fuzz:parser sign.go:Peek,parseStatement
func FuzzStatement(f *testing.F) {
	f.Add([]byte(`{"_type":"https://in-toto.io/Statement/v1","subject":[{"name":"a","digest":{"sha256":"00"}}],"predicateType":"urn:x","predicate":{"a":[1]}}`))
	f.Add([]byte(`{"_type":"https://in-toto.io/Statement/v0.1"}`))
	f.Fuzz(func(t *testing.T, payload []byte) {
		st, err := Peek(Envelope{Payload: payload})
		if err != nil {
			return
		}
		if len(st.Predicate) == 0 {
			return // and so cannot be written as JSON
		}
		raw, err := json.Marshal(st)
		if err != nil {
			t.Fatal(err)
		}
		again, err := Peek(Envelope{Payload: raw})
		if err != nil || again.PredicateType != st.PredicateType || len(again.Subject) != len(st.Subject) {
			t.Errorf("%+v reads back as %+v, %v", st, again, err)
		}
	})
}
