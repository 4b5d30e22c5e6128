package platform

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/coreos/ignition/v2/config/v3_7_experimental/types"

	"holdfast/internal/ignition/fetch"
)

func get(ctx context.Context, r types.Resource, w io.Writer) error {
	return fetch.New(fetch.Config{}).Fetch(ctx, types.Ignition{}, r, w)
}

func TestGoogleGivesTheAttributeOfTheInstance(t *testing.T) {
	config := "{}"
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Metadata-Flavor") != "Google" || r.URL.Path != "/computeMetadata/v1/instance/attributes/user-data" || config == "" {
			http.NotFound(w, r)
			return
		}
		fmt.Fprint(w, config)
	}))
	t.Cleanup(s.Close)
	for _, config = range []string{"{}", ""} {
		got, err := All["gcp"](t.Context(), Config{GCP: s.URL}, get)
		if err != nil || string(got) != config {
			t.Errorf("got %q, %v, want %q", got, err, config)
		}
	}
}

func TestQEMUGivesAFileOfTheFirmware(t *testing.T) {
	top := t.TempDir()
	if got, err := All["qemu"](t.Context(), Config{FwCfg: top}, get); err != nil || len(got) != 0 {
		t.Errorf("got %q, %v, want an empty config", got, err)
	}
	dir := filepath.Join(top, "by_name/opt/com.coreos/config")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"size": "2\n", "raw": "{}"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := All["qemu"](t.Context(), Config{FwCfg: top}, get); err != nil || string(got) != "{}" {
		t.Errorf("got %q, %v", got, err)
	}
	if err := os.WriteFile(filepath.Join(dir, "size"), []byte("99999999999\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := All["qemu"](t.Context(), Config{FwCfg: top}, get); err == nil || !strings.Contains(err.Error(), "want at most") {
		t.Errorf("got %v, want the size refused", err)
	}
}
