package broker

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"time"

	"holdfast/internal/api"
	"holdfast/internal/broker/roles"
	"holdfast/internal/cosign"
	"holdfast/internal/input"
	"holdfast/internal/oci"
	"holdfast/internal/rebuilt"
)

// rebuilds are who may say that he rebuilt an image, what was said, and how
// many have to say it.
type rebuilds struct {
	keys       map[string]cosign.Key // by name
	statements map[string]*rebuilt.Statement
	required   api.Requirements
	by         map[string][]string // names whose keys signed a statement, by its ID
}

// readRebuilders takes each key that can be read. One that cannot be counts
// for nobody.
func readRebuilders(documents []api.Version, log *slog.Logger) map[string]cosign.Key {
	all := map[string]cosign.Key{}
	for _, d := range documents {
		key, err := rebuilderKey(d.Content)
		if err != nil {
			log.Warn("broker: a rebuilder's key is ignored", "name", d.Name, "error", err)
			continue
		}
		all[d.Name] = key
	}
	return all
}

func rebuilderKey(pem []byte) (cosign.Key, error) {
	list, err := cosign.ParseKeys(pem)
	if err == nil && len(list) != 1 {
		err = fmt.Errorf("it has %d keys: want one", len(list))
	}
	if err != nil {
		return cosign.Key{}, err
	}
	return list[0], nil
}

func readRebuilds(documents []api.Version, log *slog.Logger) map[string]*rebuilt.Statement {
	all := map[string]*rebuilt.Statement{}
	for _, d := range documents {
		s, err := rebuilt.Parse(d.Content)
		if err == nil && digestOf(d.Content) != d.Name {
			err = fmt.Errorf("its content has another digest than its name")
		}
		if err != nil {
			log.Warn("broker: a statement of a rebuild is ignored", "id", d.Name, "error", err)
			continue
		}
		all[d.Name] = s
	}
	return all
}

// readRequirements fails where it cannot tell what is required: then nothing
// is decided at all.
func readRequirements(documents []api.Version) (r api.Requirements, err error) {
	for _, d := range documents {
		if err := input.JSON(d.Content, &r); err != nil {
			return r, fmt.Errorf("requirements: %w", err)
		}
		if n := r.Rebuilders; n != nil && n.AtLeast < 1 {
			return r, fmt.Errorf("requirements: at_least is %d", n.AtLeast)
		}
	}
	return r, nil
}

// check finds whose keys signed what: once for each change of either.
func (r *rebuilds) check() {
	r.by = map[string][]string{}
	for id, s := range r.statements {
		for _, name := range slices.Sorted(maps.Keys(r.keys)) {
			if s.SignedBy(r.keys[name]) {
				r.by[id] = append(r.by[id], name)
			}
		}
	}
}

// of are those who have rebuilt the image of these values, and when the first
// statement of these expires.
func (r *rebuilds) of(v *api.ReferenceValues, now time.Time) (who []api.Rebuilder, until time.Time) {
	names := map[string]bool{}
	for id, s := range r.statements {
		if !s.About(oci.Digest(v.UKI), v.RootHash) || !s.Good(now) || len(r.by[id]) == 0 {
			continue
		}
		if s.Until != nil && (until.IsZero() || s.Until.Before(until)) {
			until = *s.Until
		}
		for _, name := range r.by[id] {
			names[name] = true
		}
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		who = append(who, api.Rebuilder{Name: name, Key: r.keys[name].ID()})
	}
	return who, until
}

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
	name := r.PathValue("name")
	entry := api.AuditEntry{Action: "remove-rebuilder", Actor: actor, Peer: r.RemoteAddr, Subject: name}
	return b.change(w, r, entry, func(ctx context.Context) error {
		return absent(b.set(ctx, api.Version{Kind: api.RebuilderKind, Name: name, Actor: actor, Comment: comment(r)}), "no rebuilder is called %.80q here", name)
	})
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
	entry := api.AuditEntry{Action: "load-rebuild", Actor: actor, Peer: r.RemoteAddr, Subject: fmt.Sprintf("%s %s", s.Subject("uki.efi"), digestOf(raw)), Reasons: names}
	return b.change(w, r, entry, func(ctx context.Context) error {
		return b.set(ctx, api.Version{Kind: api.RebuildKind, Name: digestOf(raw), Actor: actor, Comment: comment(r), Content: raw})
	})
}

func (b *Broker) forgetRebuild(w http.ResponseWriter, r *http.Request, actor string) error {
	id := r.PathValue("id")
	entry := api.AuditEntry{Action: "forget-rebuild", Actor: actor, Peer: r.RemoteAddr, Subject: id}
	return b.change(w, r, entry, func(ctx context.Context) error {
		return absent(b.set(ctx, api.Version{Kind: api.RebuildKind, Name: id, Actor: actor, Comment: comment(r)}), "no statement of a rebuild is here by %.80q", id)
	})
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
