package wiring

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"holdfast/internal/api"
	"holdfast/internal/broker/admin"
	"holdfast/internal/policy"
)

// WhatIf is a change to what a broker goes by. Policy is Rego; where it is
// empty the one in force stays.
type WhatIf struct {
	Kind     string // attestation or resource
	Policy   []policy.Module
	Distrust []string // IDs of reference values that would be gone
	Withdraw []string // digests of configurations that would be
}

// A ChangedDecision is one that would be another.
type ChangedDecision struct {
	ID       int64    `json:"id"`
	Time     string   `json:"time"`
	Session  string   `json:"session"`
	Action   string   `json:"action"`
	Resource string   `json:"resource,omitempty"`
	Allow    bool     `json:"allow"` // as it was
	Reasons  []string `json:"reasons,omitempty"`
	Then     bool     `json:"then_allow"`
	Why      []string `json:"then_reasons,omitempty"`
}

// WhatIfReport is what a change would do to the decisions that are kept.
type WhatIfReport struct {
	Kind    string            `json:"kind"`
	Engine  string            `json:"engine"`
	Asked   int               `json:"asked"`
	Changed []ChangedDecision `json:"changed"`
}

// RunWhatIf asks again what the broker was asked, under the change.
func RunWhatIf(ctx context.Context, b *admin.Client, c WhatIf) (*WhatIfReport, error) {
	if c.Policy == nil {
		p, err := b.Policy(ctx, c.Kind)
		if err != nil {
			return nil, err
		}
		c.Policy = []policy.Module{{Name: c.Kind + ".rego", Text: p.Policy}}
	}
	p, err := policy.CompileFiles(c.Kind+".rego", c.Policy)
	if err != nil {
		return nil, err
	}
	report := &WhatIfReport{Kind: c.Kind, Engine: p.Languages(), Changed: []ChangedDecision{}}
	err = b.EachDecision(ctx, 0, func(d api.RecordedDecision) (bool, error) {
		if d.Kind != c.Kind {
			return true, nil
		}
		report.Asked++
		changed, err := c.again(ctx, p, d)
		if changed != nil {
			report.Changed = append(report.Changed, *changed)
		}
		return true, err
	})
	return report, err
}

// again is what would be another in a decision, nil when nothing would.
func (c WhatIf) again(ctx context.Context, p *policy.Policy, d api.RecordedDecision) (*ChangedDecision, error) {
	input, data, err := c.question(d)
	if err != nil {
		return nil, fmt.Errorf("decision %d: %w", d.ID, err)
	}
	got, _ := p.Ask(ctx, input, data) // an error is a refusal, and its reason
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if got.Allow == d.Allow && slices.Equal(got.Reasons, d.Reasons) {
		return nil, nil
	}
	return &ChangedDecision{
		ID: d.ID, Time: d.Time.UTC().Format("2006-01-02T15:04:05Z"), Session: d.Session, Action: d.Action, Resource: resourceOf(d.Data),
		Allow: d.Allow, Reasons: d.Reasons, Then: got.Allow, Why: got.Reasons,
	}, nil
}

// question is what was asked, without what would be gone.
func (c WhatIf) question(d api.RecordedDecision) (any, *policy.Data, error) {
	var input any
	var values map[string]any
	if err := json.Unmarshal(d.Input, &input); err != nil {
		return nil, nil, err
	}
	if err := json.Unmarshal(d.Data, &values); err != nil {
		return nil, nil, err
	}
	for _, digest := range c.Withdraw {
		remove(values, "configurations", digest)
	}
	for _, id := range c.Distrust {
		remove(values, "reference", id)
		distrust(values, id)
	}
	data, err := policy.NewData(values)
	return input, data, err
}

func remove(values map[string]any, name, key string) {
	if all, ok := values[name].(map[string]any); ok {
		delete(all, key)
	}
}

// distrust takes reference values from what is known of images; an image that
// has no others is known no more.
func distrust(values map[string]any, id string) {
	images, _ := values["images"].(map[string]any)
	for shown, known := range maps.Clone(images) {
		image, _ := known.(map[string]any)
		all, _ := image["references"].([]any)
		left := slices.DeleteFunc(slices.Clone(all), func(other any) bool { return other == id })
		if len(left) == 0 && len(all) > 0 {
			delete(images, shown)
			continue
		}
		image["references"] = left
	}
}

func resourceOf(data json.RawMessage) string {
	var d struct {
		Path []string `json:"resource-path"`
	}
	_ = json.Unmarshal(data, &d) // an attestation has none
	return strings.Join(d.Path, "/")
}
