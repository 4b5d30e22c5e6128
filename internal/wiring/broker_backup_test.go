package wiring

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"holdfast/internal/api"
	"holdfast/internal/hsm"
	"holdfast/internal/policy"
	"holdfast/internal/seal"
)

// A load changes a broker without end, and remembers what was acknowledged.
type load struct {
	*desk
	stop   atomic.Bool
	work   sync.WaitGroup
	values [4]atomic.Int64 // resource default/load/n: the value acknowledged last
	policy atomic.Int64
	gets   atomic.Int64
}

func (l *load) keep(counter *atomic.Int64, change func(n int64) error) {
	l.work.Go(func() {
		for n := int64(1); !l.stop.Load(); n++ {
			if err := change(n); err != nil {
				l.t.Error(err)
				return
			}
			counter.Store(n)
		}
	})
}

func (l *load) start() {
	for k := range l.values {
		l.keep(&l.values[k], func(n int64) error {
			return l.admin.SetResource(l.t.Context(), fmt.Sprintf("default/load/n%d", k), fmt.Append(nil, n))
		})
	}
	l.keep(&l.policy, func(n int64) error {
		return l.admin.ChangePolicy(l.t.Context(), "resource", api.PolicyChange{Policy: policy.Resource + fmt.Sprintf("# %d\n", n), Comment: "load"})
	})
	l.keep(&l.gets, func(int64) error {
		value, err := l.client.Resource(l.t.Context(), "kbs:///default/key/x")
		if err == nil && string(value) != "the key" {
			err = fmt.Errorf("got %q", value)
		}
		return err
	})
}

// finish waits for the last of it.
func (l *load) finish() {
	l.stop.Store(true)
	l.work.Wait()
}

// busy waits until all of the load has been acknowledged more than once.
func (l *load) busy() {
	for end := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		idle := l.policy.Load() < 2 || l.gets.Load() < 2
		for k := range l.values {
			idle = idle || l.values[k].Load() < 2
		}
		if !idle {
			return
		}
		if l.t.Failed() || time.Now().After(end) {
			l.t.Fatal("the load does not get on")
		}
	}
}

// A backup that is made while everything changes restores to one moment: all
// that was acknowledged before it is there, opens, and follows from the log.
func TestABackupUnderLoadHasAllThatWasAcknowledged(t *testing.T) {
	l := &load{desk: newDesk(t, nil, "default/key/x")}
	check(t, l.admin.CreateResource(t.Context(), "default/key/x", []byte("the key")))
	l.start()
	defer l.finish()
	l.busy()
	for round := range 3 {
		var before [len(l.values)]int64
		for k := range before {
			before[k] = l.values[k].Load()
		}
		policies, gets := l.policy.Load(), l.gets.Load()
		file := filepath.Join(t.TempDir(), "backup.tar")
		_, err := l.BackUp(t.Context(), file, true)
		check(t, err)
		elsewhere, err := Open(t.TempDir())
		check(t, err)
		for _, checkOnly := range []bool{true, false} {
			r, err := elsewhere.Restore(t.Context(), file, checkOnly)
			check(t, err)
			if len(r.State.Sealed) > 0 || len(r.Needs) > 0 || r.Audit.Torn > 0 {
				t.Errorf("round %d: got %+v", round, r)
			}
		}
		l.has(elsewhere, before, policies, gets)
	}
}

func (l *load) has(i Installation, before [4]int64, policies, gets int64) {
	l.t.Helper()
	r, err := i.CheckBroker(l.t.Context())
	check(l.t, err)
	check(l.t, r.Err())
	kept, err := i.openState(nil)
	check(l.t, err)
	defer kept.Close()
	value, err := kept.Resource(l.t.Context(), "default/key/x")
	if err != nil || string(value) != "the key" {
		l.t.Errorf("got %q, %v", value, err)
	}
	for k, least := range before {
		var n int64
		value, err := kept.Resource(l.t.Context(), fmt.Sprintf("default/load/n%d", k))
		check(l.t, err)
		if _, err := fmt.Sscan(string(value), &n); err != nil || n < least {
			l.t.Errorf("resource %d is %q, but %d was acknowledged", k, value, least)
		}
	}
	ring, err := i.Ring(l.t.Context())
	check(l.t, err)
	client, err := i.Admin(ring)
	check(l.t, err)
	defer client.Close()
	history, err := client.PolicyHistory(l.t.Context(), "resource")
	check(l.t, err)
	if int64(len(history)) < policies {
		l.t.Errorf("%d versions of the policy are there, %d were acknowledged", len(history), policies)
	}
	all, err := client.Decisions(l.t.Context())
	check(l.t, err)
	n := int64(0)
	for _, e := range all {
		if e.Action == "get-resource" && e.Decision == api.AuditAllow {
			n++
		}
	}
	if n < gets {
		l.t.Errorf("%d releases are in the log, %d were made", n, gets)
	}
}

// sealedBackup is one without keys, of a broker with a resource, and the master
// that the resource needs.
func sealedBackup(t *testing.T, i Installation) (file string, needed seal.ID) {
	t.Helper()
	ring, err := i.Ring(t.Context())
	check(t, err)
	client, err := i.Admin(ring)
	check(t, err)
	check(t, client.SetResource(t.Context(), "default/key/x", []byte("the key")))
	client.Close()
	file = filepath.Join(t.TempDir(), "backup.tar")
	_, err = i.BackUp(t.Context(), file, false)
	check(t, err)
	kept, err := i.openState(nil)
	check(t, err)
	defer kept.Close()
	needed, _, err = kept.vault.ring.Current(t.Context())
	check(t, err)
	return file, needed
}

