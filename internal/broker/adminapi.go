package broker

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net/http"
	"slices"

	"holdfast/internal/api"
	"holdfast/internal/input"
)

// What bounds the body of an administrator's request. The provenance of an
// image holds all sources of what was compiled for it.
const (
	maxAdmin    = 2 << 20
	maxContents = 24 << 20 // base64 of two documents, as they are read from files
)

func adminBound(r *http.Request) int64 {
	if r.URL.Path == api.ContentsPath {
		return maxContents
	}
	return maxAdmin
}

func readJSON(w http.ResponseWriter, r *http.Request, kind string, v any) error {
	body, err := readBody(w, r, adminBound(r))
	if err != nil {
		return err
	}
	if err := input.JSON(body, v); err != nil {
		return refuse(http.StatusBadRequest, kind, "parse the request: %w", err)
	}
	return nil
}

// set makes a new version of what each of all names, or none.
func (b *Broker) set(ctx context.Context, all ...api.Version) error {
	for i := range all {
		all[i].Time = b.cfg.Now()
	}
	_, err := b.state.SetDocument(ctx, all...)
	return err
}

// remove takes away what entry is about; missing says of a name that nothing has it.
func (b *Broker) remove(w http.ResponseWriter, r *http.Request, entry api.AuditEntry, kind, missing string) error {
	return b.change(w, r, entry, func(ctx context.Context) error {
		return absent(b.set(ctx, api.Version{Kind: kind, Name: entry.Subject, Actor: entry.Actor, Comment: comment(r)}), missing, entry.Subject)
	})
}

// — policies: kbs/docs/kbs_attestation_protocol.md, "Set Attestation Policy" —

type policyMessage struct {
	Type   string `json:"type"`      // "rego" or absent
	ID     string `json:"policy_id"` // "default" or absent
	Policy string `json:"policy"`    // base64url without padding
}

func (b *Broker) setAttestationPolicy(w http.ResponseWriter, r *http.Request, actor string) error {
	return b.setPolicy(w, r, actor, attestationPolicyOf)
}

func (b *Broker) setResourcePolicy(w http.ResponseWriter, r *http.Request, actor string) error {
	return b.setPolicy(w, r, actor, func(string) (string, error) { return resourcePolicy, nil }) // Trustee reads no ID
}

func (b *Broker) setPolicy(w http.ResponseWriter, r *http.Request, actor string, kindOf func(id string) (string, error)) error {
	var m policyMessage
	if err := readJSON(w, r, kindPolicy, &m); err != nil {
		return err
	}
	if m.Type != "" && m.Type != "rego" {
		return refuse(http.StatusBadRequest, kindPolicy, "policy type %q is not supported: expected rego", m.Type)
	}
	kind, err := kindOf(m.ID)
	if err != nil {
		return err
	}
	source, err := base64.RawURLEncoding.DecodeString(m.Policy)
	if err != nil {
		return refuse(http.StatusBadRequest, kindPolicy, "decode the policy: %w", err)
	}
	return b.putPolicy(w, r, actor, kind, source, comment(r))
}

func (b *Broker) listPolicies(w http.ResponseWriter, _ *http.Request, _ string) error {
	writeJSON(w, http.StatusOK, []string{"resource-policy"})
	return nil
}

// — reference values: Trustee's message, with a type of our own —

type referenceMessage struct {
	Version string `json:"version"` // 0.1.0 or absent
	Type    string `json:"type"`    // api.ReferenceMessageType
	Payload string `json:"payload"` // base64 of the envelope
}

const sampleMessageType = "sample"

func (b *Broker) trustImage(w http.ResponseWriter, r *http.Request, actor string) error {
	var m referenceMessage
	if err := readJSON(w, r, kindReference, &m); err != nil {
		return err
	}
	if m.Version != "" && m.Version != "0.1.0" {
		return refuse(http.StatusBadRequest, kindReference, "message version %q is not supported: expected 0.1.0", m.Version)
	}
	if m.Type == sampleMessageType {
		return b.setValues(w, r, actor, m)
	}
	if m.Type != api.ReferenceMessageType {
		return refuse(http.StatusBadRequest, kindReference, "reference values of type %q are not supported: expected %s or %s", m.Type, api.ReferenceMessageType, sampleMessageType)
	}
	envelope, err := base64.StdEncoding.DecodeString(m.Payload)
	if err != nil {
		return refuse(http.StatusBadRequest, kindReference, "decode the payload: %w", err)
	}
	values, err := b.verifyReference(envelope)
	if err != nil {
		return refuse(http.StatusBadRequest, kindReference, "reference values: %w", err)
	}
	rules, err := b.rules(r.Context())
	if err == nil {
		err = rules.refuseRevoked(digestOf(envelope), values)
	}
	if err != nil {
		return err
	}
	entry := api.AuditEntry{Action: "trust-image", Actor: actor, Peer: r.RemoteAddr, Subject: values.Image + " " + digestOf(envelope)}
	return b.change(w, r, entry, func(ctx context.Context) error {
		return b.set(ctx, api.Version{Kind: api.ReferenceKind, Name: digestOf(envelope), Actor: actor, Comment: comment(r), Content: envelope})
	})
}

