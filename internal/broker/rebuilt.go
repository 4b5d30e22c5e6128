package broker

import (
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"holdfast/internal/api"
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
	signed     map[[2]string]bool  // whether a key, by its ID, signed a statement: found once
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

// check finds whose keys signed what. What was found before is not asked again:
// neither a key nor a statement changes under its ID.
func (r *rebuilds) check() {
	signed := map[[2]string]bool{}
	r.by = map[string][]string{}
	for id, s := range r.statements {
		for _, name := range slices.Sorted(maps.Keys(r.keys)) {
			pair := [2]string{id, r.keys[name].ID()}
			ok, known := r.signed[pair]
			if !known {
				ok = s.SignedBy(r.keys[name])
			}
			if signed[pair] = ok; ok {
				r.by[id] = append(r.by[id], name)
			}
		}
	}
	r.signed = signed
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
