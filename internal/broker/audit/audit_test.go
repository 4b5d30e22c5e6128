package audit

import (
	"bytes"
	"context"
	"crypto/x509"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"holdfast/internal/api"
	"holdfast/internal/keys"
)

// memory keeps a head.
type memory struct {
	mu   sync.Mutex
	head api.AuditHead // guarded by mu
}

func (m *memory) AuditHead(context.Context) (api.AuditHead, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.head, nil
}

func (m *memory) SetAuditHead(_ context.Context, h api.AuditHead) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.head = h
	return nil
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// A bench is a log and its head.
type bench struct {
	t    *testing.T
	dir  string
	head *memory
	edit func(*Config)
}

func newBench(t *testing.T) *bench {
	return &bench{t: t, dir: t.TempDir(), head: &memory{}, edit: func(*Config) {}}
}

func (b *bench) open() *Log {
	c := Config{Dir: b.dir, Head: b.head}
	b.edit(&c)
	return Open(c)
}

func (b *bench) append(l *Log, from, to int) {
	b.t.Helper()
	for i := from; i <= to; i++ {
		check(b.t, l.Append(api.AuditEntry{Action: "attest", Decision: api.AuditAllow, Subject: fmt.Sprint("entry ", i)}))
	}
}

func (b *bench) lines() []string {
	b.t.Helper()
	raw, err := os.ReadFile(filepath.Join(b.dir, File))
	check(b.t, err)
	return strings.SplitAfter(strings.TrimSuffix(string(raw), "\n"), "\n")
}

func (b *bench) write(lines []string) {
	b.t.Helper()
	check(b.t, os.WriteFile(filepath.Join(b.dir, File), []byte(strings.Join(lines, "")), 0o600))
}

func (b *bench) verify(roots *x509.CertPool) Report {
	b.t.Helper()
	files, err := Files(b.dir)
	check(b.t, err)
	head, _ := b.head.AuditHead(b.t.Context())
	report, err := Verify(files, &head, roots)
	check(b.t, err)
	return report
}

func (b *bench) good(lines int) Report {
	b.t.Helper()
	r := b.verify(nil)
	if len(r.Problems) > 0 || r.Lines != lines {
		b.t.Errorf("got %d lines and problems %v, want %d and none", r.Lines, r.Problems, lines)
	}
	return r
}

func TestEachWayToTamperIsFoundAndItsLineNamed(t *testing.T) {
	for name, test := range map[string]struct {
		tamper func(lines []string) []string // of 9
		want   string
	}{
		"changed": {func(l []string) []string { l[3] = strings.Replace(l[3], "entry 4", "entry x", 1); return l },
			"line 5: it does not follow from the line before, number 4"},
		"changed at the end": {func(l []string) []string { l[8] = strings.Replace(l[8], "entry 9", "entry x", 1); return l },
			"line 9: number 9 is not the line that was recorded"},
		"removed":       {func(l []string) []string { return append(l[:3], l[4:]...) }, "line 4: number 5 comes after 3: 1 lines were removed"},
		"first removed": {func(l []string) []string { return l[1:] }, "line 1: it is number 2, and what was before it is missing"},
		"swapped":       {func(l []string) []string { l[3], l[4] = l[4], l[3]; return l }, "line 4: number 5 comes after 3"},
		"cut off":       {func(l []string) []string { return l[:6] }, "line 6: the log ends with number 6, but 9 was written: the last 3"},
		"emptied":       {func([]string) []string { return nil }, "line 0: the log ends with number 0, but 9"},
		"doubled":       {func(l []string) []string { return append(l[:4:4], l[3:]...) }, "line 5: number 4 comes after 4"},
		"inserted": {func(l []string) []string {
			return append(l[:4:4], append([]string{`{"action":"attest"}` + "\n"}, l[4:]...)...)
		}, "line 6: what stands between"},
		"inserted at start": {func(l []string) []string { return append([]string{"{}\n"}, l...) }, "line 2: it is the first of the chain, but what is before it was changed"},
		"added":             {func(l []string) []string { return append(l[:8:8], l[8]+"\n", "{}\n") }, "line 10: it has no place in the chain"},
		"chained anew": {func(l []string) []string {
			forged := place{prev: hashOf(nil)}
			for i := range l {
				line, _ := forged.next(nil, api.AuditEntry{Action: "forged"})
				l[i] = string(line) + "\n"
			}
			return l
		}, "line 9: number 9 is not the line that was recorded"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			b.append(b.open(), 1, 9)
			b.good(9)
			b.write(test.tamper(b.lines()))
			r := b.verify(nil)
			if len(r.Problems) == 0 || !strings.Contains(r.Problems[0].String(), test.want) {
				t.Errorf("got %v, want %q", r.Problems, test.want)
			}
		})
	}
}

