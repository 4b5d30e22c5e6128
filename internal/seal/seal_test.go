package seal

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func openRing(t testing.TB, dir string) *Ring {
	t.Helper()
	r, err := OpenRing(t.Context(), RingConfig{Dir: dir})
	check(t, err)
	t.Cleanup(func() { check(t, r.Close()) })
	return r
}

func newSealer(t testing.TB, m Masters) *Sealer {
	s := New(m)
	t.Cleanup(func() { check(t, s.Close()) })
	return s
}

func TestWhatWasSealedOpensInAnotherProcess(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "master")
	sealed, err := newSealer(t, openRing(t, dir)).Seal(t.Context(), "default/key/x", []byte("the key"))
	check(t, err)
	if bytes.Contains(sealed, []byte("the key")) {
		t.Error("the envelope shows the secret")
	}
	plain, err := newSealer(t, openRing(t, dir)).Open(t.Context(), "default/key/x", sealed)
	if err != nil || string(plain) != "the key" {
		t.Errorf("got %q, %v", plain, err)
	}
}

func TestEveryAlteredByteIsNoticed(t *testing.T) {
	s := newSealer(t, openRing(t, filepath.Join(t.TempDir(), "master")))
	sealed, err := s.Seal(t.Context(), "a", []byte("secret"))
	check(t, err)
	for i := range sealed {
		bad := bytes.Clone(sealed)
		bad[i] ^= 1
		if plain, err := s.Open(t.Context(), "a", bad); err == nil {
			t.Errorf("byte %d altered: it opened as %q", i, plain)
		}
	}
	for n := range sealed {
		if _, err := s.Open(t.Context(), "a", sealed[:n]); err == nil {
			t.Errorf("the first %d bytes opened", n)
		}
	}
	if _, err := s.Open(t.Context(), "b", sealed); !errors.Is(err, ErrAltered) {
		t.Errorf("under another name: got %v, want ErrAltered", err)
	}
}

func TestALostOrWrongMasterIsNamedAndNothingIsWritten(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "master")
	sealed, err := newSealer(t, openRing(t, dir)).Seal(t.Context(), "a", []byte("secret"))
	check(t, err)
	id, err := MasterOf(sealed)
	check(t, err)
	file := filepath.Join(dir, id.String()+".json")
	good, err := os.ReadFile(file)
	check(t, err)

	other := openRing(t, filepath.Join(t.TempDir(), "master"))
	if _, err := newSealer(t, other).Open(t.Context(), "a", sealed); !errors.Is(err, ErrUnknownMaster) || !strings.Contains(err.Error(), id.String()) {
		t.Errorf("with another ring: got %v, want ErrUnknownMaster that names %s", err, id)
	}

	otherID, _, err := other.Current(t.Context())
	check(t, err)
	wrong, err := os.ReadFile(other.path(otherID))
	check(t, err)
	wrong = bytes.Replace(wrong, []byte(otherID.String()), []byte(id.String()), 1)
	bad := bytes.Replace(good, []byte(`"key":"`), []byte(`"key":"AAAA`), 1)
	for name, content := range map[string][]byte{"another's record": wrong, "a changed key": bad, "no JSON": []byte("{")} {
		check(t, os.WriteFile(file, content, 0o600))
		before := listing(t, dir)
		if _, err := newSealer(t, openRing(t, dir)).Open(t.Context(), "a", sealed); err == nil || !strings.Contains(err.Error(), id.String()) {
			t.Errorf("%s: got %v, want an error that names %s", name, err, id)
		}
		if _, err := newSealer(t, openRing(t, dir)).Seal(t.Context(), "a", nil); err == nil {
			t.Errorf("%s: it sealed", name)
		}
		if after := listing(t, dir); after != before {
			t.Errorf("%s: the folder changed from %s to %s", name, before, after)
		}
	}
	check(t, os.Remove(filepath.Join(dir, "current")))
	if _, err := OpenRing(t.Context(), RingConfig{Dir: dir}); err == nil || !strings.Contains(err.Error(), "current is missing") {
		t.Errorf("without its pointer: got %v", err)
	}
}

func listing(t *testing.T, dir string) string {
	var all strings.Builder
	entries, err := os.ReadDir(dir)
	check(t, err)
	for _, e := range entries {
		raw, err := os.ReadFile(filepath.Join(dir, e.Name()))
		check(t, err)
		fmt.Fprintf(&all, "%s %x\n", e.Name(), raw)
	}
	return all.String()
}

func TestOnlyTheOwnerReadsAMaster(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "master")
	openRing(t, dir)
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	check(t, err)
	if len(files) != 2 {
		t.Errorf("got %v, want a record and the pointer", files)
	}
	for _, f := range append(files, dir) {
		info, err := os.Stat(f)
		check(t, err)
		if info.Mode()&0o077 != 0 {
			t.Errorf("%s has mode %v", f, info.Mode())
		}
	}
}

// Several processes, stood for by rings of their own, seal and open while the
// master changes; none fails, and what is old says so.
func TestMastersRotateUnderLoad(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "master")
	first := newSealer(t, openRing(t, dir))
	old, err := first.Seal(t.Context(), "old", []byte("old"))
	check(t, err)
	var stop atomic.Bool
	var work sync.WaitGroup
	for n := range 4 {
		s := newSealer(t, openRing(t, dir))
		work.Go(func() {
			for i := 0; !stop.Load() || i == 0; i++ {
				name := fmt.Sprintf("%d/%d", n, i)
				sealed, err := s.Seal(t.Context(), name, []byte(name))
				if err != nil {
					t.Error(err)
					return
				}
				if plain, err := first.Open(t.Context(), name, sealed); err != nil || string(plain) != name {
					t.Errorf("got %q, %v", plain, err)
				}
			}
		})
	}
	rotating := openRing(t, dir)
	for range 5 {
		if _, err := rotating.Rotate(t.Context(), FileKind, nil); err != nil {
			t.Error(err)
		}
	}
	stop.Store(true)
	work.Wait()
	stale, err := first.Stale(t.Context(), old)
	check(t, err)
	plain, err := first.Open(t.Context(), "old", old)
	if err != nil || string(plain) != "old" || !stale {
		t.Errorf("got %q, stale %v, %v", plain, stale, err)
	}
	again, err := first.Seal(t.Context(), "old", plain)
	check(t, err)
	if stale, err := first.Stale(t.Context(), again); stale || err != nil {
		t.Errorf("sealed again it is stale: %v, %v", stale, err)
	}
}

