package proof

import (
	"context"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"holdfast/internal/api"
	"holdfast/internal/attest"
	"holdfast/internal/attest/ear"
	"holdfast/internal/attest/initdata"
	"holdfast/internal/attest/tpm"
	"holdfast/internal/attest/tpm/verify"
	"holdfast/internal/sign"
)

// A Reader says whom the reader of a proof believes.
type Reader struct {
	Roots   *x509.CertPool // certify the keys of broker and images
	EKRoots []byte         // PEM: certify endorsement keys of TPMs
	// Hardware judges evidence of other kinds than a TPM's, as of At.
	Hardware []attest.Verifier
	// Rego sources that the reader takes for good, beside the one of either kind
	// that this program ships.
	AttestationPolicies, ResourcePolicies []string
	// DevicePolicies judge devices that are no processors, by class: a policy that
	// is good for one class says nothing of another. None ships.
	DevicePolicies map[string][]string
	At             time.Time // when certificates must be valid
	// Passports judges the token of another verifier as of a time, by whom the
	// reader believes. None is believed when it is nil.
	Passports func(token string, at time.Time) (*Passport, error)
}

// clockSkew is how far a broker's clock may be ahead of the reader's.
const clockSkew = 5 * time.Minute

// Verify checks the proof in raw, offline. That something is bad is in the
// report; an error is a reader's without roots.
func Verify(ctx context.Context, raw []byte, r Reader) (*Report, error) {
	if r.Roots == nil || len(r.EKRoots) == 0 && len(r.Hardware) == 0 {
		return nil, errors.New("proof: no root is given to check it with")
	}
	c := &checker{Reader: r, report: &Report{Checks: []Check{}, without: []string{checkHardware, checkDevices}}}
	c.run(ctx, raw)
	return c.report.finish(), nil
}

// A checker is one proof being checked.
type checker struct {
	Reader
	report *Report

	proof      *api.ReleaseProof
	config     *initdata.Document
	review     *verify.Review
	references map[string]*api.ReferenceValues // by ID
	judged     []ear.Device                    // the additional ones
}

// run goes on as far as one thing may be judged without another that is bad:
// the reader sees all that is wrong, not only the first of it.
func (c *checker) run(ctx context.Context, raw []byte) {
	if !c.open(raw) {
		return
	}
	c.times()
	if c.proof.Passport != nil {
		c.passport(ctx)
		return
	}
	c.evidence()
	c.trusted()
	if c.review != nil && c.review.Quote != nil {
		c.pcrs()
	}
	payload := c.token()
	good := c.references == nil || c.devices(ctx)
	if c.review != nil && c.review.Claims != nil && c.references != nil {
		c.attestationPolicy(ctx)
		if payload != nil && good {
			c.claims(payload)
		}
	}
	if payload != nil {
		c.resourcePolicy(ctx, payload)
	}
}

// open reads the proof, and checks that a broker under the reader's roots
// signed it as it is.
func (c *checker) open(raw []byte) bool {
	env, st, p, err := parse(raw)
	if !c.report.check(checkForm, "an in-toto statement in a DSSE envelope, of type "+api.ProofType, err) {
		return false
	}
	c.proof = p
	c.summarise()
	_, cert, err := sign.OpenDocument(env, c.Roots, c.At)
	if err == nil && (len(env.Signatures) != 1 || env.Signatures[0].KeyID != sign.KeyID(cert)) {
		err = errors.New("the envelope names another key than the one that signed it")
	}
	if c.report.check(checkBroker, "by a key that the root certifies for proofs of release", err) {
		c.report.Release.BrokerKey = sign.KeyID(cert)
	}
	want, err := subjects(p)
	if err == nil && !reflect.DeepEqual(want, st.Subject) {
		err = errors.New("the statement speaks of other subjects than its content does")
	}
	c.report.check(checkSubjects, "the digests that others know these things by", err)
	return true
}

func (c *checker) summarise() {
	a, rel := c.proof.Attestation, c.proof.Release
	if p := c.proof.Passport; p != nil {
		c.report.Release = Summary{Time: rel.Time, Resource: rel.Resource, Value: rel.Value, Session: p.Session,
			Configuration: configurationIn(p.Token), Issuer: p.Issuer}
		return
	}
	c.config, _ = initdata.Parse(a.Message.InitData) // judged with the evidence
	c.report.Release = Summary{
		Time: rel.Time, Resource: rel.Resource, Value: rel.Value, Session: a.Session,
		TEE: a.TEE,
	}
	if len(a.Offer.EKCertificate) > 0 {
		c.report.Release.Endorsement = sha256Hex(a.Offer.EKCertificate)
	}
	if c.config != nil {
		c.report.Release.Configuration = c.config.Digest
		c.report.Release.Workload = strings.Join(c.config.Config().Images(), " ")
	}
}

// times are the broker's word, but they must fit one another.
func (c *checker) times() {
	a, rel := c.proof.Attestation.Time, c.proof.Release.Time
	if c.proof.Passport != nil {
		a = rel // the token has its own times
	}
	var err error
	switch {
	case !whole(a) || !whole(rel):
		err = errors.New("a time is not in whole seconds of UTC")
	case rel.Before(a):
		err = fmt.Errorf("released at %s, before the machine was attested at %s", rel.Format(time.RFC3339), a.Format(time.RFC3339))
	case rel.After(c.At.Add(clockSkew)):
		err = fmt.Errorf("released at %s, which is later than %s, the time of the check", rel.Format(time.RFC3339), c.At.UTC().Format(time.RFC3339))
	}
	c.report.check(checkTime, "attested, released and checked in this order", err)
}

