package wiring

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"holdfast/internal/api"
	"holdfast/internal/input"
	"holdfast/internal/policy"
	"holdfast/internal/proof"
)

// A Question is what a policy is asked.
type Question struct {
	Name  string // where it is from
	Input json.RawMessage
	Data  json.RawMessage
}

// The kinds of policies that a broker asks.
var PolicyKinds = []string{"attestation", "resource"}

// ReadQuestion reads what a policy was asked from a file: {"input": …,
// "data": …}, an input alone, or a proof (of several, the
// last), which has what each kind was asked.
func ReadQuestion(path, kind string) (Question, error) {
	raw, err := input.ReadFile(path, input.Document)
	if err != nil {
		return Question{}, err
	}
	if all, err := proof.Split(raw); err == nil && len(all) > 0 {
		if p, err := proof.Peek(all[len(all)-1]); err == nil {
			return asked(path, kind, p), nil
		}
	}
	var q struct{ Input, Data json.RawMessage }
	if err := input.JSON(raw, &q); err != nil || q.Input == nil {
		q.Input = raw
	}
	if !json.Valid(q.Input) {
		return Question{}, fmt.Errorf(`%s: it is no JSON: expected a proof, {"input": …, "data": …} or an input`, path)
	}
	return Question{Name: path, Input: q.Input, Data: q.Data}, nil
}

func asked(name, kind string, p *api.ReleaseProof) Question {
	d := p.Attestation.Policy
	if kind == "resource" {
		d = p.Release.Policy
	}
	return Question{Name: name, Input: d.Input, Data: d.Data}
}

// Values are input and data as policies take them.
func (q Question) Values() (any, *policy.Data, error) {
	var in any
	if err := json.Unmarshal(q.Input, &in); err != nil {
		return nil, nil, fmt.Errorf("%s: input: %w", q.Name, err)
	}
	values := map[string]any{}
	if len(q.Data) > 0 {
		if err := json.Unmarshal(q.Data, &values); err != nil {
			return nil, nil, fmt.Errorf("%s: data: %w", q.Name, err)
		}
	}
	addImages(values)
	data, err := policy.NewData(values)
	return in, data, err
}

// addImages gives a question from before there were data.images what follows
// from its reference values.
func addImages(values map[string]any) {
	references, _ := values["reference"].(map[string]any)
	if _, there := values["images"]; there || references == nil {
		return
	}
	images := map[string]any{}
	for id, v := range references {
		r, _ := v.(map[string]any)
		pcrs, _ := r["pcrs"].(map[string]any)
		if shown, ok := pcrs["11"].(string); ok {
			images[shown] = map[string]any{"status": api.ImageTrusted, "image": r["image"], "uki": r["uki"], "references": []any{id}}
		}
	}
	values["images"] = images
}

// ReadRego reads the modules of a policy, and those of its own tests: files
// and the .rego files of folders. The names of kinds stand for the policies
// that this program ships.
func ReadRego(words []string) (modules, tests []policy.Module, err error) {
	for _, word := range words {
		paths, err := regoFiles(word)
		if errors.Is(err, fs.ErrNotExist) && slices.Contains(PolicyKinds, word) {
			modules = append(modules, policy.Module{Name: word + ".rego", Text: Shipped(word)})
			continue
		}
		if err != nil {
			return nil, nil, err
		}
		for _, path := range paths {
			raw, err := input.ReadFile(path, input.Document)
			if err != nil {
				return nil, nil, err
			}
			m := policy.Module{Name: path, Text: string(raw)}
			if strings.HasSuffix(path, "_test.rego") {
				tests = append(tests, m)
				continue
			}
			modules = append(modules, m)
		}
	}
	return modules, tests, nil
}

// Shipped is the policy of a kind that holds until another is set.
func Shipped(kind string) string {
	if kind == "resource" {
		return policy.Resource
	}
	return policy.Attestation
}

func regoFiles(path string) ([]string, error) {
	info, err := os.Stat(path)
	if err != nil || !info.IsDir() {
		return []string{path}, err
	}
	all, err := filepath.Glob(filepath.Join(path, "*.rego"))
	if err == nil && len(all) == 0 {
		err = fmt.Errorf("%s: it has no .rego files", path)
	}
	return all, err
}
