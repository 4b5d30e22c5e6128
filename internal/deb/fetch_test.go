package deb

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"holdfast/internal/blob"
	"holdfast/internal/deb/debtest"
	"holdfast/internal/oci"
)

// pinned gives an archive of three packages, and their pins.
func pinned(t *testing.T) (*debtest.Archive, []Pin) {
	t.Helper()
	served := debtest.New(t)
	for _, name := range []string{"a", "b", "c"} {
		served.Add("bookworm", "Package: "+name, debtest.File{Name: "./" + name, Content: strings.Repeat(name, 300_000)})
	}
	u, err := indexes(t, mirrored(t, served))
	if err != nil {
		t.Fatal(err)
	}
	var pins []Pin
	for _, name := range []string{"a", "b", "c"} {
		p, _ := u.Newest(name)
		pin, err := p.Pin()
		if err != nil {
			t.Fatal(err)
		}
		pins = append(pins, pin)
	}
	return served, pins
}

func wantAll(t *testing.T, s blob.Store, pins []Pin) {
	t.Helper()
	for _, p := range pins {
		if err := blob.Verify(t.Context(), s, p.Digest()); err != nil {
			t.Errorf("%s: %v", p.Name, err)
		}
	}
}

func TestFetchBringsWhatIsAbsent(t *testing.T) {
	served, pins := pinned(t)
	a := mirrored(t, served)
	if err := a.Fetch(t.Context(), append(pins, pins...)); err != nil {
		t.Fatal(err)
	}
	wantAll(t, a.cfg.Store, pins)
	served.Seen()
	if err := a.Fetch(t.Context(), pins); err != nil || len(served.Seen()) > 0 {
		t.Errorf("got %v and new downloads, want none", err)
	}
}

func TestRottenPackageIsFetchedAgain(t *testing.T) {
	served, pins := pinned(t)
	root := t.TempDir()
	a := newArchive(t, Config{Mirror: served.URL, Store: newStore(t, root)})
	if err := a.Fetch(t.Context(), pins); err != nil {
		t.Fatal(err)
	}
	files, _ := filepath.Glob(filepath.Join(root, "sha256", "*", "*"))
	if err := os.Truncate(files[0], 1000); err != nil {
		t.Fatal(err)
	}
	if err := a.Fetch(t.Context(), pins); err != nil {
		t.Fatal(err)
	}
	wantAll(t, a.cfg.Store, pins)
}

func TestStaleLockNamesWhatIsGone(t *testing.T) {
	served, pins := pinned(t)
	served.Intercept = func(w http.ResponseWriter, r *http.Request) bool {
		gone := strings.HasSuffix(r.URL.Path, pins[0].Path) || strings.HasSuffix(r.URL.Path, pins[2].Path)
		if gone {
			http.NotFound(w, r)
		}
		return gone
	}
	a := mirrored(t, served)
	err := a.Fetch(t.Context(), pins)
	var stale *StaleError
	if !errors.As(err, &stale) || err.Error() != "the mirror no longer has a 1.0, c 1.0" {
		t.Fatalf("got %v, want a StaleError of a and c", err)
	}
	wantAll(t, a.cfg.Store, pins[1:2])
}

func TestPassingErrorsAreTriedAgain(t *testing.T) {
	served, pins := pinned(t)
	for name, fault := range map[string]func(http.ResponseWriter, *http.Request){
		"busy":    func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) },
		"cut off": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"cut off within": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "300000")
			_, _ = w.Write(make([]byte, 100_000))
			panic(http.ErrAbortHandler)
		},
		"standing still": func(w http.ResponseWriter, r *http.Request) {
			_, _ = w.Write([]byte("!<arch>\n"))
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		},
	} {
		t.Run(name, func(t *testing.T) {
			stall, most := 20*time.Second, int32(3)
			if name == "standing still" {
				stall, most = time.Second, 2
			}
			var faults atomic.Int32
			served.Intercept = func(w http.ResponseWriter, r *http.Request) bool {
				if faults.Add(1) > most {
					return false
				}
				fault(w, r)
				return true
			}
			a := newArchive(t, Config{Mirror: served.URL, Stall: stall})
			if err := a.Fetch(t.Context(), pins[:1]); err != nil {
				t.Fatal(err)
			}
			wantAll(t, a.cfg.Store, pins[:1])
		})
	}
}

