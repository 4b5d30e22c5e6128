package plan

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/coreos/ignition/v2/config/v3_7_experimental/types"

	"holdfast/internal/ignition"
	"holdfast/internal/ignition/disks"
	"holdfast/internal/ignition/files"
)

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func asRoot(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("lays a layer over a folder as root: run make test")
	}
}

// literal takes a source for its contents.
func literal(_ context.Context, r types.Resource, w io.Writer) error {
	_, err := io.WriteString(w, *r.Source)
	return err
}

func clock() time.Time { return time.Unix(1497398400, 0) }

func parse(t *testing.T, text string) types.Config {
	t.Helper()
	var c types.Config
	check(t, json.Unmarshal([]byte(text), &c))
	return c
}

// machine is a root with something of every kind that a config may meet.
func machine(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	for path, text := range map[string]string{
		"etc/passwd": "root:x:0:0::/root:/bin/sh\nold:x:1000:1000::/home/old:/bin/sh\ngone:x:1001:1001::/home/gone:/bin/sh\n",
		"etc/shadow": "root:*:1::::::\nold:CANARYold:17331:0:99999:7:::\ngone:*:1::::::\n",
		"etc/group":  "root:x:0:\nold:x:1000:\ngone:x:1001:\nwheel:x:10:\n", "etc/gshadow": "root:*::\nold:!::\ngone:!::\nwheel:!::\n",
		"etc/kept": "as it is\n", "etc/other": "before\n", "etc/tree/a": "a\n", "etc/tree/sub/b": "b\n", "home/gone/file": "x\n",
	} {
		at := filepath.Join(root, path)
		check(t, os.MkdirAll(filepath.Dir(at), 0o755))
		check(t, os.WriteFile(at, []byte(text), 0o644))
	}
	check(t, os.Symlink("/etc", filepath.Join(root, "way")))
	check(t, filepath.WalkDir(filepath.Join(root, "home/gone"), func(p string, _ fs.DirEntry, err error) error {
		check(t, err)
		return os.Lchown(p, 1001, 1001)
	}))
	return root
}

const config = `{"passwd": {"groups": [{"name": "wheel", "gid": 20}], "users": [
  {"name": "new", "passwordHash": "CANARYnew", "groups": ["wheel"], "sshAuthorizedKeys": ["CANARYkey"]},
  {"name": "old", "shell": "/bin/zsh", "passwordHash": "CANARYold"}, {"name": "gone", "shouldExist": false}]},
"storage": {
  "files": [{"path": "/etc/kept", "contents": {"source": "as it is\n"}}, {"path": "/way/new", "mode": 384, "contents": {"source": "CANARY"}},
    {"path": "/etc/other", "overwrite": true, "contents": {"source": "CANARYafter\n"}}, {"path": "/etc/passwd", "mode": 416}],
  "directories": [{"path": "/etc/tree", "overwrite": true}, {"path": "/srv/deep/er", "user": {"id": 5}}],
  "links": [{"path": "/etc/link", "target": "kept"}, {"path": "/etc/hard", "target": "/etc/kept", "hard": true}]},
"systemd": {"units": [{"name": "a.service", "contents": "[Unit]\n", "enabled": true, "dropins": [{"name": "x.conf", "contents": "[Unit]\n"}]}, {"name": "b.service", "mask": true}]}}`

// nodes are a line for each node of a folder.
func nodes(t *testing.T, root string) map[string]string {
	t.Helper()
	list := map[string]string{}
	check(t, filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		check(t, err)
		info, err := d.Info()
		check(t, err)
		stat := info.Sys().(*syscall.Stat_t)
		line := fmt.Sprintf("%o %d:%d", stat.Mode, stat.Uid, stat.Gid)
		switch {
		case d.Type().IsRegular():
			raw, err := os.ReadFile(path)
			check(t, err)
			line += fmt.Sprintf(" %q", raw)
		case d.Type()&fs.ModeSymlink != 0:
			target, err := os.Readlink(path)
			check(t, err)
			line += " -> " + target
		}
		list[strings.TrimPrefix(path, root)] = line
		return nil
	}))
	return list
}

func planned(t *testing.T, root string, c types.Config) *Plan {
	t.Helper()
	p, err := Make(t.Context(), c, Config{Root: root, KeyFragments: true, Fetch: literal, Now: clock})
	check(t, err)
	return p
}

func applied(t *testing.T, root string, c types.Config) {
	t.Helper()
	check(t, files.New(files.Config{Root: root, State: &ignition.State{}, KeyFragments: true, Fetch: literal, Now: clock}).Run(t.Context(), c))
}

