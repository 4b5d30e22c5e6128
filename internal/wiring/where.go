package wiring

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"holdfast/internal/api"
	"holdfast/internal/broker/admin"
	"holdfast/internal/deb"
	"holdfast/internal/sign"
)

// A Wanted package is looked for: any version of it, or those that Op and
// Version admit, in the order of deb-version(7).
type Wanted struct {
	Name    string `json:"package"`
	Op      string `json:"op,omitempty"` // =, <, <=, >, >=
	Version string `json:"version,omitempty"`
}

var wantedForm = regexp.MustCompile(`^([^<>=\s]+)(?:(<=|>=|=|<|>)([^<>=\s]+))?$`)

// ParseWanted reads PACKAGE[=VERSION].
func ParseWanted(text string) (Wanted, error) {
	m := wantedForm.FindStringSubmatch(text)
	if m == nil {
		return Wanted{}, fmt.Errorf("%.80q: want PACKAGE, PACKAGE=VERSION, or <, <=, > or >= in place of =", text)
	}
	w := Wanted{m[1], m[2], m[3]}
	if w.Op == "" {
		return w, nil
	}
	_, err := w.compare(w.Version)
	return w, err
}

// compare leaves out the letter with which Go's versions begin.
func (w Wanted) compare(version string) (int, error) {
	return deb.CompareVersions(strings.TrimPrefix(version, "v"), strings.TrimPrefix(w.Version, "v"))
}

// in are the packages among those of an image that are wanted.
func (w Wanted) in(list []api.Package) []api.Package {
	found := []api.Package{}
	for _, p := range list {
		if p.Name == w.Name && w.admits(p.Version) {
			found = append(found, p)
		}
	}
	return found
}

// admits takes a version that cannot be compared: who looks for what is bad
// must see it.
func (w Wanted) admits(version string) bool {
	if w.Op == "" {
		return true
	}
	c, err := w.compare(version)
	if err != nil {
		return true
	}
	switch w.Op {
	case "=":
		return c == 0
	case "<":
		return c < 0
	case "<=":
		return c <= 0
	case ">":
		return c > 0
	}
	return c >= 0
}

// A Holding is a machine, in one configuration with one image, and what it was
// given.
type Holding struct {
	Machine       string        `json:"machine"` // sha256:… of its endorsement certificate; empty when its evidence has none
	Image         string        `json:"image"`   // the UKI's digest; empty when unknown
	Name          string        `json:"name,omitempty"`
	Configuration string        `json:"configuration"`
	Packages      []api.Package `json:"packages"` // as wanted; none when the contents are unknown
	Unknown       bool          `json:"unknown_contents,omitempty"`
	Sessions      int           `json:"sessions"`
	First         time.Time     `json:"first"`
	Last          time.Time     `json:"last"`
	Secrets       []Given       `json:"secrets"`
}

// A Given secret, as it was released last.
type Given struct {
	Resource string    `json:"resource"`
	Time     time.Time `json:"time"`
	Session  string    `json:"session"`
	Proof    string    `json:"proof,omitempty"`
}

// Whereabouts are the machines that run a package.
type Whereabouts struct {
	Wanted
	Asked    int        `json:"machines_asked"` // all that ever proved themselves here
	Machines []*Holding `json:"machines"`
}

// Where finds the machines whose image contains a package, or whose image's
// contents the broker was never told, and what they were given.
func Where(ctx context.Context, b *admin.Client, w Wanted) (*Whereabouts, error) {
	c := &census{wanted: w, contents: map[string]api.ImageContents{}, shows: map[string]string{}, names: map[string]string{},
		sessions: map[string]*Holding{}, holdings: map[[3]string]*Holding{}}
	contents, err := b.Contents(ctx)
	if err != nil {
		return nil, err
	}
	for _, one := range contents {
		c.contents[one.UKI] = one
	}
	if err := c.images(ctx, b); err != nil {
		return nil, err
	}
	audit, err := b.Decisions(ctx)
	if err != nil {
		return nil, err
	}
	for _, e := range audit {
		if e.Decision == api.AuditAllow && e.Session != "" {
			c.take(e)
		}
	}
	return c.report(), nil
}

