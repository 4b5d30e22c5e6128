package policy

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

func required(n any, of ...string) map[string]any {
	return map[string]any{"rebuilders": map[string]any{"of": of, "at_least": n}}
}

// rebuiltBy says that these have rebuilt the image: "bob/k" is bob's key k.
func rebuiltBy(data map[string]any, who ...string) {
	list := []any{}
	for _, w := range who {
		var name, key string
		_, _ = fmt.Sscanf(w, "%3s/%s", &name, &key)
		list = append(list, map[string]any{"name": name, "key": key})
	}
	for _, image := range data["images"].(map[string]any) {
		image.(map[string]any)["rebuilt_by"] = list
	}
}

// askBoth asks whether a machine is trusted, and whether it is given something:
// of every kind of evidence that shows an image.
func askBoth(t *testing.T, edit func(data map[string]any)) map[string]Decision {
	t.Helper()
	tpm := goodMachine(t, nil, edit)
	snp := snpMachine(t, nil)
	edit(snp.Data)
	release := asked{token("affirming", configuration), trusted(boot(true, pcr("4"), pcr("7")))}.copied(t)
	edit(release.Data)
	release.Data["plugin"], release.Data["resource-path"], release.Data["query"] = "resource", []string{"default", "key", "x"}, map[string]any{}
	attestation, resource := compile(t, Attestation), compile(t, Resource)
	got := map[string]Decision{}
	for name, q := range map[string]struct {
		asked
		*Policy
	}{"tpm": {tpm, attestation}, "snp": {snp, attestation}, "release": {release, resource}} {
		d, err := q.Decide(t.Context(), q.Input, q.Data)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		got[name] = d
	}
	return got
}

func TestImageMustBeRebuiltByEnough(t *testing.T) {
	two := required(2, "ann", "bob", "eve")
	for name, test := range map[string]struct {
		required map[string]any
		by       []string
		want     bool
	}{
		"nothing is required":         {map[string]any{}, nil, true},
		"nobody did":                  {two, nil, false},
		"one did":                     {two, []string{"ann/1"}, false},
		"two did":                     {two, []string{"ann/1", "bob/2"}, true},
		"three did":                   {two, []string{"ann/1", "bob/2", "eve/3"}, true},
		"one twice":                   {two, []string{"ann/1", "ann/1"}, false},
		"one key with two names":      {two, []string{"ann/1", "bob/1"}, false},
		"a stranger":                  {two, []string{"ann/1", "dan/4"}, false},
		"two besides a stranger":      {two, []string{"ann/1", "dan/4", "eve/3"}, true},
		"none of none":                {required(0, "ann"), nil, false},
		"fewer than none":             {required(-1, "ann"), nil, false},
		"a number that is none":       {required("1", "ann"), []string{"ann/1"}, false},
		"a number that is null":       {required(nil, "ann"), []string{"ann/1"}, false},
		"nobody is named":             {map[string]any{"rebuilders": map[string]any{"at_least": 1}}, []string{"ann/1"}, false},
		"no number":                   {map[string]any{"rebuilders": map[string]any{"of": []string{"ann"}}}, []string{"ann/1"}, false},
		"more than there are":         {required(4, "ann", "bob", "eve"), []string{"ann/1", "bob/2", "eve/3"}, false},
		"one of one":                  {required(1, "eve"), []string{"ann/1", "eve/3"}, true},
		"one of one, and not that":    {required(1, "eve"), []string{"ann/1", "bob/2"}, false},
		"a requirement of no meaning": {map[string]any{"rebuilders": 7}, []string{"ann/1", "bob/2"}, false},
	} {
		for kind, got := range askBoth(t, func(data map[string]any) {
			data["requirements"] = test.required
			rebuiltBy(data, test.by...)
		}) {
			if got.Allow != test.want || !got.Allow && len(got.Reasons) == 0 {
				t.Errorf("%s, %s: got %+v, want %v", name, kind, got, test.want)
			}
		}
	}
}

// Who rebuilt the image besides never makes it less trusted, and who did not
// after all never more.
func TestMoreRebuildersNeverLower(t *testing.T) {
	random := rand.New(rand.NewPCG(9, 5))
	all := []string{"ann/1", "bob/2", "eve/3", "bob/1", "dan/4"}
	allowed := func(by []string) map[string]Decision {
		return askBoth(t, func(data map[string]any) {
			data["requirements"] = required(2, "ann", "bob", "eve")
			rebuiltBy(data, by...)
		})
	}
	for range 20 {
		var by []string
		before := allowed(nil)
		for _, i := range random.Perm(len(all)) {
			by = append(by, all[i])
			after := allowed(by)
			for kind, d := range after {
				if before[kind].Allow && !d.Allow {
					t.Fatalf("%s: %v is refused, one fewer was allowed", kind, by)
				}
			}
			before = after
		}
	}
}

func TestReasonCountsRebuilders(t *testing.T) {
	for kind, got := range askBoth(t, func(data map[string]any) {
		data["requirements"] = required(2, "ann", "bob", "eve")
		rebuiltBy(data, "bob/2", "dan/4")
		for _, image := range data["images"].(map[string]any) {
			image.(map[string]any)["image"], image.(map[string]any)["uki"] = "guest", "sha256:aa"
		}
	}) {
		want := "image guest (sha256:aa) was rebuilt by 1 of ann, bob, eve; 2 are required"
		if len(got.Reasons) != 1 || got.Reasons[0] != want {
			t.Errorf("%s: got %q, want %q", kind, got.Reasons, want)
		}
	}
}