func (b *Broker) listImages(w http.ResponseWriter, r *http.Request, _ string) error {
	rules, err := b.rules(r.Context())
	if err != nil {
		return err
	}
	values := rules.references.values
	list := []api.TrustedImage{}
	for _, id := range slices.Sorted(maps.Keys(values)) {
		list = append(list, rules.trustedImage(id, b.cfg.Now()))
	}
	writeJSON(w, http.StatusOK, list)
	return nil
}

func (b *Broker) getImage(w http.ResponseWriter, r *http.Request, _ string) error {
	rules, err := b.rules(r.Context())
	if err != nil {
		return err
	}
	if value, ok := rules.named()[r.PathValue("id")]; ok {
		writeJSON(w, http.StatusOK, value)
		return nil
	}
	values, ok := rules.references.values[r.PathValue("id")]
	if !ok {
		return refuse(http.StatusNotFound, kindReference, "no reference value found for the given id: %s", r.PathValue("id"))
	}
	writeJSON(w, http.StatusOK, values)
	return nil
}

func (b *Broker) distrustImage(w http.ResponseWriter, r *http.Request, actor string) error {
	if _, err := parseDigest(r.PathValue("id")); err != nil {
		return refuse(http.StatusBadRequest, kindReference, "%w", err)
	}
	entry := api.AuditEntry{Action: "distrust-image", Actor: actor, Peer: r.RemoteAddr, Subject: r.PathValue("id")}
	return b.remove(w, r, entry, api.ReferenceKind, "no reference value found for the given id: %s")
}

// — configurations —

func (b *Broker) listConfigurations(w http.ResponseWriter, r *http.Request, _ string) error {
	rules, err := b.rules(r.Context())
	if err != nil {
		return err
	}
	list := slices.SortedFunc(maps.Values(rules.configurations), func(x, y api.Configuration) int { return cmp.Compare(x.Digest, y.Digest) })
	if list == nil {
		list = []api.Configuration{}
	}
	writeJSON(w, http.StatusOK, list)
	return nil
}

// authoriseConfiguration sets the whole list of resources of a configuration.
func (b *Broker) authoriseConfiguration(w http.ResponseWriter, r *http.Request, actor string) error {
	var c api.Configuration
	if err := readJSON(w, r, kindSerde, &c); err != nil {
		return err
	}
	if _, err := parseDigest(c.Digest); err != nil {
		return refuse(http.StatusBadRequest, kindSerde, "%w", err)
	}
	resources, err := sortedResources(c.Resources)
	if err != nil {
		return refuse(http.StatusBadRequest, kindSerde, "%w", err)
	}
	c.Resources, c.Since = resources, b.cfg.Now().UTC()
	entry := api.AuditEntry{Action: "authorise-configuration", Actor: actor, Peer: r.RemoteAddr, Subject: c.Digest, Resources: resources}
	content, err := json.Marshal(c)
	if err != nil {
		return err
	}
	return b.change(w, r, entry, func(ctx context.Context) error {
		return b.set(ctx, api.Version{Kind: api.ConfigurationKind, Name: c.Digest, Actor: actor, Comment: comment(r), Content: content})
	})
}

func (b *Broker) withdrawConfiguration(w http.ResponseWriter, r *http.Request, actor string) error {
	digest := r.PathValue("digest")
	if _, err := parseDigest(digest); err != nil {
		return refuse(http.StatusBadRequest, kindSerde, "%w", err)
	}
	entry := api.AuditEntry{Action: "withdraw-configuration", Actor: actor, Peer: r.RemoteAddr, Subject: digest}
	return b.remove(w, r, entry, api.ConfigurationKind, "configuration %s is not authorised")
}

// — audit —

// getAudit is GET /kbs/v0/holdfast/audit?from=N, all but the log's first N bytes.
func (b *Broker) getAudit(w http.ResponseWriter, r *http.Request, _ string) error {
	from, err := number(r, "from", 0)
	if err != nil {
		return err
	}
	log, err := b.audit.open(from)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return refuse(http.StatusRequestedRangeNotSatisfiable, kindSerde, "the log has fewer than %d bytes", from)
	}
	if err != nil {
		return err
	}
	defer log.Close()
	w.Header().Set("Content-Type", "application/jsonl")
	_, _ = io.Copy(w, log) // the other side may stop reading
	return nil
}