func whole(t time.Time) bool { return t.Nanosecond() == 0 && t.Location() == time.UTC }

// evidence judges what the machine sent.
func (c *checker) evidence() {
	a := c.proof.Attestation
	bound, err := c.binding()
	if !c.report.check(checkEvidence, "well-formed, and of a kind that can be judged here", err) {
		return
	}
	if a.TEE != tpm.TEE {
		c.hardware(*bound)
		return
	}
	chain, err := c.chain()
	if !c.report.check(checkChain, "every certificate of it is under the reader's authorities of TPMs", err) {
		return
	}
	v, err := verify.New(verify.Config{Roots: c.EKRoots, Intermediates: chain, Clock: func() time.Time { return c.At }})
	if err != nil {
		c.report.check(verify.StepEndorsement, "", err)
		return
	}
	c.review = v.Review(a.Offer, a.Message.TEEEvidence.Primary, *bound)
	c.review.Claims = asJudged(c.review.Claims, a.Policy.Input)
	c.report.Release.TPM = c.review.Device
	for _, step := range c.review.Steps {
		c.report.check(step.Name, stepWords[step.Name], step.Err)
	}
	if c.review.Claims != nil && c.review.Events == nil {
		c.report.good(verify.StepEventLog, "the machine sent none: nothing explains its PCRs")
	}
}

var stepWords = map[string]string{
	verify.StepEndorsement:    "the TPM's maker certified its endorsement key",
	verify.StepAttestationKey: "a key that only a TPM can hold, and that signs nothing but what a TPM says",
	verify.StepQuote:          "the TPM signed nonce and PCRs with that key",
	verify.StepPCRs:           "the values shown are those under the signature",
	verify.StepHandshake:      "the signed nonce is the digest of the broker's nonce and the machine's ephemeral key",
	verify.StepInitData:       "PCR 8 holds the configuration shown here, and nothing else",
	verify.StepEventLog:       "it replays to the signed PCRs",
}

// binding is what the evidence must be bound to.
func (c *checker) binding() (*attest.Binding, error) {
	m := c.proof.Attestation.Message
	if tee := c.proof.Attestation.TEE; tee != tpm.TEE && c.verifier(tee) == nil {
		return nil, fmt.Errorf("evidence of TEE %.40q cannot be judged by this program", tee)
	}
	if c.proof.Attestation.TEE == tpm.TEE && len(c.proof.Attestation.Offer.EKCertificate) == 0 {
		return nil, errors.New("its attestation key is one that the broker's administrator listed: that it is in a TPM is his word, and no maker's")
	}
	if nonce, err := base64.StdEncoding.DecodeString(m.RuntimeData.Nonce); err != nil || len(nonce) < 16 {
		return nil, errors.New("the nonce is not the base64 of 16 bytes or more")
	}
	init, err := initdata.Parse(m.InitData)
	if err != nil {
		return nil, err
	}
	bound := &attest.Binding{}
	if init != nil {
		bound.InitDataDigest, bound.InitDataAlgorithm = init.Sum, init.Algorithm
	}
	bound.RuntimeDigest, err = attest.RuntimeDigest(m.RuntimeData, m.TEEEvidence.Additional)
	return bound, err
}

// chain checks that every certificate which is said to vouch for TPMs does so
// under the reader's roots.
func (c *checker) chain() ([]*x509.Certificate, error) {
	roots, inter := x509.NewCertPool(), x509.NewCertPool()
	roots.AppendCertsFromPEM(c.EKRoots)
	var chain []*x509.Certificate
	for i, der := range c.proof.Attestation.EndorsementChain {
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, fmt.Errorf("certificate %d: %w", i, err)
		}
		chain = append(chain, cert)
		inter.AddCert(cert)
	}
	opts := x509.VerifyOptions{Roots: roots, Intermediates: inter, CurrentTime: c.At, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}
	for i, cert := range chain {
		if _, err := cert.Verify(opts); err != nil {
			return nil, fmt.Errorf("certificate %d (%s): %w", i, cert.Subject.CommonName, err)
		}
	}
	return chain, nil
}

// trusted checks who signed the reference values that policy was given.
func (c *checker) trusted() {
	all := map[string]*api.ReferenceValues{}
	var images []string
	for i, raw := range c.proof.Attestation.References {
		values, err := OpenReference(raw, c.Roots, c.At)
		if err != nil {
			c.report.check(checkReferences, "", fmt.Errorf("number %d: %w", i, err))
			return
		}
		all["sha256:"+sha256Hex(raw)] = values
		images = append(images, values.Image)
	}
	if len(all) == 0 {
		c.report.check(checkReferences, "", errors.New("there are none"))
		return
	}
	c.references = all
	c.report.good(checkReferences, "by a key that the root certifies for images: "+strings.Join(slices.Compact(slices.Sorted(slices.Values(images))), ", "))
}

func hexOf(b []byte) string { return hex.EncodeToString(b) }
