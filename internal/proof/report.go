package proof

import (
	"slices"
	"time"

	"holdfast/internal/attest/tpm/verify"
)

// A Report is what became of checking one proof; docs/formats/proof.md
// describes it.
type Report struct {
	Verified bool    `json:"verified"`
	Release  Summary `json:"release"`
	Checks   []Check `json:"checks"`
	PCRs     []PCR   `json:"pcrs,omitempty"`

	without []string // checks that the kind of evidence has not
}

// A Summary tells what the proof says. It is to be believed when the report is
// verified.
type Summary struct {
	Time          time.Time         `json:"time"`
	Resource      string            `json:"resource"`
	Value         string            `json:"value"` // keyed digest
	Session       string            `json:"session"`
	Configuration string            `json:"configuration"`      // sha256:…
	Workload      string            `json:"workload,omitempty"` // HOST:PORT/REPOSITORY@sha256:…
	Image         string            `json:"image,omitempty"`    // the machine image's name
	UKI           string            `json:"uki,omitempty"`
	RootHash      string            `json:"root_hash,omitempty"`
	TEE           string            `json:"tee,omitempty"` // the kind of evidence
	TPM           map[string]string `json:"tpm,omitempty"`
	Endorsement   string            `json:"endorsement,omitempty"` // SHA-256 of the TPM's certificate
	Devices       []string          `json:"devices,omitempty"`     // kinds of additional ones
	Issuer        string            `json:"issuer,omitempty"`      // the other verifier that attested it
	BrokerKey     string            `json:"broker_key,omitempty"`
	TokenKey      string            `json:"token_key,omitempty"`
}

// The verdicts of a Check.
const (
	Good    = "good"
	Bad     = "bad"
	Skipped = "not reached" // something before it failed
)

// A Check is one thing that was judged again.
type Check struct {
	Name    string `json:"name"`
	Verdict string `json:"verdict"`
	Text    string `json:"text"` // what it means that it is good, or why it is bad
}

// The verdicts of a PCR.
const (
	AsExpected = "as expected"
	Differs    = "differs"
	Untouched  = "untouched"
	NotJudged  = "not judged"
)

// A PCR is one register in words.
type PCR struct {
	Number   int            `json:"pcr"`
	Meaning  string         `json:"meaning"`
	Events   []verify.Event `json:"events,omitempty"`
	Measured string         `json:"measured"`
	Expected string         `json:"expected,omitempty"`
	Source   string         `json:"source,omitempty"` // of what was expected
	Verdict  string         `json:"verdict"`
}

// Failures are the names of the bad checks.
func (r *Report) Failures() []Check {
	var bad []Check
	for _, c := range r.Checks {
		if c.Verdict == Bad {
			bad = append(bad, c)
		}
	}
	return bad
}

func (r *Report) good(name, text string) {
	r.Checks = append(r.Checks, Check{name, Good, text})
}

// check notes how a check went, and tells whether the next may build on it.
func (r *Report) check(name, text string, err error) bool {
	if err != nil {
		r.Checks = append(r.Checks, Check{name, Bad, err.Error()})
		return false
	}
	r.good(name, text)
	return true
}

// finish adds the checks that were not reached, and sums up.
func (r *Report) finish() *Report {
	seen := map[string]bool{}
	r.Verified = true
	for _, c := range r.Checks {
		seen[c.Name] = true
		r.Verified = r.Verified && c.Verdict == Good
	}
	for _, name := range names {
		if !seen[name] && !slices.Contains(r.without, name) {
			r.Checks = append(r.Checks, Check{name, Skipped, "something that it rests on is bad"})
			r.Verified = false
		}
	}
	order := func(a, b Check) int { return slices.Index(names, a.Name) - slices.Index(names, b.Name) }
	slices.SortStableFunc(r.Checks, order)
	return r
}

// Names of the checks that are no step of a verify.Review.
const (
	checkForm        = "form"
	checkBroker      = "broker's signature"
	checkSubjects    = "subjects"
	checkTime        = "time"
	checkEvidence    = "evidence"
	checkChain       = "endorsement chain"
	checkHardware    = "hardware"
	checkDevices     = "additional devices"
	checkReferences  = "reference values' signatures"
	checkPCRs        = "reference values"
	checkAttestation = "attestation policy"
	checkToken       = "token's signature"
	checkClaims      = "token's claims"
	checkResource    = "resource policy"
)

// names are all checks, in their order.
var names = []string{
	checkForm, checkBroker, checkSubjects, checkTime, checkEvidence, checkChain, checkHardware,
	verify.StepEndorsement, verify.StepAttestationKey, verify.StepQuote, verify.StepPCRs, verify.StepHandshake,
	verify.StepInitData, verify.StepEventLog, checkDevices,
	checkReferences, checkPCRs, checkAttestation, checkToken, checkClaims, checkResource,
}

// Word says what no reader of these proofs can check, whoever he is: it is the
// broker's word, or the machine's.
func Word(of []*Report) []string {
	said := slices.Clone(word)
	if slices.ContainsFunc(of, func(r *Report) bool { return r.Release.Issuer != "" }) {
		said = append(said, "what a verifier saw whose token was shown, and by what policy it judged: the token has its conclusions, and the broker took its word")
	}
	return said
}

var word = []string{
	"that the attestation key lives in the TPM with the endorsement key: the broker sealed a secret to both (credential activation) and the machine answered it, but a secret that two parties share convinces no third",
	"that an administrator authorised the configuration for the resource: the broker's list says so, and nobody signs it",
	"that the nonce was fresh, and the times of attestation and release",
	"which value was released: the keyed digest tells equal values of one resource from different ones, to whoever has the broker's key",
	"what an event of the log describes where its digest is not of the words shown",
}
