package broker

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"holdfast/internal/api"
)

func TestStateIsPrivate(t *testing.T) {
	b := newBench(t, nil)
	b.furnish()
	check(t, filepath.WalkDir(b.cfg.Dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		if info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %o", path, info.Mode().Perm())
		}
		return nil
	}))
}

func TestTwoBrokersShareAFolder(t *testing.T) {
	one := newBench(t, nil)
	two := newBench(t, func(c *Config) { c.Dir, c.TokenKey = one.cfg.Dir, one.cfg.TokenKey })
	if !bytes.Equal(one.audit.key, two.audit.key) {
		t.Fatal("the two have different audit keys")
	}
	var all sync.WaitGroup
	for i := range 20 {
		b := []*bench{one, two}[i%2]
		all.Go(func() {
			if err := b.admin.SetResource(t.Context(), fmt.Sprintf("default/key/%d", i), []byte("x")); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	paths, err := two.admin.Resources(t.Context())
	if err != nil || len(paths) != 20 {
		t.Fatalf("got %d resources, %v, want 20", len(paths), err)
	}
	if lines := one.auditLog(); len(lines) != 20 {
		t.Fatalf("got %d lines of audit log, want 20", len(lines))
	}
}

// TestTornLineIsLeftAlone: a crash cut a line off; what follows is readable.
func TestTornLineIsLeftAlone(t *testing.T) {
	b := newBench(t, nil)
	b.furnish()
	path := filepath.Join(b.cfg.Dir, AuditFile)
	before, err := os.ReadFile(path)
	check(t, err)
	check(t, os.WriteFile(path, append(before, `{"time":"2026`...), 0o600))
	check(t, b.admin.SetResource(t.Context(), "a/b/c", []byte("x")))
	after, err := os.ReadFile(path)
	check(t, err)
	if !bytes.HasPrefix(after, append(before, "{\"time\":\"2026\n"...)) {
		t.Fatalf("got %s", after)
	}
	lines := strings.Split(strings.TrimSpace(string(after)), "\n")
	var e api.AuditEntry
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &e); err != nil || e.Resource != "a/b/c" {
		t.Fatalf("got last line %s, %v", lines[len(lines)-1], err)
	}
}

// A stranger's words are in the log, but not megabytes of them: whoever reads
// it line by line would choke for ever.
func TestAuditLinesAreBounded(t *testing.T) {
	b := newBench(t, nil)
	m := b.machine()
	m.auth()
	a := m.attestation()
	a.InitData.Format = strings.Repeat("é", 700<<10)
	status, _ := m.call("POST", "/kbs/v0/attest", a)
	if status != http.StatusUnauthorized {
		t.Fatalf("got %d, want a refusal", status)
	}
	for _, line := range b.auditLog() {
		if raw, err := json.Marshal(line); err != nil || len(raw) > 64<<10 {
			t.Errorf("got a line of %d bytes, %v", len(raw), err)
		}
	}
	if e := b.lastEntry(); len(e.Reasons) != 1 || !strings.Contains(e.Reasons[0], "format") {
		t.Errorf("got reasons of %d entries, want the one about the format", len(e.Reasons))
	}
	if got := bounded(make([]string, 1000)); len(got) != maxReasons {
		t.Errorf("got %d reasons, want %d", len(got), maxReasons)
	}
	if bounded(nil) != nil {
		t.Error("no reasons became some")
	}
}

func TestFirmwareIsRecorded(t *testing.T) {
	c := auditClaims(map[string]any{"pcr00": "aa", "pcr04": "bb", "pcr16": "cc"})
	if c.PCRs["0"] != "aa" || c.PCRs["4"] != "bb" || len(c.PCRs) != 2 {
		t.Errorf("got %v, want PCRs 0 and 4", c.PCRs)
	}
}

func TestValueDigestTellsValuesApartAndNothingElse(t *testing.T) {
	l, err := openAudit(Config{Dir: t.TempDir(), Now: time.Now})
	check(t, err)
	same := l.digest("a/b/c", []byte("1234"))
	if l.digest("a/b/c", []byte("1234")) != same {
		t.Error("equal values differ")
	}
	if l.digest("a/b/c", []byte("1235")) == same || l.digest("a/b/d", []byte("1234")) == same {
		t.Error("different values or paths agree")
	}
	if strings.Contains(same, digestOf([]byte("1234"))[7:]) {
		t.Error("the digest is a bare hash, which can be guessed")
	}
}

func TestResourcePaths(t *testing.T) {
	for text, want := range map[string]Resource{
		"default/key/x":        "default/key/x",
		"kbs:///default/key/x": "default/key/x",
		// The rest is Trustee's own list (resource/backend.rs).
		"123--_default/1Abff-_/___-afds44BC": "123--_default/1Abff-_/___-afds44BC",
		"1.ok/2ok./3...":                     "1.ok/2ok./3...",
		"/1/2":                               "", "/repo/type/tag": "", "1/2": "", ".1.ok/2ok./3...": "", "1.ok/.2ok./3...": "", "1.ok/2ok./.3...": "",
		"": "", "a/b/c/d": "", "a/b/": "", "a//c": "", "a/b/ç": "", "a/b/c\x00": "", "a/b/c\n": "", "kbs://host/a/b/c": "", "http:///a/b/c": "",
		"a/b/" + strings.Repeat("x", maxPart+1): "",
	} {
		got, err := ParseResource(text)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%q: got %q, %v, want %q", text, got, err, want)
		}
	}
}
