package registry

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"holdfast/internal/oci"
)

// rot flips a bit of a blob as a disk does: nothing tells of it.
func rot(t testing.TB, dir string, d oci.Digest) {
	t.Helper()
	path := filepath.Join(dir, ".blobs", d.Algorithm(), d.Hex())
	before, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	flip(t, dir, d)
	if err := os.Chtimes(path, before.ModTime(), before.ModTime()); err != nil {
		t.Fatal(err)
	}
}

func isolated(dir string, d oci.Digest) bool {
	_, err := os.Stat(filepath.Join(dir, ".blobs", "quarantine", d.Algorithm(), d.Hex()))
	return err == nil
}

// ways are those in which a client may ask for a blob of the repository app.
var ways = map[string]func(c client, d oci.Digest) *http.Response{
	"whole": func(c client, d oci.Digest) *http.Response {
		return c.send("GET", "/v2/app/blobs/"+string(d), nil)
	},
	"range": func(c client, d oci.Digest) *http.Response {
		return c.send("GET", "/v2/app/blobs/"+string(d), nil, "Range: bytes=0-1")
	},
	"ranges": func(c client, d oci.Digest) *http.Response {
		return c.send("GET", "/v2/app/blobs/"+string(d), nil, "Range: bytes=0-1,4-5")
	},
	"head": func(c client, d oci.Digest) *http.Response {
		return c.send("HEAD", "/v2/app/blobs/"+string(d), nil)
	},
	"if changed": func(c client, d oci.Digest) *http.Response {
		return c.send("GET", "/v2/app/blobs/"+string(d), nil, `If-None-Match: "other"`)
	},
	"mounted": func(c client, d oci.Digest) *http.Response {
		return c.send("GET", "/v2/mounted/blobs/"+string(d), nil)
	},
}

func (c client) pushAndMount(content string) oci.Digest {
	c.Helper()
	d := c.pushBlob("app", content)
	c.want(c.do("POST", "/v2/mounted/blobs/uploads/?from=app&mount="+string(d), "", nil), http.StatusCreated)
	return d
}

func TestAFlippedBitIsNotGivenOut(t *testing.T) {
	for way, ask := range ways {
		t.Run(way, func(t *testing.T) {
			dir := t.TempDir()
			c, _ := start(t, Config{Dir: dir, Recheck: time.Nanosecond})
			d := c.pushAndMount("what was pushed")
			rot(t, dir, d)
			if got := ask(c, d); got.StatusCode != http.StatusNotFound {
				t.Errorf("got %s, want %d", got.Status, http.StatusNotFound)
			}
			if !isolated(dir, d) {
				t.Error("not in quarantine")
			}
			c.pushBlob("app", "what was pushed")
			if got := ask(c, d); got.StatusCode/100 != 2 {
				t.Errorf("pushed again: got %s", got.Status)
			}
		})
	}
}

func TestAFlippedBitIsFetchedAgainForHimWhoAsks(t *testing.T) {
	for way, ask := range ways {
		t.Run(way, func(t *testing.T) {
			dir, s := t.TempDir(), newSource()
			c, _ := start(t, Config{Dir: dir, Recheck: time.Nanosecond, Sources: []Source{s}})
			d := c.pushAndMount("what was pushed")
			rot(t, dir, s.add("what was pushed"))
			got := ask(c, d)
			body, err := io.ReadAll(got.Body)
			if err != nil || got.StatusCode/100 != 2 || got.StatusCode == http.StatusOK && got.Request.Method == "GET" && string(body) != "what was pushed" {
				t.Errorf("got %s %q, %v", got.Status, body, err)
			}
			if !isolated(dir, d) || s.calls.Load() != 1 {
				t.Errorf("in quarantine: %v; fetched %d times", isolated(dir, d), s.calls.Load())
			}
		})
	}
}

func TestARottenBlobIsNotMounted(t *testing.T) {
	for _, from := range []string{"", "&from=app"} {
		dir := t.TempDir()
		c, _ := start(t, Config{Dir: dir, Recheck: time.Nanosecond})
		d := c.pushBlob("app", "what was pushed")
		rot(t, dir, d)
		c.want(c.do("POST", "/v2/other/blobs/uploads/?mount="+string(d)+from, "", nil), http.StatusAccepted)
	}
}

