package web

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"time"

	"holdfast/internal/api"
	"holdfast/internal/broker/audit"
)

// Bounds of a page of machines.
const (
	maxAsked = 40
	maxScan  = 16 << 20 // bytes of the log
	// A machine fetches soon after it attested: so far behind the page's
	// beginning its releases are looked for.
	slack = 128 << 10
)

// An asking is one time that a machine came: what it showed, and what it got.
type asking struct {
	ID       string // its session, or the place of its line
	At       time.Time
	Peer     string
	Device   string // its endorsement key's certificate, sha256:…
	Proven   bool   // its evidence was verified
	Allowed  bool   // a token was made
	Foreign  bool   // it attested elsewhere
	Issuer   string // there
	Devices  []string
	Reasons  []string
	Warning  string
	Digest   string // of its configuration
	Gets     []get
	Evidence shown
	mark     audit.Mark
	entry    api.AuditEntry
}

// A get is one resource that was asked for.
type get struct {
	At       time.Time
	Resource string
	Allowed  bool
	Reasons  []string
	Proof    string
	Policy   int64 // version of the policy that decided, or notKept
}

// uses are the plugins' calls by which something is used that is not given away.
var uses = []struct{ prefix, done string }{
	{"pkcs11/unwrap-key/", "Opened in the HSM with"}, {"spiffe/svid/", "Certified as"},
}

// Done says what was done, with what Name says.
func (g get) Done() string {
	for _, u := range uses {
		if strings.HasPrefix(g.Resource, u.prefix) {
			return u.done
		}
	}
	return "Released"
}

// Name is the resource, by the path that an administrator allows.
func (g get) Name() string {
	for _, u := range uses {
		if name, ok := strings.CutPrefix(g.Resource, u.prefix); ok {
			return name
		}
	}
	return g.Resource
}

// notKept stands for a version when no decision tells of it.
const notKept = -1

// HasSession says that it got as far as a session.
func (a *asking) HasSession() bool { return a.entry.Session != "" }

// Outcome is the word for all of it.
func (a *asking) Outcome() string {
	given, denied := a.counts()
	switch {
	case !a.Allowed:
		return "refused"
	case given > 0 && denied > 0:
		return "in part"
	case given > 0:
		return "released"
	case denied > 0:
		return "refused"
	}
	return "attested"
}

func (a *asking) counts() (given, denied int) {
	for _, g := range a.Gets {
		if g.Allowed {
			given++
		} else {
			denied++
		}
	}
	return given, denied
}

// Given and Denied are its resources by what became of them.
func (a *asking) Given() []get  { return a.those(true) }
func (a *asking) Denied() []get { return a.those(false) }

func (a *asking) those(allowed bool) (list []get) {
	for _, g := range a.Gets {
		if g.Allowed == allowed {
			list = append(list, g)
		}
	}
	return list
}

// An askedPage lists machines, the latest first.
type askedPage struct {
	Rows     []*asking
	Refused  int
	Released int
	Next     string
	First    bool
	Only     string // "refused", or all
}

func (o *Operator) asked(q *http.Request) (any, error) {
	from, err := audit.ParseMark(q.URL.Query().Get("before"))
	if err != nil {
		return nil, errNotFound
	}
	p := &askedPage{First: from == audit.Mark{}, Only: q.URL.Query().Get("only")}
	g := gathering{before: from, gets: map[string][]get{}, first: map[string]api.AuditEntry{}, only: p.Only}
	start := from
	if !p.First {
		start.Offset += slack
	}
	if err := o.Watch.Log(q.Context(), start, g.take); err != nil {
		return nil, err
	}
	p.Rows = g.rows
	if g.next != (audit.Mark{}) {
		p.Next = g.next.String()
	}
	if err := o.explain(q.Context(), &g); err != nil {
		return nil, err
	}
	p.Rows = g.rows
	for _, a := range p.Rows {
		given, denied := a.counts()
		p.Released += given
		if p.Refused += denied; !a.Allowed {
			p.Refused++
		}
	}
	return p, nil
}