func TestWhatIsPlannedIsWhatHappensAndThenNothingIs(t *testing.T) {
	asRoot(t)
	root, c := machine(t), parse(t, config)
	before := nodes(t, root)
	p := planned(t, root, c)
	if now := nodes(t, root); !maps.Equal(before, now) {
		t.Errorf("a plan changed the root: %v", now)
	}
	foreseen := map[string]Action{}
	for _, change := range p.Changes {
		if strings.HasPrefix(change.Name, "/") && change.Action != Keep {
			foreseen[change.Name] = change.Action
		}
	}
	applied(t, root, c)
	if happened := happened(before, nodes(t, root)); !maps.Equal(foreseen, happened) {
		t.Errorf("planned  %v\nhappened %v", foreseen, happened)
	}
	again := planned(t, root, c)
	if again.IsChange() || again.Has(Refuse) || !again.Has(Keep) {
		t.Errorf("after the run: %+v", again.Changes)
	}
	raw, err := json.Marshal([]*Plan{p, again})
	check(t, err)
	if strings.Contains(string(raw), "CANARY") {
		t.Errorf("a secret is told: %s", raw)
	}
}

// happened leaves out what lies in a folder that went whole.
func happened(before, after map[string]string) map[string]Action {
	list := map[string]Action{}
	for path, line := range after {
		old, was := before[path]
		switch {
		case path == record || path == "":
		case !was:
			list[path] = Create
		case old != line:
			list[path] = Update
		}
	}
	for path := range before {
		_, stays := after[path]
		if _, parent := after[filepath.Dir(path)]; !stays && parent {
			list[path] = Delete
		}
	}
	return list
}

func TestAccountsAreTold(t *testing.T) {
	asRoot(t)
	p := planned(t, machine(t), parse(t, config))
	for _, want := range []Change{
		{Create, "user", "new", "$.passwd.users[0]", ""}, {Update, "user", "old", "$.passwd.users[1]", "shell"},
		{Delete, "user", "gone", "$.passwd.users[2]", ""}, {Update, "group", "wheel", "$.passwd.groups[0]", "gid, members"},
	} {
		if !slices.Contains(p.Changes, want) {
			t.Errorf("want %+v in %+v", want, p.Changes)
		}
	}
}

func TestWhatTheEngineWouldRefuseIsInThePlan(t *testing.T) {
	asRoot(t)
	root := machine(t)
	p := planned(t, root, parse(t, `{"storage": {"files": [{"path": "/etc/kept", "contents": {"source": "CANARY"}}]}}`))
	if len(p.Changes) != 1 || p.Changes[0].Action != Refuse || p.Changes[0].Field != "$.storage.files[0]" || strings.Contains(p.Changes[0].Why, "CANARY") {
		t.Errorf("got %+v", p.Changes)
	}
}

// A mount below the root is looked into as the run would, and left alone.
func TestMountsBelowTheRootAreSeen(t *testing.T) {
	asRoot(t)
	root := machine(t)
	at := filepath.Join(root, "srv with blank")
	check(t, os.Mkdir(at, 0o755))
	if err := syscall.Mount("none", at, "tmpfs", 0, ""); err != nil {
		t.Skipf("mounts a tmpfs as root: run make test: %v", err)
	}
	defer func() { check(t, syscall.Unmount(at, 0)) }()
	check(t, os.WriteFile(filepath.Join(at, "there"), []byte("x"), 0o644))
	p := planned(t, root, parse(t, `{"storage": {"files": [{"path": "/srv with blank/there", "contents": {"source": "x"}}, {"path": "/srv with blank/new", "contents": {"source": "x"}}]}}`))
	want := []Change{{Create, "file", "/srv with blank/new", "$.storage.files[1]", ""}, {Keep, "file", "/srv with blank/there", "$.storage.files[0]", ""}}
	if !slices.Equal(p.Changes, want) {
		t.Errorf("got %+v", p.Changes)
	}
	if left, _ := os.ReadDir(at); len(left) != 1 {
		t.Errorf("left %v in the mount", left)
	}
}

func image(t *testing.T, size int64) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk.img")
	f, err := os.Create(path)
	check(t, err)
	check(t, f.Truncate(size))
	check(t, f.Close())
	return path
}

const storageConfig = `{"kernelArguments": {"shouldExist": ["quiet", "nosmt"], "shouldNotExist": ["debug"]}, "storage": {
  "disks": [{"device": "/dev/vda", "partitions": [{"number": 1, "label": "one", "sizeMiB": 16}, {"number": 2, "label": "two", "sizeMiB": 32}, {"label": "rest"}]}],
  "luks": [{"name": "v", "device": "/dev/vda2", "keyFile": {"source": "k"}}],
  "filesystems": [{"device": "/dev/disk/by-partlabel/one", "format": "ext4", "label": "x"}, {"device": "/dev/mapper/v", "format": "ext4"}, {"device": "/dev/vdb", "format": "xfs"}]}}`

func actions(p *Plan) string {
	var list []string
	for _, c := range p.Changes {
		list = append(list, fmt.Sprintf("%s %s %s", c.Action, c.Kind, c.Name))
	}
	return strings.Join(list, "\n")
}

