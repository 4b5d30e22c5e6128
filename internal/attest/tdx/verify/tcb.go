package verify

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"time"

	"holdfast/internal/attest"
	"holdfast/internal/attest/tdx"
)

// Intel's words for how well a platform is kept.
const (
	upToDate        = "UpToDate"
	hardening       = "SWHardeningNeeded"
	configuration   = "ConfigurationNeeded"
	confHardening   = "ConfigurationAndSWHardeningNeeded"
	outOfDate       = "OutOfDate"
	outOfDateConfig = "OutOfDateConfigurationNeeded"
	revoked         = "Revoked"
)

// A standing is what Intel says of a platform, its TDX module and its quoting
// enclave together.
type standing struct {
	status     string
	date       time.Time // the earliest of the three levels'
	advisories []string
	from, to   period // of the documents: the earliest and the latest issued
	until      time.Time
	rootList   int64 // number of the root's list of revoked certificates
	pckList    int64
}

func (s *standing) add(l tcbLevel) {
	s.status = converge(s.status, l.Status)
	if s.date.IsZero() || l.Date.Before(s.date) {
		s.date = l.Date
	}
	for _, a := range l.Advisories {
		if !slices.Contains(s.advisories, a) {
			s.advisories = append(s.advisories, a)
		}
	}
}

// converge joins the status of the platform with that of a part which can only
// be up to date, out of date or revoked.
func converge(platform, part string) string {
	switch {
	case platform == "":
		return part
	case part == revoked || platform == revoked:
		return revoked
	case part != outOfDate:
		return platform
	case platform == configuration || platform == confHardening || platform == outOfDateConfig:
		return outOfDateConfig
	}
	return outOfDate
}

// standing judges a quote by the collateral.
func (v *Verifier) standing(q *tdx.Quote, p *platform) (*standing, error) {
	now := v.clock()
	info, ok := latest(v.known.levels[p.fmspc], now, func(t tcbInfo) period { return t.period })
	if !ok {
		return nil, fmt.Errorf("%w: no TCB info of FMSPC %s is given that is good on %s", attest.ErrCollateral, p.fmspc, now.Format(time.DateOnly))
	}
	enclave, ok := latest(v.known.enclaves, now, func(e enclaveIdentity) period { return e.period })
	if !ok {
		return nil, fmt.Errorf("%w: no identity of the quoting enclave is given that is good on %s", attest.ErrCollateral, now.Format(time.DateOnly))
	}
	if err := v.standsBy(v.known.signer, v.root); err != nil {
		return nil, err
	}
	if !strings.EqualFold(info.PCEID, p.pceID) {
		return nil, fmt.Errorf("%w: TCB info is for PCE-ID %s, the platform has %s", attest.ErrCollateral, info.PCEID, p.pceID)
	}
	s := &standing{from: info.period, to: enclave.period, until: info.Next}
	if s.from.Issue.After(s.to.Issue) {
		s.from, s.to = s.to, s.from
	}
	if enclave.Next.Before(s.until) {
		s.until = enclave.Next
	}
	s.rootList = v.number(v.root.RawSubject, now)
	s.pckList = v.number(p.cert.RawIssuer, now)
	for _, judge := range []func() (tcbLevel, error){
		func() (tcbLevel, error) { return info.platform(q.Body, p) },
		func() (tcbLevel, error) { return info.module(q.Body) },
		func() (tcbLevel, error) { return enclave.judge(q.QE.Report) },
	} {
		level, err := judge()
		if err != nil {
			return nil, err
		}
		s.add(level)
	}
	if s.status == revoked {
		return nil, fmt.Errorf("%w: it is revoked (advisories %s)", attest.ErrFirmware, strings.Join(s.advisories, ", "))
	}
	return s, nil
}

func (v *Verifier) number(issuer []byte, now time.Time) int64 {
	for _, l := range v.known.lists {
		if bytes.Equal(l.RawIssuer, issuer) && now.Before(l.NextUpdate) && l.Number != nil {
			return l.Number.Int64()
		}
	}
	return 0
}