// tree is all that a folder holds, but locks.
func tree(t *testing.T, dir string) string {
	t.Helper()
	var all strings.Builder
	check(t, filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || strings.HasSuffix(path, "lock") {
			return err
		}
		raw, err := os.ReadFile(path)
		fmt.Fprintf(&all, "%s %x\n", path, raw)
		return err
	}))
	return all.String()
}

// keyed is an installation with keys of its own, the master in a file.
func keyed(t *testing.T) Installation {
	t.Helper()
	i, err := Open(t.TempDir())
	check(t, err)
	_, err = i.Ring(t.Context())
	check(t, err)
	v, err := i.openVault(t.Context(), nil)
	check(t, err)
	check(t, v.Close())
	return i
}

// refusesToRestore wants that a target names the master that it lacks, and
// stays as it is.
func refusesToRestore(t *testing.T, target Installation, file string, needed seal.ID) {
	t.Helper()
	before := tree(t, target.Dir())
	for _, checkOnly := range []bool{true, false} {
		_, err := target.Restore(t.Context(), file, checkOnly)
		if !errors.Is(err, ErrOtherMaster) || !strings.Contains(fmt.Sprint(err), "master "+needed.String()+" is needed for 1 resources") {
			t.Errorf("only check: %v: got %v, want master %s named", checkOnly, err, needed)
		}
	}
	if after := tree(t, target.Dir()); after != before {
		t.Error("something was changed")
	}
}

func TestABackupIsNotRestoredUnderAnotherMaster(t *testing.T) {
	i, err := Open(t.TempDir())
	check(t, err)
	file, needed := sealedBackup(t, i)
	refusesToRestore(t, keyed(t), file, needed)

	none, err := Open(t.TempDir())
	check(t, err)
	if r, err := none.Restore(t.Context(), file, true); err != nil || len(r.Needs) != 1 || r.Needs[0].ID != needed {
		t.Errorf("checked where no keys are: got %+v, %v", r.Needs, err)
	}
	if _, err := none.Restore(t.Context(), file, false); !errors.Is(err, ErrOtherMaster) {
		t.Errorf("restored where no keys are: got %v", err)
	}
	if _, err := os.Stat(none.Broker()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("something was restored: %v", err)
	}
	check(t, os.CopyFS(none.Keys(), os.DirFS(i.Keys())))
	r, err := none.Restore(t.Context(), file, false)
	if err != nil || r.State.Resources != 1 {
		t.Errorf("with the keys brought: got %+v, %v", r, err)
	}
}

// The record of a master in an HSM is no key: where the HSM is another one, the
// backup opens as little as without it.
func TestABackupIsNotRestoredUnderAnotherHSM(t *testing.T) {
	i, err := Open(t.TempDir())
	check(t, err)
	_, err = i.Ring(t.Context())
	check(t, err)
	useHSM(t, i)
	_, err = i.RotateMaster(t.Context(), hsm.MasterKind, nil)
	check(t, err)
	file, needed := sealedBackup(t, i)

	refusesToRestore(t, keyed(t), file, needed)

	other, err := Open(t.TempDir()) // has the records, and another token
	check(t, err)
	check(t, os.CopyFS(other.Keys(), os.DirFS(i.Keys())))
	check(t, os.Remove(other.hsmFile()))
	useHSM(t, other)
	refusesToRestore(t, other, file, needed)
}

// Files of the log are put away while they are linked: none is missing, and none
// is there that was begun after one that is missing.
func TestALogIsLinkedWholeWhileItsFilesArePutAway(t *testing.T) {
	i, err := Open(t.TempDir())
	check(t, err)
	check(t, os.MkdirAll(i.Broker(), 0o700))
	check(t, os.WriteFile(filepath.Join(i.Broker(), "audit.key"), nil, 0o600))
	current := filepath.Join(i.Broker(), "audit.jsonl")
	check(t, os.WriteFile(current, []byte("1\n"), 0o600))
	var work sync.WaitGroup
	var written atomic.Int64
	written.Store(1)
	work.Go(func() {
		for n := int64(2); n < 1500 && !t.Failed(); n++ {
			if err := os.Rename(current, filepath.Join(i.Broker(), fmt.Sprintf("audit-%d.jsonl", n-1))); err != nil {
				t.Error(err)
			}
			if err := os.WriteFile(current, fmt.Append(nil, n, "\n"), 0o600); err != nil {
				t.Error(err)
			}
			written.Store(n)
			runtime.Gosched()
		}
	})
	defer work.Wait()
	for range 20 {
		least := written.Load()
		links, err := i.linkLog(t.TempDir())
		check(t, err)
		last := int64(0)
		for _, path := range links[:len(links)-1] { // the last is the key
			var n int64
			raw, err := os.ReadFile(path)
			check(t, err)
			if _, err := fmt.Sscan(string(raw), &n); len(raw) > 0 && (err != nil || n != last+1) {
				t.Fatalf("%s has line %q, want line %d", filepath.Base(path), raw, last+1)
			}
			last = max(last, n)
		}
		if last < least {
			t.Fatalf("the log ends with line %d, but %d was written before", last, least)
		}
	}
}