// A counting master stands for an HSM.
type counting struct {
	Master
	wraps, unwraps atomic.Int32
}

func (c *counting) Wrap(ctx context.Context, key []byte) ([]byte, error) {
	c.wraps.Add(1)
	return c.Master.Wrap(ctx, key)
}

func (c *counting) Unwrap(ctx context.Context, wrapped []byte) ([]byte, error) {
	c.unwraps.Add(1)
	return c.Master.Unwrap(ctx, wrapped)
}

func (c *counting) Current(context.Context) (ID, Master, error) { return ID{1}, c, nil }

type one struct{ *counting }

func (o one) Master(context.Context, ID) (Master, error) { return o.counting, nil }

func TestASlowMasterIsAskedOncePerDataKey(t *testing.T) {
	m, err := Soft(ID{1}, make([]byte, keySize))
	check(t, err)
	c := &counting{Master: m}
	writer, reader := newSealer(t, one{c}), newSealer(t, one{c})
	var all [][]byte
	for range 100 {
		sealed, err := writer.Seal(t.Context(), "x", []byte("secret"))
		check(t, err)
		all = append(all, sealed)
	}
	var work sync.WaitGroup
	for _, sealed := range all {
		work.Go(func() {
			if _, err := reader.Open(t.Context(), "x", sealed); err != nil {
				t.Error(err)
			}
		})
	}
	work.Wait()
	if w, u := c.wraps.Load(), c.unwraps.Load(); w != 1 || u != 1 {
		t.Errorf("got %d wraps and %d unwraps, want one each", w, u)
	}
}

func TestClosingWipesTheKeys(t *testing.T) {
	v := newVault(2)
	_, err := v.put([32]byte{1}, bytes.Repeat([]byte{7}, keySize))
	check(t, err)
	for i := range byte(3) { // the first makes room
		_, err = v.put([32]byte{2 + i}, bytes.Repeat([]byte{7}, keySize))
		check(t, err)
	}
	if _, ok := v.get([32]byte{1}); ok {
		t.Error("a full vault kept its oldest key")
	}
	s := newSealer(t, openRing(t, filepath.Join(t.TempDir(), "master")))
	sealed, err := s.Seal(t.Context(), "a", nil)
	check(t, err)
	check(t, s.Close())
	if _, err := s.Open(t.Context(), "a", sealed); err == nil {
		t.Error("a closed sealer opens")
	}
	check(t, v.close())
	check(t, v.close())
}

// golden is "secret" sealed for "a", under the master 01000… of 32 zero bytes.
const golden = "68667365616c000101000000000000000000000000000000003c5c97814ced9362cd69d7a40097e7de6a86f1ab2a279ff1a8c91021bf1bfd5e" +
	"989b5718290150b617dd3830e67556ef452cd7e870d4be87048a955e035dbe4bae115116973d67f893237d7be376e06333f98e8d6553318b1274f87cc9672e"

func TestAnEnvelopeOfOldOpens(t *testing.T) {
	m, err := Soft(ID{1}, make([]byte, keySize))
	check(t, err)
	sealed, err := hex.DecodeString(golden)
	check(t, err)
	if plain, err := newSealer(t, one{&counting{Master: m}}).Open(t.Context(), "a", sealed); err != nil || string(plain) != "secret" {
		t.Errorf("got %q, %v", plain, err)
	}
}

// What is not an envelope is refused, and one that opens is the very one.
//
//fuzz:parser envelope.go:parse,MasterOf seal.go:Open
func FuzzEnvelope(f *testing.F) {
	m, err := Soft(ID{1}, make([]byte, keySize))
	check(f, err)
	s := newSealer(f, one{&counting{Master: m}})
	sealed, err := hex.DecodeString(golden)
	check(f, err)
	f.Add(sealed)
	f.Add(sealed[:40])
	f.Add([]byte("hfseal\x00\x02"))
	f.Fuzz(func(t *testing.T, data []byte) {
		plain, err := s.Open(t.Context(), "a", data)
		if err == nil && (!bytes.Equal(data, sealed) || string(plain) != "secret") {
			t.Errorf("%x opened as %q", data, plain)
		}
		if e, box, err := parse(data); err == nil && !bytes.Equal(append(e.bytes(), box...), data) {
			t.Errorf("%x parses as another envelope", data)
		}
	})
}

func BenchmarkSeal(b *testing.B) {
	s := newSealer(b, openRing(b, filepath.Join(b.TempDir(), "master")))
	secret := make([]byte, 32)
	for b.Loop() {
		if _, err := s.Seal(b.Context(), "default/key/x", secret); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkOpen(b *testing.B) {
	s := newSealer(b, openRing(b, filepath.Join(b.TempDir(), "master")))
	sealed, err := s.Seal(b.Context(), "default/key/x", make([]byte, 32))
	check(b, err)
	for b.Loop() {
		if _, err := s.Open(b.Context(), "default/key/x", sealed); err != nil {
			b.Fatal(err)
		}
	}
}