// A gathering reads askings out of the log, the latest first.
type gathering struct {
	before  audit.Mark
	only    string
	rows    []*asking
	gets    map[string][]get          // of sessions whose attestation is not reached yet
	first   map[string]api.AuditEntry // the earliest line of such a session
	scanned int
	last    audit.Mark
	next    audit.Mark // where the next page begins; zero: this is the last
}

// asks are the actions of machines.
func asks(e api.AuditEntry) bool {
	switch e.Action {
	case "auth", "attest", "get-resource", "call-plugin":
		return e.Actor == ""
	}
	return false
}

func (g *gathering) take(line []byte, at audit.Mark) bool {
	if g.scanned += len(line); g.scanned > maxScan || len(g.rows) >= maxAsked {
		g.next = g.last
		return false
	}
	g.last = at
	inside := g.before == audit.Mark{} || at.Before(g.before)
	var e api.AuditEntry
	if !bytes.Contains(line, []byte(`"action":"`)) || json.Unmarshal(line, &e) != nil || !asks(e) {
		return true
	}
	if e.Action == "attest" || e.Action == "auth" {
		if inside {
			g.add(e, at)
		}
		delete(g.gets, e.Session)
		delete(g.first, e.Session)
	} else if e.Session != "" && len(g.gets) < 10*maxAsked {
		g.gets[e.Session] = append(g.gets[e.Session], getOf(e))
		if inside {
			g.first[e.Session] = e
		}
	}
	return true
}

func (g *gathering) add(e api.AuditEntry, at audit.Mark) {
	a := askingOf(e, at)
	a.Gets = g.gets[e.Session]
	slices.Reverse(a.Gets)
	if g.only != "refused" || a.Outcome() == "refused" || a.Outcome() == "in part" {
		g.rows = append(g.rows, a)
	}
}

func askingOf(e api.AuditEntry, at audit.Mark) *asking {
	a := &asking{ID: e.Session, At: e.Time, Peer: word(e.Peer), Device: word(e.Offered), Proven: e.Claims != nil, Allowed: e.Decision == api.AuditAllow,
		Devices: plainAll(e.Devices, maxWord), Reasons: plainAll(e.Reasons, maxReason), Warning: plain(e.Warning, maxReason), Digest: word(e.InitData), mark: at, entry: e}
	if a.ID == "" {
		a.ID = at.String()
	}
	return a
}

// foreignOf is a machine that attested elsewhere, by the line of a release.
func foreignOf(e api.AuditEntry) *asking {
	a := askingOf(e, audit.Mark{})
	issuer, _ := strings.CutPrefix(e.Subject, "token of ")
	a.Foreign, a.Issuer, a.Allowed, a.Reasons = true, word(issuer), true, nil
	return a
}

func getOf(e api.AuditEntry) get {
	return get{At: e.Time, Resource: word(e.Resource), Allowed: e.Decision == api.AuditAllow, Reasons: plainAll(e.Reasons, maxReason), Proof: word(e.Proof), Policy: notKept}
}

// explain adds what decisions tell of the rows, and rows for machines that
// attested elsewhere.
func (o *Operator) explain(ctx context.Context, g *gathering) error {
	rows := map[string]*asking{}
	sessions := []string{}
	for _, a := range g.rows {
		if a.entry.Session != "" {
			rows[a.entry.Session] = a
			sessions = append(sessions, a.entry.Session)
		}
	}
	elsewhere := map[string]bool{}
	for session := range g.first {
		elsewhere[session] = true
		sessions = append(sessions, session)
	}
	err := o.Watch.Decisions(ctx, sessions[:min(len(sessions), 400)], func(d api.RecordedDecision) {
		if d.Kind == "attestation" {
			delete(elsewhere, d.Session)
		}
		if a := rows[d.Session]; a != nil {
			a.learn(d)
		}
	})
	if err != nil {
		return err
	}
	for session := range elsewhere {
		a := foreignOf(g.first[session])
		a.Gets = g.gets[session]
		g.rows = append(g.rows, a)
	}
	slices.SortStableFunc(g.rows, func(x, y *asking) int { return y.At.Compare(x.At) })
	return nil
}
