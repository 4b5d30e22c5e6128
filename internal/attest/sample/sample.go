// Package sample takes the evidence of Confidential Containers' sample attester,
// which anybody can make: it proves nothing.
//
// It is there for tests with real clients on machines without hardware that
// could prove something, and only whoever starts a broker with a flag that says
// so gets it. The form and the claims are those of Trustee's sample verifier,
// and a mark that tells readers of a token or a log what they rest on.
package sample

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"

	"holdfast/internal/api"
	"holdfast/internal/attest"
)

// TEE is the kind's name in the KBS protocol.
const TEE = "sample"

// Warning is what each decision on this evidence is marked with.
const Warning = "TEST EVIDENCE: anybody could have made it, nothing is proven"

// A Verifier believes everybody who repeats the handshake's digest.
type Verifier struct{}

var _ attest.Verifier = Verifier{}

// TEE is the kind of evidence taken.
func (Verifier) TEE() string { return TEE }

// Begin asks nothing.
func (Verifier) Begin(api.RequestParams) (attest.Session, error) { return attest.Judge(judge), nil }

func judge(raw json.RawMessage, bound attest.Binding) (attest.Claims, error) {
	var e struct {
		SVN        string `json:"svn"`
		ReportData string `json:"report_data"`
	}
	if err := json.Unmarshal(raw, &e); err != nil {
		return nil, fmt.Errorf("%w: %w", attest.ErrMalformed, err)
	}
	data, err := base64.StdEncoding.DecodeString(e.ReportData)
	if err != nil {
		return nil, fmt.Errorf("%w: report_data: %w", attest.ErrMalformed, err)
	}
	if len(bound.RuntimeDigest) == 0 || !bytes.Equal(data, bound.RuntimeDigest) {
		return nil, attest.ErrNonce
	}
	claims := attest.Claims{
		"svn": e.SVN, "report_data": e.ReportData, "launch_digest": "abcde",
		"platform_version": map[string]int{"major": 1, "minor": 4}, "debug": false,
		"warning": Warning,
	}
	if bound.InitDataDigest != nil {
		claims["init_data"] = base64.StdEncoding.EncodeToString(bound.InitDataDigest)
	}
	return claims, nil
}
