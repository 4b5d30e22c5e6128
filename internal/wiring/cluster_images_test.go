package wiring

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// What was made of an earlier recipe goes after a week, unless a cluster runs on it; what
// is another's stays.
func TestOldNodeTreesAreCollectedUnlessAClusterRunsOnThem(t *testing.T) {
	i := Installation{dir: t.TempDir()}
	for name, kept := range map[string]bool{
		"node-0000000000000001": false, "node-0000000000000002": true, "node-0000000000000003": true,
		"nodes-000000000000004": true, "node-linux-0000000000000005": true, "other-0000000000000006": true,
	} {
		dir := filepath.Join(i.dir, "images", name)
		if err := os.MkdirAll(filepath.Join(dir, "usr"), 0o755); err != nil {
			t.Fatal(err)
		}
		when := time.Now().Add(-unused - time.Hour)
		switch name {
		case "node-0000000000000002":
			when = time.Now().Add(-time.Hour)
		case "node-0000000000000003":
			cluster := filepath.Join(i.dir, "clusters", "lab")
			if err := os.MkdirAll(cluster, 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(cluster, "cluster.json"), fmt.Appendf(nil, `{"network": {"tree": %q}}`, dir), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Chtimes(dir, when, when); err != nil {
			t.Fatal(err)
		}
		defer func() {
			if _, err := os.Stat(dir); (err == nil) != kept {
				t.Errorf("%s: got %v, want it kept: %v", name, err, kept)
			}
		}()
	}
	if err := i.collect("node"); err != nil {
		t.Fatal(err)
	}
}
