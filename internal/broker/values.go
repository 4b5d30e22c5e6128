package broker

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"maps"
	"net/http"
	"regexp"
	"slices"

	"holdfast/internal/api"
)

// Values by name are what policies find by query_reference_value: Trustee's
// messages of type sample (rvps/src/extractors/sample). No image's key signs
// them; an administrator does, by asking.

var valueName = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$`)

func (b *Broker) setValues(w http.ResponseWriter, r *http.Request, actor string, m referenceMessage) error {
	raw, err := base64.StdEncoding.DecodeString(m.Payload)
	if err != nil {
		return refuse(http.StatusBadRequest, kindReference, "decode the payload: %w", err)
	}
	var values map[string]json.RawMessage
	if err := json.Unmarshal(raw, &values); err != nil {
		return refuse(http.StatusBadRequest, kindReference, "values: %w", err)
	}
	names := slices.Sorted(maps.Keys(values))
	for _, name := range names {
		if !valueName.MatchString(name) {
			return refuse(http.StatusBadRequest, kindReference, "value %.80q: a name is 1 to 128 letters, digits, '_' or, not first, '.' and '-'", name)
		}
	}
	all := make([]api.Version, len(names))
	for i, name := range names {
		all[i] = api.Version{Kind: api.ValueKind, Name: name, Actor: actor, Content: values[name]}
	}
	entry := api.AuditEntry{Action: "set-values", Actor: actor, Peer: r.RemoteAddr, Subject: digestOf(raw), Resources: names}
	return b.change(w, r, entry, func(ctx context.Context) error { return b.set(ctx, all...) })
}

func readValues(documents []api.Version) map[string]json.RawMessage {
	all := map[string]json.RawMessage{}
	for _, d := range documents {
		all[d.Name] = d.Content
	}
	return all
}
