package robust

import (
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"holdfast/internal/deb/debtest"
)

// A disk is an ext4 file system whose power can be cut: what was not written
// when that happens is lost, and what was, lies there as it was written.
type disk struct {
	t         testing.TB
	image, at string
}

func newDisk(t testing.TB) *disk {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("mounts file systems: run as root")
	}
	d := &disk{t: t, image: filepath.Join(t.TempDir(), "disk.img"), at: t.TempDir()}
	if err := os.WriteFile(d.image, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(d.image, 512*mib); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("mkfs.ext4", "-q", "-F", d.image).CombinedOutput(); err != nil {
		t.Skipf("needs mkfs.ext4 (apt-get install e2fsprogs): %v: %s", err, out)
	}
	if out, err := d.mount(); err != nil {
		t.Skipf("needs loop devices, as root outside of a container has them: %v: %s", err, out)
	}
	t.Cleanup(func() { _ = exec.Command("umount", "-l", d.at).Run() })
	return d
}

// mount leaves it to the programs to sync what they rename: ext4 would do it
// for some by itself, and other file systems do not.
func (d *disk) mount() ([]byte, error) {
	return exec.Command("mount", "-o", "loop,noauto_da_alloc", d.image, d.at).CombinedOutput()
}

// Of Linux, fs/ext4/ext4.h: from now on nothing reaches the disk, not even
// what the journal has in memory. xfstests cut the power so, too.
const (
	ext4Shutdown = 0x8004587d // EXT4_IOC_SHUTDOWN, _IOR('X', 125, __u32)
	noLogFlush   = 2          // EXT4_GOING_FLAGS_NOLOGFLUSH
)

// cut ends the power.
func (d *disk) cut() {
	d.t.Helper()
	f, err := os.Open(d.at)
	if err != nil {
		d.t.Fatal(err)
	}
	defer f.Close()
	if err := unix.IoctlSetPointerInt(int(f.Fd()), ext4Shutdown, noLogFlush); err != nil {
		d.t.Fatalf("cut the power of %s: %v", d.at, err)
	}
}

// start has the power back: the journal is replayed. It mounts a copy of the
// disk, because somebody who made a mount namespace meanwhile may hold the old.
func (d *disk) start() {
	d.t.Helper()
	next := d.image + "'"
	for _, words := range [][]string{{"umount", "-l", d.at}, {"cp", "--sparse=always", d.image, next}, {"mv", next, d.image}} {
		if out, err := exec.Command(words[0], words[1:]...).CombinedOutput(); err != nil {
			d.t.Fatalf("%v: %v: %s", words, err, out)
		}
	}
	if out, err := d.mount(); err != nil {
		d.t.Fatalf("mount after the cut: %v: %s", err, out)
	}
}

// flush is what the kernel may do at any time: it writes all, or it writes the
// names of files and not what is in them.
func (d *disk) flush(all bool) {
	name := filepath.Join(d.at, "other")
	f, err := os.Create(name)
	if err != nil {
		return // the power is gone already
	}
	defer f.Close()
	if all {
		_ = unix.Syncfs(int(f.Fd()))
	} else {
		_ = f.Sync() // which commits the journal
	}
}

// A blackout is the moment at which the power goes, and what the kernel wrote
// before by itself.
type blackout struct {
	after, flushed time.Duration
	all            bool
	done           bool // the verb has ended well: nothing may be lost
}

func someBlackout(r *rand.Rand, lasts time.Duration) blackout {
	b := blackout{after: time.Duration(r.Float64() * float64(lasts)), all: r.IntN(3) == 0, done: r.IntN(3) == 0}
	b.flushed = b.after - time.Duration(r.Float64()*float64(50*time.Millisecond))
	return b
}

// strike runs words until the blackout. It says whether they had ended well.
func (d *disk) strike(p *place, b blackout, words ...string) bool {
	d.t.Helper()
	c := p.command(words...)
	began := time.Now()
	if err := c.Start(); err != nil {
		d.t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- c.Wait() }()
	if b.done {
		err := <-ended
		d.cut()
		return err == nil
	}
	time.Sleep(b.flushed)
	d.flush(b.all)
	time.Sleep(time.Until(began.Add(b.after)))
	d.cut()
	_ = c.Process.Kill()
	<-ended
	return false
}

// What a verb said it had done outlives a power cut; what it was at, it does
// again, and takes nothing half-written for whole.
func TestAPowerCutLosesNothingThatWasDone(t *testing.T) {
	cuts := 2
	if soak() {
		cuts = 40
	}
	r, d, far := seed(t), newDisk(t), newPlace(t)
	a := debtest.New(t)
	p := &place{t: t, dir: filepath.Join(d.at, "place"), state: filepath.Join(d.at, "place", "state")}
	p.recipe("small", a.AddBulk("bookworm", 3*mib, 50))
	source := []string{"--mirror", a.URL, "--keyring", a.Keyring}
	p.keyPair("key")
	p.run(append([]string{"image", "lock", "small"}, source...)...)
	p.run(append([]string{"image", "build", "small", "-o", "image"}, source...)...)
	p.run("image", "encrypt", "oci:image", "oci:secret", "-r", "jwe:key.pub")
	p.write("value", "s3cret")
	_, registry := far.serve()
	p.run("image", "push", "oci:image", registry+"/small:1")
	all := victims(source, registry)
	delete(all, "push") // to a registry on the same disk, below
	for _, name := range slices.Sorted(maps.Keys(all)) {
		v := all[name]
		t.Run(name, func(t *testing.T) {
			p, d := &place{t: t, dir: p.dir, state: p.state}, &disk{t, d.image, d.at}
			v.again(p)
			began := time.Now()
			p.run(v.words...)
			lasts := time.Since(began)
			clean := append(p.files(), "other")
			for range cuts {
				b := someBlackout(r, lasts)
				v.again(p)
				d.flush(true)
				done := d.strike(p, b, v.words...)
				d.start()
				if done {
					p.lasting(v, b)
				}
				p.again(v, clean, b.after)
			}
		})
	}
}

// lasting wants the result of a verb that ended well before the power went.
func (p *place) lasting(v victim, b blackout) {
	p.t.Helper()
	if _, err := os.Stat(p.path(v.result)); err != nil {
		p.t.Errorf("holdfast %s ended well, and after a power cut: %v", strings.Join(v.words, " "), err)
	}
	p.whole(v.result, b.after)
}
