package web

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"holdfast/internal/api"
	"holdfast/internal/broker/admin"
	"holdfast/internal/broker/audit"
	"holdfast/internal/wiring"
)

// A machinePage is one asking with its chain.
type machinePage struct {
	*asking
	Chain      []link
	Wide, Tall picture
	Held       bool
	Lines      []logLine // of the log that are about it
}

var sessionForm = regexp.MustCompile(`^[0-9a-f]{16}$`)

// machine shows a session, or what a line of the log tells of none.
func (o *Operator) machine(q *http.Request) (any, error) {
	id := q.PathValue("id")
	a, lines, err := o.find(q, id)
	if err != nil {
		return nil, err
	}
	if a == nil {
		return nil, errNotFound
	}
	if a.entry.Session != "" {
		if err := o.Watch.Decisions(q.Context(), []string{a.entry.Session}, a.learn); err != nil {
			return nil, err
		}
	}
	images, err := o.Watch.Images(q.Context())
	if err != nil {
		return nil, err
	}
	p := machinePage{asking: a, Chain: chainOf(a, images), Lines: lines}
	p.Wide, p.Tall = draw(p.Chain, true), draw(p.Chain, false)
	p.Held = !slices.ContainsFunc(p.Chain, func(l link) bool { return l.State == broken })
	return p, nil
}

// maxSearch bounds how far back a session is looked for, in bytes.
const maxSearch = 256 << 20

func (o *Operator) find(q *http.Request, id string) (a *asking, lines []logLine, err error) {
	if !sessionForm.MatchString(id) {
		return o.findLine(q, id)
	}
	var gets []get
	var last api.AuditEntry
	scanned := 0
	err = o.Watch.Log(q.Context(), audit.Mark{}, func(line []byte, at audit.Mark) bool {
		scanned += len(line)
		var e api.AuditEntry
		if !bytes.Contains(line, []byte(id)) || json.Unmarshal(line, &e) != nil || e.Session != id || !asks(e) {
			return scanned < maxSearch
		}
		if len(lines) < 4*maxList {
			lines = append(lines, lineOf(e, at))
		}
		if e.Action == "attest" {
			a = askingOf(e, at)
			return false
		}
		if last = e; len(gets) < 10*maxList {
			gets = append(gets, getOf(e))
		}
		return scanned < maxSearch
	})
	if a == nil && last.Session != "" { // it attested elsewhere, or too long ago
		a = foreignOf(last)
	}
	if a != nil {
		slices.Reverse(gets)
		a.Gets = gets
	}
	slices.Reverse(lines)
	return a, lines, err
}

// findLine finds what has no session: it was refused before it got one.
func (o *Operator) findLine(q *http.Request, id string) (a *asking, lines []logLine, err error) {
	mark, err := audit.ParseMark(id)
	if err != nil || id == "" {
		return nil, nil, errNotFound
	}
	err = o.Watch.Log(q.Context(), audit.Mark{File: mark.File, Offset: mark.Offset + 1<<20}, func(line []byte, at audit.Mark) bool {
		var e api.AuditEntry
		if at == mark && json.Unmarshal(line, &e) == nil && asks(e) && e.Session == "" {
			a, lines = askingOf(e, at), []logLine{lineOf(e, at)}
		}
		return mark.Before(at)
	})
	return a, lines, err
}

// A logPage shows lines of the audit log, the latest first.
type logPage struct {
	Report audit.Report
	Rows   []logLine
	Next   string
	First  bool
}

type logLine struct {
	api.AuditEntry
	At, What string
	Why      []string
	Refused  bool
	Who      string
}

const perLog = 100

func lineOf(e api.AuditEntry, at audit.Mark) logLine {
	what := word(strings.TrimSpace(e.Resource + " " + e.Subject))
	if what == "" {
		what = word(e.InitData)
	}
	who := word(e.Actor)
	if who == "" {
		who = word(e.Peer)
	}
	e.Action, e.Session = word(e.Action), word(e.Session)
	return logLine{AuditEntry: e, At: at.String(), What: what, Why: plainAll(e.Reasons, maxReason), Refused: e.Decision != api.AuditAllow, Who: who}
}

func (o *Operator) log(q *http.Request) (any, error) {
	from, err := audit.ParseMark(q.URL.Query().Get("before"))
	if err != nil {
		return nil, errNotFound
	}
	p := logPage{First: from == audit.Mark{}}
	if p.Report, err = o.Watch.Verify(q.Context()); err != nil {
		return nil, err
	}
	var last audit.Mark
	err = o.Watch.Log(q.Context(), from, func(line []byte, at audit.Mark) bool {
		if len(p.Rows) == perLog {
			p.Next = last.String()
			return false
		}
		var e api.AuditEntry
		if json.Unmarshal(line, &e) != nil {
			e.Action, e.Reasons = "unreadable", []string{"this line is no entry"}
		}
		p.Rows, last = append(p.Rows, lineOf(e, at)), at
		return true
	})
	return p, err
}

