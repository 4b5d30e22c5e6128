package fetch

import (
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/coreos/ignition/v2/config/v3_7_experimental/types"

	"holdfast/internal/ignition"
	"holdfast/internal/ignition/volume"
)

func TestAFileURLLeadsBelowTheRootOnly(t *testing.T) {
	top := t.TempDir()
	root := filepath.Join(top, "root")
	for name, text := range map[string]string{"root/a b": "hello", "root/sub/c": "c", "outside": "CANARY"} {
		if err := errors.Join(os.MkdirAll(filepath.Dir(filepath.Join(top, name)), 0o755), os.WriteFile(filepath.Join(top, name), []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	for name, target := range map[string]string{"out": "../outside", "abs": filepath.Join(top, "outside"), "in": "sub/c"} {
		if err := os.Symlink(target, filepath.Join(root, name)); err != nil {
			t.Fatal(err)
		}
	}
	c := Config{Files: volume.Opener(ignition.Origin{Folder: root})}
	for source, want := range map[string]string{"file:///a%20b": "hello", "file://localhost/in": "c"} {
		if got, err := get(t, c, types.Ignition{}, resource(source)); err != nil || got != want {
			t.Errorf("%s: got %q, %v, want %q", source, got, err, want)
		}
	}
	for source, want := range map[string]string{
		"file:///absent": "no such file", "file:///../outside": "escapes", "file:///out": "escapes", "file:///abs": "escapes", "file:///sub": "want an ordinary file",
		"file://host/a": "want file:///PATH", "file:a": "want file:///PATH", "file:///a?x": "want file:///PATH", "file:///": "want file:///PATH",
	} {
		got, err := get(t, c, types.Ignition{}, resource(source))
		if err == nil || !strings.Contains(err.Error(), want) || got != "" {
			t.Errorf("%s: got %q, %v, want %s", source, got, err, want)
		}
	}
	if _, err := get(t, c, types.Ignition{}, resource("file:///absent")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v, want ErrNotExist", err)
	}
	if _, err := get(t, Config{}, types.Ignition{}, resource("file:///a")); !errors.Is(err, ErrScheme) || !strings.Contains(err.Error(), "came from no folder or volume") {
		t.Errorf("got %v, want the reason", err)
	}
}

// identities is Azure's endpoint for managed identities: 400 for a machine
// without one.
func identities(t *testing.T, token string) string {
	t.Helper()
	return serve(t, func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		switch {
		case r.Header.Get("Metadata") != "true" || r.URL.Path != "/metadata/identity/oauth2/token" || q.Get("api-version") != "2018-02-01" || q.Get("resource") != "https://storage.azure.com/":
			w.WriteHeader(http.StatusNotFound)
		case token == "":
			w.WriteHeader(http.StatusBadRequest)
			fmt.Fprint(w, `{"error":"invalid_request","error_description":"Identity not found"}`)
		default:
			fmt.Fprintf(w, `{"access_token":%q,"expires_in":"3599","resource":"https://storage.azure.com/","token_type":"Bearer"}`, token)
		}
	})
}

func TestABlobIsAskedForWithTheMachinesIdentity(t *testing.T) {
	storage := serve(t, func(w http.ResponseWriter, r *http.Request) {
		switch auth := r.Header.Get("Authorization"); {
		case r.RequestURI == "/secret/a" && (auth != "Bearer given" || r.Header.Get("X-Ms-Version") < "2017-11-09"):
			w.WriteHeader(http.StatusNotFound) // as it tells nobody what there is
		case r.RequestURI == "/public/a?sv=1" && auth != "":
			w.WriteHeader(http.StatusForbidden)
		default:
			fmt.Fprint(w, r.Header.Get("X-Own"), r.RequestURI)
		}
	})
	own := "own"
	for _, c := range []struct{ token, source, want string }{
		{"given", "https://account.blob.core.windows.net/secret/a", "own/secret/a"},
		{"given", "https://account.blob.core.windows.net/public/a?sv=1", "own/public/a?sv=1"},
		{"", "https://account.blob.core.windows.net/public/a?sv=1", "own/public/a?sv=1"},
		{"", "https://account.blob.core.windows.net/secret/a", ""},
	} {
		r := resource(c.source)
		r.HTTPHeaders = types.HTTPHeaders{{Name: "X-Own", Value: &own}}
		got, err := get(t, Config{Azure: identities(t, c.token), Blob: storage}, types.Ignition{}, r)
		if got != c.want || (err == nil) != (c.want != "") || err != nil && !errors.Is(err, ErrNotFound) {
			t.Errorf("%s with token %q: got %q, %v, want %q", c.source, c.token, got, err, c.want)
		}
	}
}

// A token goes to Azure over TLS, and to nobody else.
func TestATokenOfAzureStaysThere(t *testing.T) {
	asked := false
	service := serve(t, func(http.ResponseWriter, *http.Request) { asked = true })
	other := serve(t, func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.Header.Get("Authorization")) })
	if got, err := get(t, Config{Azure: service}, types.Ignition{}, resource(other+"/x.blob.core.windows.net/a")); err != nil || got != "" || asked {
		t.Errorf("got %q, %v, asked for a token: %v", got, err, asked)
	}
}

func TestATruncatedGzipIsTold(t *testing.T) {
	whole := packed(t, strings.Repeat("hello", 1000))
	base := serve(t, func(w http.ResponseWriter, _ *http.Request) { w.Write(whole[:len(whole)-10]) })
	r := resource(base + "/a")
	method := "gzip"
	r.Compression = &method
	if _, err := get(t, Config{}, types.Ignition{}, r); err == nil || err.Error() != "fetch "+base+"/a: gzip: it is cut off: the end is missing" {
		t.Errorf("got %v, want the cut told", err)
	}
	garbage := serve(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "not packed at all") })
	r.Source = &garbage
	if _, err := get(t, Config{}, types.Ignition{}, r); err == nil || err.Error() != "fetch "+garbage+": gzip: invalid header" {
		t.Errorf("got %v, want the header told", err)
	}
}