// platform finds the level: the first, and so the newest, that the platform
// reaches in every part (Intel PCS API 4, "Get TDX TCB Info"). Where the TDX
// module has a version of its own its parts are judged as module does.
func (t tcbInfo) platform(b tdx.Body, p *platform) (tcbLevel, error) {
	svn := b.TCBSVN()
	first := 0
	if svn[1] > 0 {
		first = 2
	}
	for _, l := range t.Levels {
		if len(l.TCB.SGX) == len(p.svns) && len(l.TCB.TDX) == len(svn) &&
			p.pceSVN >= l.TCB.PCESVN && reaches(p.svns[:], l.TCB.SGX) && reaches(svn[first:], l.TCB.TDX[first:]) {
			return l, nil
		}
	}
	return tcbLevel{}, fmt.Errorf("%w: the platform reaches none of the levels that Intel names", attest.ErrFirmware)
}

func reaches[T byte | int](have []T, want []component) bool {
	for i, h := range have {
		if int(h) < want[i].SVN {
			return false
		}
	}
	return true
}

// module judges the TDX module: who signed it and, since version 1, its level.
func (t tcbInfo) module(b tdx.Body) (tcbLevel, error) {
	svn := b.TCBSVN()
	if svn[1] == 0 {
		return tcbLevel{Status: upToDate, Date: latestDate}, t.Module.check(b)
	}
	name := fmt.Sprintf("TDX_%02x", svn[1])
	for _, m := range t.Identities {
		if !strings.EqualFold(m.ID, name) {
			continue
		}
		if err := m.check(b); err != nil {
			return tcbLevel{}, err
		}
		return reached(m.Levels, int(svn[0]), "TDX module "+name)
	}
	return tcbLevel{}, fmt.Errorf("%w: Intel names no TDX module %s", attest.ErrFirmware, name)
}

// latestDate is after any that Intel names.
var latestDate = time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)

func (s seam) check(b tdx.Body) error {
	if !bytes.Equal(b.SEAMSigner(), s.Signer) {
		return fmt.Errorf("%w: the TDX module is signed by %x…, expected %x…", attest.ErrEndorsement, b.SEAMSigner()[:8], s.Signer[:min(8, len(s.Signer))])
	}
	if !masked(b.SEAMAttributes(), s.Mask, s.Attributes) {
		return fmt.Errorf("%w: the TDX module has the attributes %x", attest.ErrEndorsement, b.SEAMAttributes())
	}
	return nil
}

func reached(levels []tcbLevel, svn int, what string) (tcbLevel, error) {
	for _, l := range levels {
		if svn >= l.TCB.ISVSVN {
			return l, nil
		}
	}
	return tcbLevel{}, fmt.Errorf("%w: %s has security version %d, below all that Intel names", attest.ErrFirmware, what, svn)
}

// masked compares the bits that mask names.
func masked(have, mask, want []byte) bool {
	if len(mask) != len(have) || len(want) != len(have) {
		return false
	}
	for i := range have {
		if have[i]&mask[i] != want[i] {
			return false
		}
	}
	return true
}

// judge checks that a report is the quoting enclave's.
func (e enclaveIdentity) judge(report []byte) (tcbLevel, error) {
	switch {
	case !masked(reversed(report[16:20]), e.MiscMask, e.Misc):
		return tcbLevel{}, fmt.Errorf("%w: the quoting enclave has MISCSELECT %x", attest.ErrEndorsement, report[16:20])
	case !masked(report[48:64], e.Mask, e.Attributes):
		return tcbLevel{}, fmt.Errorf("%w: the quoting enclave has the attributes %x", attest.ErrEndorsement, report[48:64])
	case !bytes.Equal(report[128:160], e.Signer):
		return tcbLevel{}, fmt.Errorf("%w: the quoting enclave is signed by %x", attest.ErrEndorsement, report[128:160])
	case binary.LittleEndian.Uint16(report[256:]) != e.Product:
		return tcbLevel{}, fmt.Errorf("%w: the quoting enclave is product %d, expected %d", attest.ErrEndorsement, binary.LittleEndian.Uint16(report[256:]), e.Product)
	}
	return reached(e.Levels, int(binary.LittleEndian.Uint16(report[258:])), "the quoting enclave")
}

// reversed turns a little-endian number into the form that Intel writes.
func reversed(b []byte) []byte {
	out := slices.Clone(b)
	slices.Reverse(out)
	return out
}