func TestABlankImageGetsWhatTheDisksStageWouldMake(t *testing.T) {
	disk, c := image(t, 100<<20), parse(t, storageConfig)
	conf := Config{Disks: map[string]string{"/dev/vda": disk}, CommandLine: "quiet debug"}
	p, err := Make(t.Context(), c, conf)
	check(t, err)
	const want = `keep kernel argument quiet
create kernel argument nosmt
delete kernel argument debug
create table /dev/vda
create partition /dev/vda 1 "one"
create partition /dev/vda 2 "two"
create partition /dev/vda 3 "rest"
create volume v
create filesystem /dev/disk/by-partlabel/one
create filesystem /dev/mapper/v
unknown filesystem /dev/vdb`
	if got := actions(p); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	// The stage on the same image, and a filesystem where it would make one.
	only := types.Config{}
	only.Storage.Disks = slices.Clone(c.Storage.Disks)
	only.Storage.Disks[0].Device = disk
	check(t, disks.New(disks.Config{Aliases: t.TempDir()}).Run(t.Context(), only))
	mkfs(t, disk, 1<<20, "16M")
	p, err = Make(t.Context(), c, conf)
	check(t, err)
	const then = `keep partition /dev/vda 1 "one"
keep partition /dev/vda 2 "two"
keep partition /dev/vda 3 "rest"
create volume v
keep filesystem /dev/disk/by-partlabel/one
create filesystem /dev/mapper/v
unknown filesystem /dev/vdb`
	if got := actions(p); !strings.HasSuffix(got, then) {
		t.Errorf("got\n%s\nwant\n%s", got, then)
	}
}

func mkfs(t *testing.T, disk string, at int64, size string) {
	t.Helper()
	out, err := exec.Command("mkfs.ext4", "-q", "-F", "-L", "x", "-E", fmt.Sprintf("offset=%d", at), disk, size).CombinedOutput()
	if err != nil {
		t.Skipf("needs mkfs.ext4: run make test: %v: %s", err, out)
	}
}

func TestWhatMayNotBeLostIsRefused(t *testing.T) {
	disk := image(t, 100<<20)
	c := parse(t, storageConfig)
	only := types.Config{}
	only.Storage.Disks = slices.Clone(c.Storage.Disks)
	only.Storage.Disks[0].Device = disk
	check(t, disks.New(disks.Config{Aliases: t.TempDir()}).Run(t.Context(), only))
	mkfs(t, disk, 1<<20, "16M")
	for text, want := range map[string]string{
		`{"storage": {"disks": [{"device": "/dev/vda", "partitions": [{"number": 1, "label": "other"}]}]}}`:                                          "refuse table /dev/vda",
		`{"storage": {"filesystems": [{"device": "/dev/vda1", "format": "xfs"}]}}`:                                                                   "refuse filesystem /dev/vda1",
		`{"storage": {"filesystems": [{"device": "/dev/vda1", "format": "xfs", "wipeFilesystem": true}]}}`:                                           "change filesystem /dev/vda1",
		`{"storage": {"luks": [{"name": "v", "device": "/dev/vda2", "clevis": {"tang": [{"url": "https://t", "thumbprint": "x"}]}}]}}`:               "refuse stage fetch",
		`{"storage": {"luks": [{"name": "v", "device": "/dev/disk/by-label/x"}]}}`:                                                                   "refuse volume v",
		`{"storage": {"raid": [{"name": "r", "level": "raid1", "devices": ["/dev/vda1", "/dev/vda2"]}]}}`:                                            "refuse array r",
		`{"storage": {"raid": [{"name": "r", "level": "raid1", "devices": ["/dev/vda2", "/dev/disk/by-partlabel/rest"]}]}}`:                          "create array r",
		`{"storage": {"disks": [{"device": "/dev/vda", "wipeTable": true}]}}`:                                                                        "delete table /dev/vda",
		`{"storage": {"disks": [{"device": "/dev/vda", "partitions": [{"number": 2, "label": "two", "sizeMiB": 20, "resize": true}]}]}}`:             "resize partition /dev/vda 2 \"two\"",
		`{"storage": {"disks": [{"device": "/dev/vda", "partitions": [{"number": 2, "shouldExist": false, "wipePartitionEntry": true}]}]}}`:          "delete partition /dev/vda 2 \"two\"",
		`{"storage": {"disks": [{"device": "/dev/vda", "partitions": [{"number": 2, "label": "neu", "sizeMiB": 20, "wipePartitionEntry": true}]}]}}`: "change partition /dev/vda 2 \"neu\"",
	} {
		before, err := os.ReadFile(disk)
		check(t, err)
		p, err := Make(t.Context(), parse(t, text), Config{Disks: map[string]string{"/dev/vda": disk}})
		check(t, err)
		if !strings.Contains(actions(p), want) {
			t.Errorf("%s: got\n%s\nwant %s", text, actions(p), want)
		}
		if after, err := os.ReadFile(disk); err != nil || !slices.Equal(before, after) {
			t.Errorf("%s: the image changed", text)
		}
	}
}
