package broker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"holdfast/internal/api"
	"holdfast/internal/input"
	"holdfast/internal/policy"
)

// rules are what decisions stand on, read and checked once for each change of
// them, whichever process made it. They are shared: nobody alters them.
type rules struct {
	policies       map[string]compiledPolicy
	references     references
	values         map[string]json.RawMessage // by name, set by administrators
	configurations map[string]api.Configuration
	standings      map[string]api.ImageStanding // by UKI
	rebuilds       rebuilds
	keys           *AttestationKeys

	// What follows of these at a time.
	data         *policy.Data
	memory       *policy.Memory // of answers over data
	trusted      references     // those that are neither expired nor revoked
	images       map[string]api.KnownImage
	built, until time.Time // until is when one expires; zero: none does
	narrowed     *narrowed

	generations map[string]int64 // of what is above, by kind
	checked     time.Time        // when the references were
}

// compiledPolicy is a policy in force, or why it cannot be asked. Version is
// that of the policies; 0 where the shipped one holds.
type compiledPolicy struct {
	source  string
	digest  string // of the source
	version int64
	engine  string // what decides, and the language of the policy
	policy  *policy.Policy
	err     error
}

// recheck is how long an envelope's certificate is taken to be good without
// being looked at.
const recheck = time.Minute

// ruleBook has the rules as they were read last.
type ruleBook struct {
	mu   sync.Mutex
	last *rules // guarded by mu
}

// rules returns what is in force now. The same pointer means the same rules.
func (b *Broker) rules(ctx context.Context) (*rules, error) {
	now, err := b.state.Generations(ctx)
	if err != nil {
		return nil, err
	}
	b.book.mu.Lock()
	defer b.book.mu.Unlock()
	fresh := b.book.last
	for _, kind := range api.VersionedKinds() {
		if b.book.last.holds(kind, now[kind], b.cfg.Now()) {
			continue
		}
		if fresh == b.book.last {
			fresh = b.book.last.copied()
		}
		if err := b.readRules(ctx, fresh, kind); err != nil {
			return nil, err
		}
	}
	keys := b.attestationKeys()
	if at := b.cfg.Now(); fresh != b.book.last || fresh.stale(at) || fresh.keys != keys {
		if fresh == b.book.last {
			fresh = b.book.last.copied()
		}
		fresh.keys = keys
		if err := fresh.build(at); err != nil {
			return nil, err
		}
	}
	b.book.last = fresh
	return fresh, nil
}

// holds tells whether a kind was read since it changed.
func (r *rules) holds(kind string, generation int64, now time.Time) bool {
	if r == nil {
		return false
	}
	if age := now.Sub(r.checked); kind == api.ReferenceKind && (age < 0 || age > recheck) {
		return false
	}
	read, ok := r.generations[kind]
	return ok && read == generation
}

func (r *rules) copied() *rules {
	if r == nil {
		return &rules{generations: map[string]int64{}}
	}
	c := *r
	c.generations = maps.Clone(r.generations)
	return &c
}

func (b *Broker) readRules(ctx context.Context, into *rules, kind string) error {
	documents, generation, err := b.state.Documents(ctx, kind)
	if err != nil {
		return err
	}
	into.generations[kind] = generation
	switch kind {
	case api.PolicyKind:
		into.policies = readPolicies(documents)
	case api.ReferenceKind:
		into.references, into.checked = b.readReferences(documents), b.cfg.Now()
	case api.ValueKind:
		into.values = readValues(documents)
	case api.ConfigurationKind:
		into.configurations, err = readConfigurations(documents)
	case api.StandingKind:
		into.standings, err = readStandings(documents)
	case api.RebuilderKind:
		into.rebuilds.keys, into.rebuilds.by = readRebuilders(documents, b.log), nil
	case api.RebuildKind:
		into.rebuilds.statements, into.rebuilds.by = readRebuilds(documents, b.log), nil
	case api.RequirementKind:
		into.rebuilds.required, err = readRequirements(documents)
	}
	return err
}

// readPolicies compiles what is in force. The shipped policies hold until
// others are set.
func readPolicies(documents []api.Version) map[string]compiledPolicy {
	all := map[string]compiledPolicy{}
	for kind, source := range shipped {
		all[kind] = compiledPolicy{source: source}
	}
	for _, d := range documents {
		all[d.Name] = compiledPolicy{source: string(d.Content), version: d.Number}
	}
	for kind, p := range all {
		p.digest = digestOf([]byte(p.source))
		if p.policy, p.err = policy.Compile(kind+".rego", p.source); p.err == nil {
			p.engine = p.policy.Languages()
		}
		all[kind] = p
	}
	return all
}

// readReferences checks the trusted images. An envelope that no longer passes,
// be it changed on disk or signed by a key that was replaced, trusts nothing.
func (b *Broker) readReferences(documents []api.Version) references {
	all := references{map[string]*api.ReferenceValues{}, map[string][]byte{}}
	for _, d := range documents {
		values, err := b.verifyReference(d.Content)
		if err == nil && digestOf(d.Content) != d.Name {
			err = errors.New("its content has another digest than its name")
		}
		if err != nil {
			b.log.Warn("broker: reference values are ignored", "id", d.Name, "error", err)
			continue
		}
		all.values[d.Name], all.envelopes[d.Name] = values, d.Content
	}
	return all
}

func readConfigurations(documents []api.Version) (map[string]api.Configuration, error) {
	return readEach(documents, "configuration", func(c api.Configuration) string { return c.Digest })
}

func readStandings(documents []api.Version) (map[string]api.ImageStanding, error) {
	return readEach(documents, "standing of image", func(s api.ImageStanding) string { return s.UKI })
}

// readEach reads documents of JSON, each of which has to be about its name.
func readEach[T any](documents []api.Version, what string, about func(T) string) (map[string]T, error) {
	all := map[string]T{}
	for _, d := range documents {
		var v T
		err := input.JSON(d.Content, &v)
		if err == nil && about(v) != d.Name {
			err = fmt.Errorf("it is about %s", about(v))
		}
		if err != nil {
			return nil, fmt.Errorf("%s %s: %w", what, d.Name, err)
		}
		all[d.Name] = v
	}
	return all, nil
}
