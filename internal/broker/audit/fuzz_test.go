package audit

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"testing"

	"holdfast/internal/api"
)

// Whatever a log holds, who appends to it and who checks it agree on what the
// next line has to name.
//
//fuzz:parser verify.go place.go:judge,chained
func FuzzReadLog(f *testing.F) {
	one := place{prev: hashOf(nil)}
	line, err := one.next(nil, api.AuditEntry{Action: "attest"})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(append(line, '\n'))
	f.Add([]byte("{\"action\":\"attest\"}\n{\"torn"))
	f.Add(append(append([]byte("{}\n"), line...), "\nx\n\n"...))
	f.Fuzz(func(t *testing.T, log []byte) {
		c := &checker{since: sha256.New()}
		if err := c.read(File, bytes.NewReader(log)); err != nil {
			t.Fatal(err)
		}
		c.finish()
		p := place{size: int64(len(log))}
		if !p.judge(log, true) && p.head.Seq > 0 || p.head != c.Head {
			t.Fatalf("the writer finds %+v, the checker %+v", p.head, c.Head)
		}
		if want := "sha256:" + hex.EncodeToString(c.since.Sum(nil)); p.prev != want {
			t.Fatalf("the writer's next line names %s, the checker wants %s", p.prev, want)
		}
		next, err := p.next(nil, api.AuditEntry{})
		if err != nil {
			t.Fatal(err)
		}
		before := len(c.Problems)
		if e, ok := chained(next); !ok {
			t.Fatal("what was written is no line of a chain")
		} else if c.link(e); len(c.Problems) > before {
			t.Fatalf("what was written does not follow: %v", c.Problems[before:])
		}
	})
}
