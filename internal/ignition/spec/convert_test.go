package spec

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/coreos/ignition/v2/config"
	v36 "github.com/coreos/ignition/v2/config/v3_6"
)

func TestAnOldConfigBecomesWhatUpstreamMakesOfIt(t *testing.T) {
	for i, version := range Versions {
		text := fmt.Sprintf(`{"ignition":{"version":%q},"storage":{"files":[{"path":"/a","mode":420,"contents":{"source":"data:,x"}}],"links":[{"path":"/b","target":"/c"}]}}`, version)
		d, err := Loader{}.Load("c", []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		if want, _, _ := config.Parse([]byte(text)); d.Version != version || !reflect.DeepEqual(d.Config, want) {
			t.Errorf("%s: got %v, want %v", version, d.Config, want)
		}
		for j, to := range Versions {
			raw, err := Convert(d, to)
			if (err == nil) != (j >= i) {
				t.Errorf("%s to %s: got %v", version, to, err)
			}
			if again, _, parseErr := config.Parse(raw); err == nil && (parseErr != nil || !reflect.DeepEqual(again, d.Config)) {
				t.Errorf("%s to %s: got %s, %v", version, to, raw, parseErr)
			}
		}
	}
}

func TestWhatIsWrittenIsAsUpstreamWritesIt(t *testing.T) {
	text := `{"ignition":{"version":"3.3.0"},"storage":{"luks":[{"name":"a","device":"/dev/a","clevis":{"tpm2":true}}]},"systemd":{"units":[{"name":"a.service","mask":true}]}}`
	d, err := Loader{}.Load("c", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	got, err := Marshal(d.Config)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(got), "{}") || strings.Contains(string(got), "null") {
		t.Errorf("has empty objects: %s", got)
	}
	a, r, err := v36.Parse(got)
	if err != nil {
		t.Fatal(err, r)
	}
	b, _, _ := v36.ParseCompatibleVersion([]byte(text))
	x, _ := json.Marshal(a)
	y, _ := json.Marshal(b)
	if string(x) != string(y) {
		t.Errorf("got  %s\nwant %s", x, y)
	}
}
