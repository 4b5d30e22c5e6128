package node

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"holdfast/internal/api"
)

func TestWhatAMachineBelongsToIsWhereItsServicesLook(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "machine")
	m := &machine{}
	if err := m.describe(dir); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dir); err == nil {
		t.Error("a machine of nothing says something")
	}
	m.guest.Update = &api.Update{Stream: "r.example/os:stable", Keys: []string{"sha256:a"}}
	m.guest.Cluster = &api.Cluster{Name: "east", Endpoint: "https://a:6443", CA: "sha256:b", Role: api.RoleWorker}
	if err := m.describe(dir); err != nil {
		t.Fatal(err)
	}
	var u api.Update
	var c api.Cluster
	for name, into := range map[string]any{"update.json": &u, "cluster.json": &c} {
		raw, err := os.ReadFile(filepath.Join(dir, name))
		if err == nil {
			err = json.Unmarshal(raw, into)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if !reflect.DeepEqual(&u, m.guest.Update) || !reflect.DeepEqual(&c, m.guest.Cluster) {
		t.Errorf("got %+v, %+v", u, c)
	}
}