// A census goes through the audit log.
type census struct {
	wanted   Wanted
	contents map[string]api.ImageContents // by UKI
	shows    map[string]string            // PCR 11 to UKI
	names    map[string]string            // of UKIs
	sessions map[string]*Holding
	holdings map[[3]string]*Holding
}

// images reads all reference values that ever were trusted: what was forgotten
// meanwhile still tells what had booted.
func (c *census) images(ctx context.Context, b *admin.Client) error {
	list, err := b.History(ctx, api.ReferenceKind)
	if err != nil {
		return err
	}
	read := map[string]bool{} // names are digests
	for _, v := range list {
		if v.Removed() || read[v.Name] {
			continue
		}
		read[v.Name] = true
		full, err := b.Version(ctx, api.ReferenceKind, v.Number)
		if err != nil {
			return err
		}
		if values, err := peekValues(full.Content); err == nil {
			c.shows[values.PCRs["11"]], c.names[values.UKI] = values.UKI, values.Image
		}
	}
	return nil
}

// peekValues reads what the broker had believed.
func peekValues(raw []byte) (*api.ReferenceValues, error) {
	envelope, err := sign.ParseEnvelope(raw)
	if err != nil {
		return nil, err
	}
	statement, err := sign.Peek(envelope)
	if err != nil {
		return nil, err
	}
	values := &api.ReferenceValues{}
	return values, json.Unmarshal(statement.Predicate, values)
}

// take notes a machine that proved itself, or that was given something.
func (c *census) take(e api.AuditEntry) {
	h := c.sessions[e.Session]
	if e.Action == "attest" || h == nil { // a session that another verifier saw has no line of its own
		h = c.holding(e)
		h.Sessions++
		c.sessions[e.Session] = h
	}
	h.Last = e.Time
	if e.Action != "attest" && e.Resource != "" {
		h.give(Given{e.Resource, e.Time, e.Session, e.Proof})
	}
}

func (c *census) holding(e api.AuditEntry) *Holding {
	machine, uki := "", e.Image
	if e.Claims != nil {
		machine = e.Claims.EK
		uki = cmp.Or(uki, c.shows[e.Claims.PCRs["11"]])
	}
	key := [3]string{machine, uki, e.InitData}
	h := c.holdings[key]
	if h == nil {
		contents, known := c.contents[uki]
		h = &Holding{
			Machine: machine, Image: uki, Name: c.names[uki], Configuration: e.InitData, First: e.Time, Secrets: []Given{},
			Packages: c.wanted.in(contents.Packages), Unknown: !known,
		}
		c.holdings[key] = h
	}
	return h
}

// give notes the latest release of each resource.
func (h *Holding) give(g Given) {
	i := slices.IndexFunc(h.Secrets, func(had Given) bool { return had.Resource == g.Resource })
	if i < 0 {
		h.Secrets = append(h.Secrets, g)
		return
	}
	h.Secrets[i] = g
}

func (c *census) report() *Whereabouts {
	r := &Whereabouts{Wanted: c.wanted, Asked: len(c.holdings), Machines: []*Holding{}}
	for _, h := range c.holdings {
		if h.Unknown || len(h.Packages) > 0 {
			slices.SortFunc(h.Secrets, func(x, y Given) int { return strings.Compare(x.Resource, y.Resource) })
			r.Machines = append(r.Machines, h)
		}
	}
	slices.SortFunc(r.Machines, func(x, y *Holding) int {
		return cmp.Or(x.First.Compare(y.First), strings.Compare(x.Machine, y.Machine), strings.Compare(x.Configuration, y.Configuration), strings.Compare(x.Image, y.Image))
	})
	return r
}

// Unknown is how many of them are listed for lack of knowledge.
func (r *Whereabouts) Unknown() (n int) {
	for _, h := range r.Machines {
		if h.Unknown {
			n++
		}
	}
	return n
}