func TestErrorsThatStayEndTheTries(t *testing.T) {
	served, pins := pinned(t)
	for want, fault := range map[string]func(http.ResponseWriter){
		"503 Service Unavailable": func(w http.ResponseWriter) { w.WriteHeader(http.StatusServiceUnavailable) },
		"403 Forbidden":           func(w http.ResponseWriter) { w.WriteHeader(http.StatusForbidden) },
		"sha256 is ":              func(w http.ResponseWriter) { _, _ = w.Write(make([]byte, pins[0].Size)) },
		"5 bytes, its index says": func(w http.ResponseWriter) { _, _ = w.Write(make([]byte, 5)) },
		"longer than the":         func(w http.ResponseWriter) { _, _ = w.Write(make([]byte, pins[0].Size+1)) },
	} {
		served.Intercept = func(w http.ResponseWriter, _ *http.Request) bool { fault(w); return true }
		a := mirrored(t, served)
		err := a.Fetch(t.Context(), pins[:1])
		if err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "package a: ") {
			t.Errorf("got %v, want package a and %q", err, want)
		}
		if has, _ := a.cfg.Store.Has(t.Context(), pins[0].Digest()); has {
			t.Errorf("%s: something was kept", want)
		}
	}
}

// fullStore stands for a store on a full disk.
type fullStore struct{ blob.Store }

func (fullStore) Put(_ context.Context, _ oci.Digest, r io.Reader) error {
	_, _ = r.Read(make([]byte, 100))
	return &os.PathError{Op: "write", Path: "blobs", Err: syscall.ENOSPC}
}

func TestFullDiskIsReportedAtOnce(t *testing.T) {
	served, pins := pinned(t)
	served.Seen()
	a := newArchive(t, Config{Mirror: served.URL, Store: fullStore{newStore(t, t.TempDir())}})
	if err := a.Fetch(t.Context(), pins[:1]); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("got %v, want no space left", err)
	}
	if n := len(served.Seen()); n != 1 {
		t.Errorf("got %d tries, want 1", n)
	}
}

func TestCancelledFetchEndsAndLeavesNothingHalf(t *testing.T) {
	served, pins := pinned(t)
	ctx, cancel := context.WithCancel(t.Context())
	served.Intercept = func(w http.ResponseWriter, r *http.Request) bool {
		_, _ = w.Write([]byte("!<arch>\n"))
		w.(http.Flusher).Flush()
		cancel()
		<-r.Context().Done()
		return true
	}
	root := t.TempDir()
	a := newArchive(t, Config{Mirror: served.URL, Store: newStore(t, root)})
	if err := a.Fetch(ctx, pins); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want cancelled", err)
	}
	if files, _ := filepath.Glob(filepath.Join(root, "*", "*", "*")); len(files) > 0 {
		t.Errorf("got %q left behind", files)
	}
	if files, _ := filepath.Glob(filepath.Join(root, "*", "*", ".*")); len(files) > 0 {
		t.Errorf("got %q left behind", files)
	}
}

func TestAMirrorThatCallsGzipAnEncodingIsRead(t *testing.T) {
	served, pins := pinned(t)
	mirror, err := url.Parse(served.URL)
	if err != nil {
		t.Fatal(err)
	}
	root := mirror.Path
	mirror.Path = ""
	proxy := httputil.NewSingleHostReverseProxy(mirror)
	proxy.ModifyResponse = func(r *http.Response) error {
		if strings.Contains(r.Request.URL.Path, "Packages") || strings.Contains(r.Request.URL.Path, "by-hash") {
			r.Header.Set("Content-Encoding", "gzip")
		}
		return nil
	}
	front := httptest.NewServer(proxy)
	defer front.Close()
	a := newArchive(t, Config{Mirror: front.URL + root, Keyring: mirrored(t, served).cfg.Keyring})
	u, err := indexes(t, a)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := u.Newest(pins[0].Name); err != nil {
		t.Error(err)
	}
}