func (o *Operator) images(q *http.Request) (any, error) {
	list, err := o.Watch.Images(q.Context())
	for i := range list {
		list[i].Values.Image, list[i].ID, list[i].Values.UKI = word(list[i].Values.Image), word(list[i].ID), word(list[i].Values.UKI)
		if r := list[i].Revoked; r != nil {
			list[i].Revoked = &api.ImageRevocation{At: r.At, Reason: plain(r.Reason, maxReason)}
		}
	}
	return cut(list), err
}

// A cutList says that there is more than it has.
type cutList[T any] struct {
	List []T
	More int
}

const mostRows = 200

func cut[T any](list []T) cutList[T] {
	n := min(len(list), mostRows)
	return cutList[T]{list[:n], len(list) - n}
}

func (o *Operator) configurations(q *http.Request) (any, error) {
	list, err := o.Watch.Configurations(q.Context())
	slices.SortFunc(list, func(x, y api.Configuration) int { return y.Since.Compare(x.Since) })
	for i := range list {
		list[i].Digest, list[i].Resources = word(list[i].Digest), plainAll(list[i].Resources, maxWord)
	}
	return cut(list), err
}

// A policyRow is a kind of policy, what is in force, and what was.
type policyRow struct {
	Kind     string
	InForce  api.PolicyInForce
	Versions cutList[api.Version]
}

func (o *Operator) policies(q *http.Request) (any, error) {
	var rows []policyRow
	for _, kind := range wiring.PolicyKinds {
		p, err := o.Watch.Policy(q.Context(), kind)
		if err != nil {
			return nil, err
		}
		list, err := o.Watch.PolicyHistory(q.Context(), kind)
		if err != nil {
			return nil, err
		}
		for i := range list {
			list[i].Actor, list[i].Comment = word(list[i].Actor), plain(list[i].Comment, maxReason)
		}
		p.Error = plain(p.Error, maxReason)
		rows = append(rows, policyRow{kind, p, cut(list)})
	}
	return rows, nil
}

// A policyPage is a version, or what it changed of another.
type policyPage struct {
	Kind         string
	Number, From int64
	Diff         []diffLine
	Source       string
	Compared     bool
	Others       []int64
}

type diffLine struct{ Class, Text string }

const maxDiffLines = 2000

func (o *Operator) policy(q *http.Request) (any, error) {
	kind := q.PathValue("kind")
	number, err := strconv.ParseInt(q.PathValue("number"), 10, 64)
	if err != nil || !slices.Contains(wiring.PolicyKinds, kind) {
		return nil, errNotFound
	}
	source, err := o.policySource(q, kind, number)
	if err != nil {
		return nil, err
	}
	p := policyPage{Kind: kind, Number: number, Source: clean(source)}
	list, err := o.Watch.PolicyHistory(q.Context(), kind)
	if err != nil {
		return nil, err
	}
	p.Others = []int64{0}
	for _, v := range list[:min(len(list), maxList)] {
		if !v.Removed() {
			p.Others = append(p.Others, v.Number)
		}
	}
	p.Others = slices.DeleteFunc(p.Others, func(n int64) bool { return n == number })
	if from := q.URL.Query().Get("from"); from != "" {
		err = o.compare(q, &p, from)
	}
	return p, err
}

func (o *Operator) compare(q *http.Request, p *policyPage, from string) (err error) {
	if p.From, err = strconv.ParseInt(from, 10, 64); err != nil {
		return errNotFound
	}
	before, err := o.policySource(q, p.Kind, p.From)
	if err != nil {
		return err
	}
	if max(strings.Count(before, "\n"), strings.Count(p.Source, "\n")) > maxDiffLines {
		return nil
	}
	p.Compared = true
	for _, line := range wiring.LineDiff(clean(before), p.Source) {
		class := map[byte]string{'-': "minus", '+': "plus"}[line[0]]
		p.Diff = append(p.Diff, diffLine{class, line})
	}
	return nil
}

func (o *Operator) policySource(q *http.Request, kind string, number int64) (string, error) {
	p, err := o.Watch.PolicyVersion(q.Context(), kind, number)
	var refused *admin.RefusedError
	if errors.As(err, &refused) && refused.Status == http.StatusNotFound {
		return "", errNotFound
	}
	return p.Policy, err
}

// clean keeps lines, but nothing that is not seen.
func clean(text string) string {
	const most = 256 << 10
	lines := strings.Split(text[:min(len(text), most)], "\n")
	for i, line := range lines {
		lines[i] = plain(strings.ReplaceAll(line, "\t", "    "), 1000)
	}
	return strings.Join(lines, "\n")
}

func (o *Operator) keys(q *http.Request) (any, error) { return o.Watch.Keys(q.Context()) }

func (o *Operator) health(q *http.Request) (any, error) { return o.Watch.Health(q.Context()) }
