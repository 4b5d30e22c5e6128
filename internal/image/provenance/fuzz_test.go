package provenance

import (
	"encoding/json"
	"reflect"
	"testing"

	"holdfast/internal/oci"
	"holdfast/internal/sign"
)

// Provenance that is accepted is of a build of ours, and reads back as it was
// read.
//
//fuzz:parser provenance.go:Parse,SpeaksOf
func FuzzParse(f *testing.F) {
	f.Add(PredicateType, []byte(`{"buildDefinition":{"buildType":"`+BuildType+`","externalParameters":{"format":"machine"},"resolvedDependencies":[{"name":"a","digest":{"sha256":"00"}}]},"runDetails":{}}`))
	f.Add(PredicateType, []byte(`{"buildDefinition":{"buildType":"`+BuildType+`","externalParameters":{"format":"rpm"}}}`))
	f.Add("urn:other", []byte(`{}`))
	f.Fuzz(func(t *testing.T, kind string, predicate []byte) {
		p, err := Parse(sign.Statement{PredicateType: kind, Predicate: predicate})
		if err != nil {
			return
		}
		if format := p.BuildDefinition.External.Format; kind != PredicateType || format != "oci" && format != "machine" {
			t.Errorf("took %q of type %q", format, kind)
		}
		raw, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		again, err := Parse(sign.Statement{PredicateType: kind, Predicate: raw})
		if err != nil {
			t.Fatalf("%s does not read back: %v", raw, err)
		}
		if second, _ := json.Marshal(again); string(second) != string(raw) {
			t.Errorf("%s reads back as %s", raw, second)
		}
	})
}

// A statement speaks of a digest when it names all of it.
//
//fuzz:parser provenance.go:SpeaksOf
func FuzzSpeaksOf(f *testing.F) {
	f.Add("sha256", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
	f.Add("", "")
	f.Fuzz(func(t *testing.T, algorithm, value string) {
		s := sign.Statement{Subject: []sign.Subject{{Digest: map[string]string{algorithm: value}}}}
		d := oci.SHA256(nil)
		if want := reflect.DeepEqual(s.Subject[0].Digest, map[string]string{d.Algorithm(): d.Hex()}); SpeaksOf(s, d) != want {
			t.Errorf("%s:%s speaks of %s: %v", algorithm, value, d, !want)
		}
	})
}
