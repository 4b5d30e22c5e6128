package verify

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Collateral is what Intel's provisioning certification service (PCS, version
// 4) answers, or a cache of it.
type Collateral struct {
	// Signed are its JSON answers: TCB info of TDX by FMSPC (tdx/certification/v4/tcb)
	// and the identity of the quoting enclave (tdx/certification/v4/qe/identity).
	Signed [][]byte
	// Signers are the PEM certificates that came beside these (TCB-Info-Issuer-Chain).
	Signers []byte
	// Revoked are lists of revoked certificates in DER: the root's, and those
	// of the PCK authorities.
	Revoked [][]byte
}

// known is collateral whose signatures are good. Whether its time has come or
// gone, and whether its signer was revoked, is asked each time.
type known struct {
	levels   map[string][]tcbInfo // by FMSPC
	enclaves []enclaveIdentity
	signer   *x509.Certificate
	lists    []*x509.RevocationList
}

// A period is when a document holds.
type period struct {
	Issue time.Time `json:"issueDate"`
	Next  time.Time `json:"nextUpdate"`
	Eval  int       `json:"tcbEvaluationDataNumber"`
}

// holds says that the document is good now.
func (p period) holds(now time.Time) bool { return !now.Before(p.Issue) && now.Before(p.Next) }

// tcbInfo is the document of one kind of platform: Intel PCS API 4, "Get TDX
// TCB Info".
type tcbInfo struct {
	period
	ID         string     `json:"id"`
	Version    int        `json:"version"`
	FMSPC      string     `json:"fmspc"`
	PCEID      string     `json:"pceId"`
	Module     seam       `json:"tdxModule"`
	Identities []identity `json:"tdxModuleIdentities"`
	Levels     []tcbLevel `json:"tcbLevels"`
}

type seam struct {
	Signer     hexBytes `json:"mrsigner"`
	Attributes hexBytes `json:"attributes"`
	Mask       hexBytes `json:"attributesMask"`
}

type identity struct {
	seam
	ID     string     `json:"id"` // TDX_ and the module's major version
	Levels []tcbLevel `json:"tcbLevels"`
}

type tcbLevel struct {
	TCB struct {
		SGX    []component `json:"sgxtcbcomponents"`
		TDX    []component `json:"tdxtcbcomponents"`
		PCESVN int         `json:"pcesvn"`
		ISVSVN int         `json:"isvsvn"`
	} `json:"tcb"`
	Date       time.Time `json:"tcbDate"`
	Status     string    `json:"tcbStatus"`
	Advisories []string  `json:"advisoryIDs"`
}

type component struct {
	SVN int `json:"svn"`
}

// enclaveIdentity is Intel PCS API 4, "Get TDX QE Identity".
type enclaveIdentity struct {
	period
	ID         string     `json:"id"`
	Version    int        `json:"version"`
	Misc       hexBytes   `json:"miscselect"`
	MiscMask   hexBytes   `json:"miscselectMask"`
	Attributes hexBytes   `json:"attributes"`
	Mask       hexBytes   `json:"attributesMask"`
	Signer     hexBytes   `json:"mrsigner"`
	Product    uint16     `json:"isvprodid"`
	Levels     []tcbLevel `json:"tcbLevels"`
}

type hexBytes []byte

func (h *hexBytes) UnmarshalText(text []byte) (err error) {
	*h, err = hex.DecodeString(string(text))
	return err
}

const tcbSigner = "Intel SGX TCB Signing"

func (c Collateral) read(root *x509.Certificate) (known, error) {
	k := known{levels: map[string][]tcbInfo{}}
	for _, raw := range c.Revoked {
		list, err := x509.ParseRevocationList(raw)
		if err != nil {
			return known{}, fmt.Errorf("list of revoked certificates: %w", err)
		}
		k.lists = append(k.lists, list)
	}
	signers, err := certificates(c.Signers)
	if err != nil {
		return known{}, err
	}
	for _, s := range signers {
		if s.Subject.CommonName == tcbSigner && certified(s, root) == nil {
			k.signer = s
		}
	}
	if k.signer == nil && len(c.Signed) > 0 {
		return known{}, fmt.Errorf("no certificate %q by %s is given", tcbSigner, root.Subject.CommonName)
	}
	for _, raw := range c.Signed {
		if err := k.add(raw); err != nil {
			return known{}, err
		}
	}
	return k, nil
}

// add reads one signed answer. Its signature is over the very bytes of the
// member.
func (k *known) add(raw []byte) error {
	var answer struct {
		TCB       json.RawMessage `json:"tcbInfo"`
		Enclave   json.RawMessage `json:"enclaveIdentity"`
		Signature hexBytes        `json:"signature"`
	}
	if err := json.Unmarshal(raw, &answer); err != nil {
		return fmt.Errorf("TDX collateral: %w", err)
	}
	body := answer.TCB
	if body == nil {
		body = answer.Enclave
	}
	if body == nil || answer.TCB != nil && answer.Enclave != nil {
		return errors.New("TDX collateral: expected tcbInfo or enclaveIdentity, and its signature")
	}
	if key, ok := k.signer.PublicKey.(*ecdsa.PublicKey); !ok || !signed(key, body, answer.Signature) {
		return fmt.Errorf("TDX collateral: it is not signed by %s", tcbSigner)
	}
	if answer.TCB != nil {
		return k.addTCB(body)
	}
	var e enclaveIdentity
	if err := json.Unmarshal(body, &e); err != nil {
		return fmt.Errorf("TDX collateral: enclaveIdentity: %w", err)
	}
	if e.ID != "TD_QE" || e.Version != 2 {
		return fmt.Errorf("TDX collateral: enclaveIdentity %q, version %d: expected TD_QE, 2", e.ID, e.Version)
	}
	k.enclaves = append(k.enclaves, e)
	return nil
}

func (k *known) addTCB(body []byte) error {
	var t tcbInfo
	if err := json.Unmarshal(body, &t); err != nil {
		return fmt.Errorf("TDX collateral: tcbInfo: %w", err)
	}
	if t.ID != "TDX" || t.Version != 3 {
		return fmt.Errorf("TDX collateral: tcbInfo %q, version %d: expected TDX, 3", t.ID, t.Version)
	}
	name := strings.ToLower(t.FMSPC)
	k.levels[name] = append(k.levels[name], t)
	return nil
}

// latest picks the newest of the documents that hold now.
func latest[T any](all []T, now time.Time, of func(T) period) (T, bool) {
	var best T
	found := false
	for _, d := range all {
		if p := of(d); p.holds(now) && (!found || p.Eval > of(best).Eval || p.Eval == of(best).Eval && p.Issue.After(of(best).Issue)) {
			best, found = d, true
		}
	}
	return best, found
}

// listOf is the newest list that issuer signed and that is good now, or nil.
func (k *known) listOf(issuer *x509.Certificate, now time.Time) *x509.RevocationList {
	var best *x509.RevocationList
	for _, l := range k.lists {
		if !bytes.Equal(l.RawIssuer, issuer.RawSubject) || now.Before(l.ThisUpdate) || now.After(l.NextUpdate) || l.CheckSignatureFrom(issuer) != nil {
			continue
		}
		if best == nil || l.ThisUpdate.After(best.ThisUpdate) {
			best = l
		}
	}
	return best
}
