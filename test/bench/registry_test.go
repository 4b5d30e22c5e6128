package main

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sync/errgroup"
)

// A load is blobs that so many clients push, and pull again.
type load struct {
	name    string
	clients int
	each    int // blobs of a client in a round
	size    int
}

var loads = []load{
	{"1M", 4, 32, 1 << 20},
	{"100M", 2, 2, 100 << 20},
}

// BenchmarkRegistry pushes and pulls through ours and its peers, in turn. The
// clients take their share of the two processors, the same for each: what
// stands beside is the time of a round, client and server.
func BenchmarkRegistry(b *testing.B) {
	for _, l := range loads {
		b.Run(l.name, func(b *testing.B) {
			servers := []*served{serveOurs(b, "ours"), serveGuarded(b), serveOlareg(b), serveDistribution(b)}
			took := map[string]samples{}
			for b.Loop() {
				for _, s := range servers {
					blobs := l.make()
					push := timed(b, func() { check(b, l.run(s, blobs, pushBlob)) })
					pull := timed(b, func() { check(b, l.run(s, blobs, pullBlob)) })
					took[s.name+"-push"] = append(took[s.name+"-push"], push)
					took[s.name+"-pull"] = append(took[s.name+"-pull"], pull)
				}
			}
			for _, way := range []string{"push", "pull"} {
				b.ReportMetric(took["ours-"+way].ratio(took["olareg-"+way]), way+"-over-olareg")
				b.ReportMetric(took["ours-"+way].ratio(took["distribution-"+way]), way+"-over-distribution")
				b.ReportMetric(took["guarded-"+way].ratio(took["olareg-"+way]), "guarded-"+way+"-over-olareg")
				for _, s := range servers {
					b.ReportMetric(float64(l.clients*l.each*l.size)/1e6/took[s.name+"-"+way].median(), s.name+"-"+way+"-MB/s")
				}
			}
		})
	}
}

// A content differs from all others in its first bytes.
type content struct {
	client int
	bytes  []byte
	digest string
}

// make makes the blobs of a round before its time runs.
func (l load) make() []content {
	list := make([]content, l.clients*l.each)
	for i := range list {
		c := make([]byte, l.size)
		var seed [32]byte
		_, _ = rand.Read(seed[:])
		fill(c, seed)
		sum := sha256.Sum256(c)
		list[i] = content{i % l.clients, c, "sha256:" + hex.EncodeToString(sum[:])}
	}
	return list
}

// fill makes bytes that no file system and no server can shorten.
func fill(c []byte, seed [32]byte) {
	n := binary.LittleEndian.Uint64(seed[:])
	for i := 0; i+8 <= len(c); i += 8 {
		n ^= n << 13
		n ^= n >> 7
		n ^= n << 17
		binary.LittleEndian.PutUint64(c[i:], n)
	}
}

// run does one thing with all blobs, each client its own, one after the other.
func (l load) run(s *served, blobs []content, do func(*http.Client, string, content) error) error {
	var all errgroup.Group
	for client := range l.clients {
		all.Go(func() error {
			c := &http.Client{Transport: &known{s.password, &http.Transport{DisableCompression: true, WriteBufferSize: 64 << 10, ReadBufferSize: 64 << 10}}}
			defer c.CloseIdleConnections()
			for _, blob := range blobs {
				if blob.client != client {
					continue
				}
				if err := do(c, s.url+fmt.Sprintf("/v2/bench/c%d", client), blob); err != nil {
					return fmt.Errorf("%s: %w", s.name, err)
				}
			}
			return nil
		})
	}
	return all.Wait()
}

// known sends a name and a password with each request, if there is one.
type known struct {
	password string
	*http.Transport
}

func (k *known) RoundTrip(q *http.Request) (*http.Response, error) {
	if k.password != "" {
		q.SetBasicAuth("bench", k.password)
	}
	return k.Transport.RoundTrip(q)
}

// pushBlob pushes in two requests, as most clients do (end-4a, end-6).
func pushBlob(c *http.Client, repository string, blob content) error {
	res, err := c.Post(repository+"/blobs/uploads/", "", nil)
	if err != nil {
		return err
	}
	_ = res.Body.Close()
	to, err := res.Request.URL.Parse(res.Header.Get("Location"))
	if err != nil || res.StatusCode != http.StatusAccepted {
		return fmt.Errorf("upload was answered %s, %w", res.Status, err)
	}
	query := to.Query()
	query.Set("digest", blob.digest)
	to.RawQuery = query.Encode()
	q, err := http.NewRequest(http.MethodPut, to.String(), bytes.NewReader(blob.bytes))
	if err != nil {
		return err
	}
	q.Header.Set("Content-Type", "application/octet-stream")
	if res, err = c.Do(q); err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusCreated {
		return fmt.Errorf("push was answered %s", res.Status)
	}
	return nil
}

func pullBlob(c *http.Client, repository string, blob content) error {
	res, err := c.Get(repository + "/blobs/" + url.PathEscape(blob.digest))
	if err != nil {
		return err
	}
	defer res.Body.Close()
	n, err := io.Copy(io.Discard, res.Body)
	if err == nil && (res.StatusCode != http.StatusOK || n != int64(len(blob.bytes))) {
		err = fmt.Errorf("pull was answered %s and %d bytes", res.Status, n)
	}
	return err
}

// BenchmarkRegistryMemory is what a server holds at rest, and at the most with
// 200 clients at once.
func BenchmarkRegistryMemory(b *testing.B) {
	crowd := load{"crowd", 200, 2, 1 << 20}
	s := serveOurs(b, "ours")
	rest := s.memory(b, "VmRSS")
	for b.Loop() {
		blobs := crowd.make()
		check(b, crowd.run(s, blobs, pushBlob))
		check(b, crowd.run(s, blobs, pullBlob))
	}
	b.ReportMetric(rest, "rest-MiB")
	b.ReportMetric(s.memory(b, "VmHWM"), "200-clients-MiB")
}

// BenchmarkRegistryStart is the time from the command to the first answer,
// over a million blobs.
func BenchmarkRegistryStart(b *testing.B) {
	const blobs = 1_000_000
	dir := b.TempDir()
	pool := filepath.Join(dir, "registry", ".blobs", "sha256")
	check(b, os.MkdirAll(pool, 0o755))
	for i := range blobs {
		sum := sha256.Sum256(fmt.Append(nil, i))
		check(b, os.WriteFile(filepath.Join(pool, hex.EncodeToString(sum[:])), fmt.Append(nil, i), 0o644))
	}
	var took samples
	for b.Loop() {
		var s *served
		took = append(took, timed(b, func() { s = serveOurs(b, "ours", "--state", dir) }))
		s.stop()
	}
	b.ReportMetric(took.median(), "start-s")
}