// A client of whom each blob is hashed while it gets it: of wrong bytes it
// never gets the last.
func TestWhoIsGivenWrongBytesGetsNoWholeBlob(t *testing.T) {
	dir, s := t.TempDir(), newSource()
	c, r := start(t, Config{Dir: dir, Recheck: -1, Sources: []Source{s}})
	content := strings.Repeat("what was pushed", 100_000)
	d := c.pushBlob("app", content)
	c.body(c.want(c.send("GET", "/v2/app/blobs/"+string(d), nil), http.StatusOK), content)
	if len(r.sightings.seen) != 0 {
		t.Error("it is taken on trust")
	}
	rot(t, dir, s.add(content))
	q, err := http.NewRequest("GET", c.url+"/v2/app/blobs/"+string(d), nil)
	if err != nil {
		t.Fatal(err)
	}
	broken, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(q)
	if err != nil {
		t.Fatal(err)
	}
	defer broken.Body.Close()
	if got, err := io.ReadAll(broken.Body); err == nil || len(got) >= len(content) {
		t.Errorf("got %d of %d bytes, and %v", len(got), len(content), err)
	}
	if !isolated(dir, d) {
		t.Error("not in quarantine")
	}
	c.body(c.want(c.send("GET", "/v2/app/blobs/"+string(d), nil), http.StatusOK), content)
}

func TestWhatWasFoundRightCountsForAWhile(t *testing.T) {
	dir := t.TempDir()
	c, r := start(t, Config{Dir: dir})
	d := c.pushBlob("app", "what was pushed")
	path := filepath.Join(dir, ".blobs", d.Algorithm(), d.Hex())
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	c.pushBlob("other", "what was pushed") // which links it once more
	c.has("app", d, true)                  // which sets the time of its status
	if !r.sightings.has(d, info) {
		t.Error("what was pushed just now would be hashed again")
	}
	if err := os.Chtimes(path, time.Time{}, info.ModTime().Add(time.Second)); err != nil {
		t.Fatal(err)
	}
	changed, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if r.sightings.has(d, changed) {
		t.Error("a file that was written to is taken on trust")
	}
	seen := r.sightings.seen[d]
	seen.at = seen.at.Add(-10 * time.Minute)
	r.sightings.seen[d] = seen
	if r.sightings.has(d, info) {
		t.Error("it counts after its time")
	}
	c.body(c.send("GET", "/v2/app/blobs/"+string(d), nil), "what was pushed")
	if !r.sightings.has(d, changed) {
		t.Error("what was hashed for a client would be hashed again")
	}
}

func TestSightingsAreBounded(t *testing.T) {
	info, err := os.Stat(".")
	if err != nil {
		t.Fatal(err)
	}
	s := sightings{window: time.Hour}
	for i := range maxSightings + 100 {
		s.add(oci.SHA256(fmt.Append(nil, i)), info)
	}
	if len(s.seen) != maxSightings || !s.has(oci.SHA256(fmt.Append(nil, maxSightings+99)), info) {
		t.Errorf("%d are held, want %d with the last among them", len(s.seen), maxSightings)
	}
}

// What hashing costs where a blob was not seen lately.
func BenchmarkCheck(b *testing.B) {
	for name, size := range map[string]int{"1MiB": 1 << 20, "100MiB": 100 << 20} {
		c, r := start(b, Config{Dir: b.TempDir()})
		d := c.pushBlob("app", strings.Repeat("x", size))
		for _, forget := range []bool{false, true} {
			b.Run(fmt.Sprintf("%s/forget=%v", name, forget), func(b *testing.B) {
				b.SetBytes(int64(size))
				for b.Loop() {
					if forget {
						clear(r.sightings.seen)
					}
					a := c.send("GET", "/v2/app/blobs/"+string(d), nil)
					_, _ = io.Copy(io.Discard, a.Body)
					_ = a.Body.Close()
				}
			})
		}
	}
}

func TestWhatSomebodyElseFoundRottenIsLookedForAtTheSources(t *testing.T) {
	dir, s := t.TempDir(), newSource()
	c, r := start(t, Config{Dir: dir, Sources: []Source{s}})
	d := c.pushBlob("app", "what was pushed")
	if err := r.pool.Quarantine(s.add("what was pushed")); err != nil {
		t.Fatal(err)
	}
	r.Recover(d)
	r.background.Wait()
	s.down.Store(true)
	c.body(c.want(c.send("GET", "/v2/app/blobs/"+string(d), nil), http.StatusOK), "what was pushed")
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	r.Recover(d) // too late, and no harm
}