func TestALogGoesOnWhereItEnded(t *testing.T) {
	b := newBench(t)
	b.append(b.open(), 1, 3)
	b.append(b.open(), 4, 5)
	one, two := b.open(), b.open() // as two processes would
	for i := range 4 {
		b.append([]*Log{one, two}[i%2], 6+i, 6+i)
	}
	if r := b.good(9); r.First != 1 || r.Head.Seq != 9 {
		t.Errorf("got %+v", r)
	}
}

func TestManyAppendAtOnce(t *testing.T) {
	b := newBench(t)
	one, two := b.open(), b.open()
	var all sync.WaitGroup
	for i := range 100 {
		all.Go(func() { b.append([]*Log{one, two}[i%2], i, i) })
	}
	all.Wait()
	b.good(100)
}

func TestLinesOfBeforeBeginTheChain(t *testing.T) {
	b := newBench(t)
	b.write([]string{`{"action":"attest"}` + "\n", `{"action":"set-resource"}` + "\n", `{"torn`})
	b.append(b.open(), 1, 2)
	r := b.good(6)
	if r.Before != 3 || r.First != 1 || !strings.Contains(b.lines()[3], api.AuditBegin) {
		t.Errorf("got %+v and line %s", r, b.lines()[3])
	}
	lines := b.lines()
	lines[0] = `{"action":"nothing"}` + "\n"
	b.write(lines)
	if r := b.verify(nil); len(r.Problems) != 1 || r.Problems[0].Line != 4 {
		t.Errorf("got %v, want the line that vouches for what is before", r.Problems)
	}
}

func TestATornLineIsCoveredByTheNext(t *testing.T) {
	b := newBench(t)
	b.append(b.open(), 1, 2)
	lines := b.lines()
	lines[1] += "\n"
	b.write(append(lines, `{"seq":3,"pre`))
	if r := b.good(3); r.Torn != 1 {
		t.Errorf("got %+v, want one torn line", r)
	}
	b.append(b.open(), 3, 4)
	if r := b.good(5); r.Torn != 1 || r.Head.Seq != 4 {
		t.Errorf("got %+v, want one torn line and four whole ones", r)
	}
	lines = b.lines()
	lines[2] = "{}\n"
	b.write(lines)
	if r := b.verify(nil); len(r.Problems) == 0 || r.Problems[0].Line != 4 {
		t.Errorf("got %v, want what stands between to be found", r.Problems)
	}
}

func TestALineThatLacksOnlyItsEndCounts(t *testing.T) {
	b := newBench(t)
	b.append(b.open(), 1, 3)
	b.write([]string{strings.TrimSuffix(strings.Join(b.lines(), ""), "\n")})
	b.append(b.open(), 4, 4)
	b.good(4)
}

func TestAFullFileIsPutAwayAndTheChainGoesOn(t *testing.T) {
	b := newBench(t)
	b.edit = func(c *Config) { c.MaxSize = 700 }
	b.append(b.open(), 1, 5)
	b.append(b.open(), 6, 20)
	files, err := Files(b.dir)
	if err != nil || len(files) < 3 {
		t.Fatalf("got %v, %v, want several files", files, err)
	}
	b.good(20)
	// A crash came after one was put away.
	check(t, os.Rename(files[len(files)-1], filepath.Join(b.dir, fmt.Sprintf("audit-%d.jsonl", len(files)))))
	b.append(b.open(), 21, 22)
	b.good(22)
	alone, err := Verify(files[1:2], nil, nil)
	if err != nil || len(alone.Problems) > 0 || alone.First < 2 {
		t.Errorf("got %+v, %v: a file in the midst can be checked alone", alone, err)
	}
	check(t, os.WriteFile(files[1], nil, 0o600))
	if r := b.verify(nil); len(r.Problems) == 0 {
		t.Error("a file was emptied, and nobody noticed")
	}
}

