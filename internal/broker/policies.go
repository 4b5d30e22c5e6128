package broker

import (
	"context"
	"errors"
	"io/fs"
	"net/http"

	"holdfast/internal/api"
	"holdfast/internal/policy"
)

func kindOf(r *http.Request) (string, error) {
	kind := r.PathValue("kind")
	if _, ok := shipped[kind]; !ok {
		return "", refuse(http.StatusNotFound, kindPolicy, "policy %.40q is not known: expected attestation or resource", kind)
	}
	return kind, nil
}

// getPolicy tells which policy is in force, or was in a version: GET
// /kbs/v0/holdfast/policies/KIND?version=N.
func (b *Broker) getPolicy(w http.ResponseWriter, r *http.Request, _ string) error {
	kind, err := kindOf(r)
	if err != nil {
		return err
	}
	if r.URL.Query().Has("version") {
		return b.getPolicyVersion(w, r, kind)
	}
	rules, err := b.rules(r.Context())
	if err != nil {
		return err
	}
	p := rules.policies[kind]
	answer := api.PolicyInForce{Kind: kind, Version: p.version, Policy: p.source}
	if p.err != nil {
		answer.Error = p.err.Error()
	} else {
		answer.Engine = p.policy.Languages()
	}
	writeJSON(w, http.StatusOK, answer)
	return nil
}

func (b *Broker) getPolicyVersion(w http.ResponseWriter, r *http.Request, kind string) error {
	n, err := number(r, "version", 0)
	if err != nil {
		return err
	}
	source, err := b.policyOf(r.Context(), kind, n)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, api.PolicyInForce{Kind: kind, Version: n, Policy: source})
	return nil
}

// changePolicy puts a policy in force, a new one or that of a version before:
// POST /kbs/v0/holdfast/policies/KIND.
func (b *Broker) changePolicy(w http.ResponseWriter, r *http.Request, actor string) error {
	kind, err := kindOf(r)
	if err != nil {
		return err
	}
	var c api.PolicyChange
	if err := readJSON(w, r, kindPolicy, &c); err != nil {
		return err
	}
	if c.Version != nil && *c.Version == 0 {
		return b.shipPolicy(w, r, actor, kind, c.Comment)
	}
	source := c.Policy
	if c.Version != nil {
		if source, err = b.policyOf(r.Context(), kind, *c.Version); err != nil {
			return err
		}
	}
	return b.putPolicy(w, r, actor, kind, []byte(source), c.Comment)
}

// shipPolicy lets the policy that the broker ships hold again, also when a
// later version of this program ships another.
func (b *Broker) shipPolicy(w http.ResponseWriter, r *http.Request, actor, kind, comment string) error {
	entry := api.AuditEntry{Action: "set-policy", Actor: actor, Peer: r.RemoteAddr, Subject: kind + " " + digestOf([]byte(shipped[kind]))}
	return b.change(w, r, entry, func(ctx context.Context) error {
		err := b.set(ctx, api.Version{Kind: api.PolicyKind, Name: kind, Actor: actor, Comment: comment})
		return absent(err, "the %s policy is the one that the broker ships already", kind)
	})
}

// putPolicy makes a policy that compiles the one in force.
func (b *Broker) putPolicy(w http.ResponseWriter, r *http.Request, actor, kind string, source []byte, comment string) error {
	if err := compiles(kind, source); err != nil {
		return err
	}
	entry := api.AuditEntry{Action: "set-policy", Actor: actor, Peer: r.RemoteAddr, Subject: kind + " " + digestOf(source)}
	return b.change(w, r, entry, func(ctx context.Context) error {
		return b.set(ctx, api.Version{Kind: api.PolicyKind, Name: kind, Actor: actor, Comment: comment, Content: source})
	})
}

func compiles(kind string, source []byte) error {
	if _, err := policy.Compile(kind+".rego", string(source)); err != nil {
		return refuse(http.StatusBadRequest, kindPolicy, "%w", err)
	}
	return nil
}

// policyOf is the source of a version of a kind; 0 is the shipped one.
func (b *Broker) policyOf(ctx context.Context, kind string, number int64) (string, error) {
	if number == 0 {
		return shipped[kind], nil
	}
	v, err := b.state.Version(ctx, api.PolicyKind, number)
	if errors.Is(err, fs.ErrNotExist) || err == nil && (v.Name != kind || v.Removed()) {
		return "", refuse(http.StatusNotFound, kindPolicy, "the %s policy has no version %d", kind, number)
	}
	return string(v.Content), err
}
