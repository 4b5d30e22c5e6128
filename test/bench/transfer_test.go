package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"holdfast/internal/oci"
	"holdfast/test/port"
)

// A side is two nodes of a kind, connected, in a private swarm on loopback.
type side interface {
	// put stores a blob at the first node, and gives its name.
	put(b []byte) string
	// get has the second node give it, which lacks it, to a client over HTTP.
	get(name string) error
}

// BenchmarkBlockTransfer has a node fetch from another, keep and give to a
// client what it lacks: by turns two holdfast and two kubo.
func BenchmarkBlockTransfer(b *testing.B) {
	kubo := os.Getenv("HOLDFAST_TEST_KUBO")
	if kubo == "" {
		b.Skip("kubo 0.39 is missing: make bench builds it; or give its program ipfs in HOLDFAST_TEST_KUBO")
	}
	dir := b.TempDir()
	ours := newHoldfasts(b, dir)
	theirs := newKubos(b, kubo, dir)
	for _, c := range []struct {
		name        string
		size, count int
	}{{"100MiB", 100 << 20, 1}, {"256KiB", 256 << 10, 400}} {
		b.Run(c.name, func(b *testing.B) {
			var mine, other samples
			for i := range b.N {
				for _, s := range []struct {
					side
					took *samples
				}{{ours, &mine}, {theirs, &other}} {
					names := make([]string, 0, c.count)
					for k := range c.count {
						names = append(names, s.put(noise(c.size, uint64(b.N), uint64(i), uint64(k), uint64(c.size))))
					}
					*s.took = append(*s.took, timed(b, func() { getAll(b, s.side, names) }))
				}
			}
			mib := float64(c.size) * float64(c.count) / (1 << 20)
			b.ReportMetric(mib/mine.median(), "holdfast-MiB/s")
			b.ReportMetric(mib/other.median(), "kubo-MiB/s")
			b.ReportMetric(mine.ratio(other), "ratio")
		})
	}
}

// getAll asks for eight at a time.
func getAll(b *testing.B, s side, names []string) {
	b.Helper()
	next := make(chan string)
	var wait sync.WaitGroup
	for range 8 {
		wait.Go(func() {
			for name := range next {
				if err := s.get(name); err != nil {
					b.Error(err)
				}
			}
		})
	}
	for _, name := range names {
		next <- name
	}
	close(next)
	wait.Wait()
}

func noise(n int, seeds ...uint64) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte([]byte(fmt.Sprintf("%32x", oci.SHA256(fmt.Append(nil, seeds)).Short())))).Read(b)
	return b
}

// daemon runs a program until the benchmark ends, and waits until it prints a
// line with word in it.
func daemon(b *testing.B, c *exec.Cmd, word string) {
	b.Helper()
	out, err := c.StdoutPipe()
	check(b, err)
	check(b, c.Start())
	b.Cleanup((&served{cmd: c}).stop)
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if strings.Contains(lines.Text(), word) {
			go func() { _, _ = io.Copy(io.Discard, out) }() // ends with the program
			return
		}
	}
	b.Fatalf("%q ended before it said %q", c.Args, word)
}

// output runs a program to its end and gives what it printed.
func output(b *testing.B, c *exec.Cmd) string {
	b.Helper()
	var problems bytes.Buffer
	c.Stderr = &problems
	out, err := c.Output()
	if err != nil {
		b.Fatalf("%q: %v: %s", c.Args, err, problems.String())
	}
	return strings.TrimSpace(string(out))
}

// read reads an answer to its end.
func read(a *http.Response, err error) error {
	if err != nil {
		return err
	}
	defer a.Body.Close()
	if _, err := io.Copy(io.Discard, a.Body); err != nil {
		return err
	}
	if a.StatusCode >= 300 {
		return fmt.Errorf("%s: %s", a.Request.URL, a.Status)
	}
	return nil
}

// holdfasts are two holdfast serve; pushes and pulls are the registry's.
type holdfasts struct {
	b             *testing.B
	first, second string
}

func newHoldfasts(b *testing.B, dir string) holdfasts {
	program := filepath.Join(root, "bin", "holdfast")
	run := func(name string, words ...string) *exec.Cmd {
		return exec.Command(program, append(words, "--state", filepath.Join(dir, name))...)
	}
	key := filepath.Join(dir, "swarm.key")
	output(b, run("a", "peer", "swarm-key", "export", key))
	output(b, run("b", "peer", "swarm-key", "import", key))
	h := holdfasts{b, port.Address(b), port.Address(b)}
	start(b, "first", h.first, run("a", "serve", "--registry-listen", h.first, "--broker-listen", "127.0.0.1:0", "--swarm-listen", "127.0.0.1:0"))
	var who struct{ Addresses []string }
	check(b, json.Unmarshal([]byte(output(b, run("a", "peer", "id", "--json"))), &who))
	start(b, "second", h.second, run("b", "serve", "--registry-listen", h.second, "--broker-listen", "127.0.0.1:0", "--peer", who.Addresses[0]))
	output(b, run("b", "peer", "ping", who.Addresses[0]))
	return h
}

func (h holdfasts) put(blob []byte) string {
	d := string(oci.SHA256(blob))
	check(h.b, read(http.Post("http://"+h.first+"/v2/bench/blobs/uploads/?digest="+d, "application/octet-stream", bytes.NewReader(blob))))
	return d
}

func (h holdfasts) get(name string) error {
	return read(http.Get("http://" + h.second + "/v2/bench/blobs/" + name))
}

// kubos are two kubo, with chunks as large as ours.
type kubos struct {
	b           *testing.B
	first       func(stdin []byte, words ...string) string
	secondsHTTP string
}

func newKubos(b *testing.B, program, dir string) kubos {
	ipfs := func(name string, stdin []byte, words ...string) *exec.Cmd {
		c := exec.Command(program, words...)
		c.Env = append(os.Environ(), "IPFS_PATH="+filepath.Join(dir, name), "LIBP2P_FORCE_PNET=1", "IPFS_TELEMETRY=off")
		c.Stdin = bytes.NewReader(stdin)
		return c
	}
	key, err := os.ReadFile(filepath.Join(dir, "swarm.key"))
	check(b, err)
	for _, name := range []string{"kubo-a", "kubo-b"} {
		output(b, ipfs(name, nil, "init", "--profile=autoconf-off,test"))
		output(b, ipfs(name, nil, "config", "Routing.Type", "none"))
		check(b, os.WriteFile(filepath.Join(dir, name, "swarm.key"), key, 0o600))
		daemon(b, ipfs(name, nil, "daemon"), "Daemon is ready")
	}
	where := strings.Fields(output(b, ipfs("kubo-a", nil, "id", "-f", "<addrs>")))[0]
	output(b, ipfs("kubo-b", nil, "swarm", "connect", where))
	api, err := os.ReadFile(filepath.Join(dir, "kubo-b", "api"))
	check(b, err)
	parts := strings.Split(strings.TrimSpace(string(api)), "/") // /ip4/127.0.0.1/tcp/PORT
	return kubos{b, func(stdin []byte, words ...string) string { return output(b, ipfs("kubo-a", stdin, words...)) }, parts[2] + ":" + parts[4]}
}

func (k kubos) put(blob []byte) string {
	return k.first(blob, "add", "--quieter", "--cid-version=1", "--chunker=size-1048576", "--pin=false", "--progress=false")
}

func (k kubos) get(name string) error {
	return read(http.Post("http://"+k.secondsHTTP+"/api/v0/cat?arg="+name, "", nil))
}