// What was cut off is not forgotten when the log goes on.
func TestALogThatWasCutSaysSoForEver(t *testing.T) {
	b := newBench(t)
	l := b.open()
	b.append(l, 1, 5)
	b.write(b.lines()[:2])
	b.append(l, 6, 7)
	b.append(b.open(), 8, 8)
	r := b.verify(nil)
	if len(r.Problems) != 1 || r.Problems[0].Line != 3 || !strings.Contains(r.Problems[0].What, "line 5") {
		t.Errorf("got %v, want line 3 to tell that line 5 was there", r.Problems)
	}
	if r.Head.Seq != 9 {
		t.Errorf("got %d, want no number twice", r.Head.Seq)
	}
}

func TestCheckpointsAreSignedAndChecked(t *testing.T) {
	ring, err := keys.Init(t.Context(), filepath.Join(t.TempDir(), "keys"), time.Now())
	check(t, err)
	b, signer, now := newBench(t), ring.Releases(), time.Now()
	b.edit = func(c *Config) {
		c.Signer, c.Every, c.Now = &signer, 4, func() time.Time { return now }
	}
	l := b.open()
	b.append(l, 1, 9)
	if r := b.verify(ring.RootPool()); len(r.Problems) > 0 || r.Checkpoints != 2 || r.Signed != 9 {
		t.Fatalf("got %+v, want two checkpoints", r)
	}
	now = now.Add(2 * time.Hour)
	b.append(l, 10, 10)
	now = now.Add(-3 * time.Hour) // the clock jumps back: order is by number
	b.append(l, 11, 12)
	if r := b.verify(ring.RootPool()); len(r.Problems) > 0 || r.Checkpoints != 4 {
		t.Errorf("got %+v, want four checkpoints", r)
	}
	stranger, err := keys.Init(t.Context(), filepath.Join(t.TempDir(), "keys"), time.Now())
	check(t, err)
	if r := b.verify(stranger.RootPool()); len(r.Problems) != 4 || !strings.Contains(r.Problems[0].What, "checkpoint: ") {
		t.Errorf("got %v, want a stranger's checkpoints refused", r.Problems)
	}
	// All is written anew, the signatures taken along, and the head as well.
	forged := place{prev: hashOf(nil)}
	var lines []string
	for _, line := range b.lines() {
		e, _ := chained([]byte(strings.TrimSuffix(line, "\n")))
		e.Subject += "!"
		fresh, err := forged.next(nil, e)
		check(t, err)
		lines = append(lines, string(fresh)+"\n")
	}
	b.write(lines)
	check(t, b.head.SetAuditHead(t.Context(), forged.head))
	if r := b.verify(ring.RootPool()); len(r.Problems) == 0 || !strings.Contains(r.Problems[0].What, "it vouches for line 4") {
		t.Errorf("got %v, want the checkpoint to tell", r.Problems)
	}
}

func TestAFailedWriteLeavesTheLogAsItWas(t *testing.T) {
	b := newBench(t)
	l := b.open()
	b.append(l, 1, 2)
	path := filepath.Join(b.dir, File)
	before, err := os.ReadFile(path)
	check(t, err)
	check(t, os.Rename(path, path+".kept"))
	check(t, os.Mkdir(path, 0o700))
	if err := l.Append(api.AuditEntry{}); err == nil {
		t.Fatal("a line was written nowhere")
	}
	check(t, os.Remove(path))
	check(t, os.Rename(path+".kept", path))
	if after, err := os.ReadFile(path); err != nil || !bytes.Equal(before, after) {
		t.Errorf("got %s, %v", after, err)
	}
	b.append(l, 3, 3)
	b.good(3)
}

func BenchmarkAppend(b *testing.B) {
	for _, appenders := range []int{1, 16, 200} {
		b.Run(fmt.Sprint(appenders), func(b *testing.B) {
			l := Open(Config{Dir: b.TempDir(), Head: &memory{}})
			e := api.AuditEntry{Time: time.Now(), Action: "attest", Decision: api.AuditAllow, Session: "0123456789abcdef", Peer: "192.0.2.1:4711"}
			var left atomic.Int64
			left.Store(int64(b.N))
			var all sync.WaitGroup
			for range appenders {
				all.Go(func() {
					for left.Add(-1) >= 0 {
						if err := l.Append(e); err != nil {
							b.Error(err)
						}
					}
				})
			}
			all.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "lines/s")
		})
	}
}
