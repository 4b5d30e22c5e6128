package wiring

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
)

func TestWhoComesThroughAProxyIsNotOfThisMachine(t *testing.T) {
	for _, c := range []struct {
		from, header string
		want         bool
	}{
		{"127.0.0.1:1", "", true}, {"[::1]:1", "", true}, {"192.0.2.1:1", "", false}, {"", "", false},
		{"127.0.0.1:1", "X-Forwarded-For", false}, {"127.0.0.1:1", "Forwarded", false},
	} {
		q := httptest.NewRequest(http.MethodGet, "/", nil)
		if q.RemoteAddr = c.from; c.header != "" {
			q.Header.Set(c.header, "192.0.2.1")
		}
		if got := isOwn(q); got != c.want {
			t.Errorf("%q with %q: got %v, want %v", c.from, c.header, got, c.want)
		}
	}
}

// Neither a swarm nor a gateway runs here: what is kept shows all the same.
func TestThePageTellsThisMachineWhatIsKept(t *testing.T) {
	dir := t.TempDir()
	b, err := Installation{dir: dir}.Blobs("", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	for i := range maxKept + 1 {
		path := filepath.Join(dir, "file")
		if err := os.WriteFile(path, fmt.Append(nil, i), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := b.Add(t.Context(), path, nil); err != nil {
			t.Fatal(err)
		}
	}
	list, more := keptIn(filepath.Join(dir, "registry"))
	if len(list) != maxKept || !more || list[0].CID == "" || list[0].Size == 0 {
		t.Errorf("got %d blobs, more: %v; %+v", len(list), more, list[0])
	}
	if list, more := keptIn(t.TempDir()); list != nil || more {
		t.Errorf("of an empty folder: %v %v", list, more)
	}
}
