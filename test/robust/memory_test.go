package robust

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"holdfast/internal/deb/debtest"
)

const mib = 1 << 20

// peak runs words and gives the most memory that they and their children held
// at once.
func (p *place) peak(words ...string) int64 {
	p.t.Helper()
	c := p.command(words...)
	var problems strings.Builder
	c.Stderr = &problems
	if err := c.Start(); err != nil {
		p.t.Fatal(err)
	}
	held := watch(c.Process.Pid)
	if err := c.Wait(); err != nil {
		p.t.Fatalf("holdfast %s: %v\n%s", strings.Join(words, " "), err, problems.String())
	}
	return <-held
}

// watch samples what a process and those under it hold, until it ends, and
// gives the most.
func watch(pid int) <-chan int64 {
	held := make(chan int64, 1)
	go func() {
		most := int64(0)
		for {
			now := residentTree(pid)
			if now == 0 {
				held <- most
				return
			}
			most = max(most, now)
			time.Sleep(10 * time.Millisecond)
		}
	}()
	return held
}

// residentTree sums the most that a process and those under it held so far.
// It reads VmHWM: rusage would count what the parent held when it forked. A
// child that still has its parent's words was forked and has not become its
// program: until then its memory is its parent's, which is counted.
func residentTree(pid int) int64 {
	total := resident(pid)
	words := commandLine(pid)
	lists, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, list := range lists {
		text, _ := os.ReadFile(list)
		for _, word := range strings.Fields(string(text)) {
			if child, err := strconv.Atoi(word); err == nil && commandLine(child) != words {
				total += residentTree(child)
			}
		}
	}
	return total
}

func commandLine(pid int) string {
	words, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	return string(words)
}

func resident(pid int) int64 {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	_, rest, _ := strings.Cut(string(text), "VmHWM:")
	kib, _, _ := strings.Cut(strings.TrimSpace(rest), " ")
	n, _ := strconv.ParseInt(kib, 10, 64)
	return n << 10
}

// most is what every verb may hold, however large the image is.
const most = 300_000_000

func TestMemoryDoesNotGrowWithTheImage(t *testing.T) {
	size := 96 * mib
	if soak() {
		size = 1 << 30
	}
	p := newPlace(t)
	a := debtest.New(t)
	p.recipe("bulk", a.AddBulk("bookworm", size, 50))
	source := []string{"--mirror", a.URL, "--keyring", a.Keyring}
	p.run(append([]string{"image", "lock", "bulk"}, source...)...)
	p.keyPair("key")
	served, registry := p.serve()
	for _, words := range [][]string{
		append([]string{"image", "build", "bulk", "-o", "bulk.oci"}, source...),
		{"image", "encrypt", "oci:bulk.oci", "oci:sealed", "-r", "jwe:key.pub"},
		{"image", "push", "oci:sealed", registry + "/bulk:1"},
		{"image", "pull", registry + "/bulk:1", "oci:back"},
		{"image", "decrypt", "oci:back", "oci:plain", "-k", "key"},
	} {
		got := p.peak(words...)
		t.Logf("%-14s %4d MB", strings.Join(words[:2], " "), got/1e6)
		if got > most {
			t.Errorf("%s: held %d MB, want at most %d", strings.Join(words, " "), got/1e6, most/1_000_000)
		}
	}
	if got := residentTree(served.Process.Pid); got > most {
		t.Errorf("serve: held %d MB, want at most %d", got/1e6, most/1_000_000)
	} else {
		t.Logf("%-14s %4d MB", "serve", got/1e6)
	}
}

// recipe writes one of packages.
func (p *place) recipe(name string, packages []string) {
	p.write(name+"/recipe.yaml", "name: "+name+"\nsuite: bookworm\narchitecture: amd64\npackages: ["+strings.Join(packages, ", ")+"]\n"+
		"oci: {entrypoint: [/srv/bulk0/program]}\n")
}
