package broker

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"holdfast/internal/api"
	"holdfast/internal/broker/roles"
	"holdfast/internal/cosign"
	"holdfast/internal/rebuilt"
)

// — who may say it —

func (b *Broker) listRebuilders(w http.ResponseWriter, r *http.Request, _ string) error {
	rules, err := b.rules(r.Context())
	if err != nil {
		return err
	}
	list := []api.RebuilderKey{}
	for _, name := range slices.Sorted(maps.Keys(rules.rebuilds.keys)) {
		key := rules.rebuilds.keys[name]
		list = append(list, api.RebuilderKey{Name: name, PEM: string(key.PEM()), Key: key.ID()})
	}
	writeJSON(w, http.StatusOK, list)
	return nil
}

// addRebuilder gives a key a name. A key has one name and a name has one key:
// to replace it, take it away first.
func (b *Broker) addRebuilder(w http.ResponseWriter, r *http.Request, actor string) error {
	var m api.RebuilderKey
	if err := readJSON(w, r, kindReference, &m); err != nil {
		return err
	}
	if err := roles.CheckName(m.Name); err != nil {
		return refuse(http.StatusBadRequest, kindReference, "%w", err)
	}
	key, err := rebuilderKey([]byte(m.PEM))
	if err != nil {
		return refuse(http.StatusBadRequest, kindReference, "key of %s: %w", m.Name, err)
	}
	rules, err := b.rules(r.Context())
	if err != nil {
		return err
	}
	if err := rules.rebuilds.checkNew(m.Name, key); err != nil {
		return err
	}
	entry := api.AuditEntry{Action: "add-rebuilder", Actor: actor, Peer: r.RemoteAddr, Subject: m.Name + " " + key.ID()}
	return b.change(w, r, entry, func(ctx context.Context) error {
		return b.set(ctx, api.Version{Kind: api.RebuilderKind, Name: m.Name, Actor: actor, Comment: comment(r), Content: key.PEM()})
	})
}

func (r *rebuilds) checkNew(name string, key cosign.Key) error {
	if had, ok := r.keys[name]; ok && had.ID() != key.ID() {
		return refuse(http.StatusConflict, kindReference, "%s has another key here: remove it first", name)
	}
	for other, had := range r.keys {
		if other != name && had.ID() == key.ID() {
			return refuse(http.StatusConflict, kindReference, "the key is that of %s: one key counts once", other)
		}
	}
	return nil
}

func (b *Broker) removeRebuilder(w http.ResponseWriter, r *http.Request, actor string) error {
	entry := api.AuditEntry{Action: "remove-rebuilder", Actor: actor, Peer: r.RemoteAddr, Subject: r.PathValue("name")}
	return b.remove(w, r, entry, api.RebuilderKind, "no rebuilder is called %.80q here")
}

// — what was said —

func (b *Broker) listRebuilds(w http.ResponseWriter, r *http.Request, _ string) error {
	rules, err := b.rules(r.Context())
	if err != nil {
		return err
	}
	list := []api.LoadedRebuild{}
	for _, id := range slices.Sorted(maps.Keys(rules.rebuilds.statements)) {
		s := rules.rebuilds.statements[id]
		list = append(list, api.LoadedRebuild{
			ID: id, UKI: string(s.Subject("uki.efi")), RootHash: s.RootHash, Lock: string(s.Input("lock")),
			By: append([]string{}, rules.rebuilds.by[id]...), Until: s.Until, Expired: !s.Good(b.cfg.Now()),
		})
	}
	writeJSON(w, http.StatusOK, list)
	return nil
}

// loadRebuild keeps a statement that a key known here signed. Of which image
// it is need not be known yet.
func (b *Broker) loadRebuild(w http.ResponseWriter, r *http.Request, actor string) error {
	raw, err := readBody(w, r, maxAdmin)
	if err != nil {
		return err
	}
	raw = bytes.Clone(raw)
	s, err := rebuilt.Parse(raw)
	if err != nil {
		return refuse(http.StatusBadRequest, kindReference, "statement of a rebuild: %w", err)
	}
	rules, err := b.rules(r.Context())
	if err != nil {
		return err
	}
	names := slices.DeleteFunc(slices.Sorted(maps.Keys(rules.rebuilds.keys)), func(name string) bool { return !s.SignedBy(rules.rebuilds.keys[name]) })
	switch {
	case len(names) == 0:
		return refuse(http.StatusBadRequest, kindReference, "statement of a rebuild: no key of a rebuilder known here signed it")
	case s.Format != "machine":
		return refuse(http.StatusBadRequest, kindReference, "statement of a rebuild: it is of an image of format %.40q, want machine", s.Format)
	case !s.Good(b.cfg.Now()):
		return refuse(http.StatusBadRequest, kindReference, "statement of a rebuild: it was good until %s", s.Until.UTC().Format(time.RFC3339))
	}
	entry := api.AuditEntry{Action: "load-rebuild", Actor: actor, Peer: r.RemoteAddr, Subject: fmt.Sprintf("%s %s by %s", s.Subject("uki.efi"), digestOf(raw), strings.Join(names, ", "))}
	return b.change(w, r, entry, func(ctx context.Context) error {
		return b.set(ctx, api.Version{Kind: api.RebuildKind, Name: digestOf(raw), Actor: actor, Comment: comment(r), Content: raw})
	})
}

func (b *Broker) forgetRebuild(w http.ResponseWriter, r *http.Request, actor string) error {
	entry := api.AuditEntry{Action: "forget-rebuild", Actor: actor, Peer: r.RemoteAddr, Subject: r.PathValue("id")}
	return b.remove(w, r, entry, api.RebuildKind, "no statement of a rebuild is here by %.80q")
}

// — how many have to —

func (b *Broker) getRequirements(w http.ResponseWriter, r *http.Request, _ string) error {
	rules, err := b.rules(r.Context())
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, rules.rebuilds.required)
	return nil
}

func (b *Broker) setRequirements(w http.ResponseWriter, r *http.Request, actor string) error {
	var m api.Requirements
	if err := readJSON(w, r, kindPolicy, &m); err != nil {
		return err
	}
	rules, err := b.rules(r.Context())
	if err != nil {
		return err
	}
	if err := rules.rebuilds.checkRequired(m.Rebuilders); err != nil {
		return err
	}
	content, err := json.Marshal(m)
	if err != nil {
		return err
	}
	entry := api.AuditEntry{Action: "set-requirements", Actor: actor, Peer: r.RemoteAddr, Subject: string(content)}
	return b.change(w, r, entry, func(ctx context.Context) error {
		return b.set(ctx, api.Version{Kind: api.RequirementKind, Name: api.RequirementsName, Actor: actor, Comment: comment(r), Content: content})
	})
}

// checkRequired refuses what nobody could ever fulfil, or everybody does.
func (r *rebuilds) checkRequired(n *api.RebuildersRequired) error {
	if n == nil {
		return nil
	}
	slices.Sort(n.Of)
	n.Of = slices.Compact(n.Of)
	for _, name := range n.Of {
		if _, ok := r.keys[name]; !ok {
			return refuse(http.StatusBadRequest, kindPolicy, "no rebuilder is called %.80q here", name)
		}
	}
	if n.AtLeast < 1 || n.AtLeast > len(n.Of) {
		return refuse(http.StatusBadRequest, kindPolicy, "%d of %d rebuilders are asked for: want 1 to %d", n.AtLeast, len(n.Of), len(n.Of))
	}
	return nil
}
