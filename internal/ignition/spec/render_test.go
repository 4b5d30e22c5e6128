package spec

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/coreos/ignition/v2/config"
	latest "github.com/coreos/ignition/v2/config/v3_7_experimental"
	"github.com/coreos/ignition/v2/config/v3_7_experimental/types"
)

// shelf is a server of configs, which notes with which time each was asked for.
type shelf struct {
	configs map[string]string
	asked   []string
}

func (s *shelf) fetch(_ context.Context, settings types.Ignition, r types.Resource) ([]byte, error) {
	total := 0
	if settings.Timeouts.HTTPTotal != nil {
		total = *settings.Timeouts.HTTPTotal
	}
	s.asked = append(s.asked, fmt.Sprintf("%s %d", *r.Source, total))
	text, ok := s.configs[*r.Source]
	if !ok {
		return nil, errors.New("not there")
	}
	return []byte(text), nil
}

func render(t *testing.T, s *shelf, first string) (*Rendered, error) {
	t.Helper()
	d, err := Loader{}.Load("first", []byte(s.configs[first]))
	if err != nil {
		t.Fatal(err)
	}
	return Renderer{Fetch: s.fetch}.Render(t.Context(), first, d.Config)
}

func text(body string, merge ...string) string {
	var refs []string
	for _, m := range merge {
		refs = append(refs, fmt.Sprintf(`{"source":%q}`, m))
	}
	return fmt.Sprintf(`{"ignition":{"version":"3.1.0","config":{"merge":[%s]}%s`, strings.Join(refs, ","), body)
}

func TestConfigsAreMergedDepthFirstWithEachOnesSettings(t *testing.T) {
	s := &shelf{configs: map[string]string{
		"first":      text(`,"timeouts":{"httpTotal":1}},"passwd":{"users":[{"name":"a","shell":"/1"}]}}`, "http://h/a", "http://h/b"),
		"http://h/a": text(`,"timeouts":{"httpTotal":2}},"passwd":{"users":[{"name":"a","shell":"/2"},{"name":"b"}]}}`, "http://h/c"),
		"http://h/b": text(`},"passwd":{"users":[{"name":"c"}]}}`),
		"http://h/c": text(`},"passwd":{"users":[{"name":"b","shell":"/3"}]}}`),
	}}
	got, err := render(t, s, "first")
	if err != nil {
		t.Fatal(err)
	}
	// as internal/exec/config_fetcher.go of upstream has it: the time of a config
	// holds for its children, and for what comes behind
	if want := []string{"http://h/a 1", "http://h/c 2", "http://h/b 2"}; !slices.Equal(s.asked, want) {
		t.Errorf("asked %q, want %q", s.asked, want)
	}
	parsed := map[string]types.Config{}
	for name, text := range s.configs {
		parsed[name], _, _ = config.Parse([]byte(text))
	}
	want := latest.Merge(latest.Merge(parsed["first"], latest.Merge(parsed["http://h/a"], parsed["http://h/c"])), parsed["http://h/b"])
	if !reflect.DeepEqual(got.Config, want) {
		a, _ := json.Marshal(got.Config)
		b, _ := json.Marshal(want)
		t.Errorf("got  %s\nwant %s", a, b)
	}
}

func TestAReplacedConfigLeavesNothing(t *testing.T) {
	s := &shelf{configs: map[string]string{
		"first":      `{"ignition":{"version":"3.0.0","config":{"replace":{"source":"http://h/a"}}},"passwd":{"users":[{"name":"a"}]}}`,
		"http://h/a": `{"ignition":{"version":"3.3.0"},"passwd":{"users":[{"name":"b"}]}}`,
	}}
	got, err := render(t, s, "first")
	if err != nil {
		t.Fatal(err)
	}
	if u := got.Config.Passwd.Users; len(u) != 1 || u[0].Name != "b" {
		t.Errorf("users are %v, want b alone", u)
	}
}

func TestAConfigThatMergesItselfIsRefusedByName(t *testing.T) {
	s := &shelf{configs: map[string]string{
		"first":                      text(`}}`, "http://u:CANARY@h/a?CANARY"),
		"http://u:CANARY@h/a?CANARY": text(`}}`, "http://h/b"),
		"http://h/b":                 text(`}}`, "http://u:CANARY@h/a?CANARY"),
	}}
	_, err := render(t, s, "first")
	const want = "a config merges itself: http://h/a → http://h/b → http://h/a"
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestAConfigThatBringsInEverMoreEnds(t *testing.T) {
	n := 0
	grow := func(context.Context, types.Ignition, types.Resource) ([]byte, error) {
		n++
		return []byte(text(`}}`, fmt.Sprint("http://h/", 2*n), fmt.Sprint("http://h/", 2*n+1))), nil
	}
	first, _, _ := config.Parse([]byte(text(`}}`, "http://h/0")))
	_, err := Renderer{Fetch: grow}.Render(t.Context(), "first", first)
	if err == nil || !strings.Contains(err.Error(), "chain longer than 32") {
		t.Errorf("got %v, want the chain refused", err)
	}
}

func TestWhatIsWrongOnlyOnceMergedIsTold(t *testing.T) {
	s := &shelf{configs: map[string]string{
		"first":      text(`},"storage":{"links":[{"path":"/a","target":"/b"}]}}`, "http://h/a"),
		"http://h/a": text(`},"storage":{"files":[{"path":"/a/c"}]}}`),
	}}
	_, err := render(t, s, "first")
	var bad *InvalidError
	if !errors.As(err, &bad) || bad.Findings[0].Path != "$.storage.files[0]" || bad.Findings[0].File != "the merged config" {
		t.Errorf("got %v, want the file below the link", err)
	}
}

func TestAPublicURLHoldsNoSecret(t *testing.T) {
	for in, want := range map[string]string{
		"https://u:p@h/a/b?token=x#y":  "https://h/a/b",
		"data:,secret":                 "data:…",
		"s3://b/k?versionId=1":         "s3://b/k",
		"http://u:p%zz@h/":             `"http"…`,
		"arn:aws:s3:::b/k?versionId=1": "arn:aws:s3:::b/k",
	} {
		if got := PublicURL(in); got != want {
			t.Errorf("%s: got %s, want %s", in, got, want)
		}
	}
}
