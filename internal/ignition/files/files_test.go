package files

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"github.com/coreos/ignition/v2/config/v3_7_experimental/types"

	"holdfast/internal/ignition"
)

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// contents is a file whose source is the text itself.
func contents(path, text string) types.File {
	return types.File{Node: types.Node{Path: path}, FileEmbedded1: types.FileEmbedded1{Contents: types.Resource{Source: &text}}}
}

func apply(t *testing.T, root string, c types.Config) error {
	t.Helper()
	return New(Config{Root: root, State: &ignition.State{}, Now: func() time.Time { return time.Unix(0, 0).UTC() },
		Fetch: func(_ context.Context, r types.Resource, w io.Writer) error {
			if *r.Source == "breaks" {
				_, _ = io.WriteString(w, "half of it")
				return errors.New("the line broke")
			}
			_, err := io.WriteString(w, *r.Source)
			return err
		}}).Run(t.Context(), c)
}

func TestNoLinkLeadsOutOfTheRoot(t *testing.T) {
	outside, root := t.TempDir(), t.TempDir()
	up := strings.Repeat("../", 20) + strings.TrimPrefix(outside, "/")
	check(t, os.Symlink(outside, filepath.Join(root, "absolute")))
	check(t, os.Symlink(up, filepath.Join(root, "upwards")))
	check(t, os.MkdirAll(filepath.Join(root, "etc/systemd"), 0o755))
	check(t, os.Symlink(outside, filepath.Join(root, "etc/systemd/system")))
	unit := "[Unit]\n"
	yes := true
	c := types.Config{}
	c.Storage.Files = []types.File{contents("/absolute/f", "f"), contents("/upwards/g", "g")}
	c.Storage.Directories = []types.Directory{{Node: types.Node{Path: "/absolute/d"}}}
	c.Storage.Links = []types.Link{{Node: types.Node{Path: "/upwards/l"}, LinkEmbedded1: types.LinkEmbedded1{Target: &unit}}}
	c.Systemd.Units = []types.Unit{{Name: "a.service", Contents: &unit}, {Name: "b.service", Mask: &yes}}
	check(t, apply(t, root, c))
	left, err := os.ReadDir(outside)
	check(t, err)
	if len(left) != 0 {
		t.Errorf("left outside: %v", left)
	}
	for _, name := range []string{"f", "g", "d", "l", "a.service", "b.service"} {
		if _, err := os.Lstat(filepath.Join(root, outside, name)); err != nil {
			t.Errorf("%s is not where the root's own links lead: %v", name, err)
		}
	}
}

func TestAFileIsThereWholeOrNotAtAll(t *testing.T) {
	root := t.TempDir()
	c := types.Config{}
	c.Storage.Files = []types.File{contents("/a/f", "breaks")}
	err := apply(t, root, c)
	var at *ignition.Error
	if !errors.As(err, &at) || at.Path != "$.storage.files[0]" || !strings.Contains(err.Error(), "/a/f") {
		t.Errorf("got %v", err)
	}
	left, err := os.ReadDir(filepath.Join(root, "a"))
	check(t, err)
	if len(left) != 0 {
		t.Errorf("left %v", left)
	}
}

func TestTheRunIsRecordedWithTheOneBefore(t *testing.T) {
	root := t.TempDir()
	check(t, apply(t, root, types.Config{}))
	check(t, apply(t, root, types.Config{}))
	raw, err := os.ReadFile(filepath.Join(root, resultFile))
	check(t, err)
	if !strings.Contains(string(raw), `"previousReport": {`) || strings.Count(string(raw), "provisioningDate") != 2 {
		t.Errorf("recorded %s", raw)
	}
}

func TestAKeyFileIsTheRootsSecretAndForgottenByTheState(t *testing.T) {
	root, device := t.TempDir(), filepath.Join(t.TempDir(), "device")
	header := make([]byte, 4096)
	copy(header, "LUKS\xba\xbe\x00\x02")
	copy(header[168:], "5f2c1a8e-0000-4000-8000-000000000001")
	check(t, os.WriteFile(device, header, 0o600))
	state := &ignition.State{LuksPersistKeyFiles: map[string]string{"data": "the key"}}
	c := types.Config{}
	c.Storage.Luks = []types.Luks{{Name: "data", Device: &device}}
	s := New(Config{Root: root, State: state, Fetch: func(_ context.Context, r types.Resource, w io.Writer) error {
		_, err := io.WriteString(w, *r.Source)
		return err
	}})
	check(t, s.Run(t.Context(), c))
	raw, err := os.ReadFile(filepath.Join(root, "etc/crypttab"))
	check(t, err)
	if want := "data UUID=5f2c1a8e-0000-4000-8000-000000000001 /etc/luks/data luks\n"; string(raw) != want {
		t.Errorf("crypttab is %q, want %q", raw, want)
	}
	for name, want := range map[string]fs.FileMode{"etc/crypttab": 0o600, "etc/luks": 0o700 | fs.ModeDir, "etc/luks/data": 0o600} {
		info, err := os.Stat(filepath.Join(root, name))
		check(t, err)
		if info.Mode() != want {
			t.Errorf("%s has mode %v, want %v", name, info.Mode(), want)
		}
	}
	if state.LuksPersistKeyFiles != nil {
		t.Error("the state still has the key")
	}
}

func TestPresetsAreLinesOfUpstreamsOrder(t *testing.T) {
	root := t.TempDir()
	on := true
	c := types.Config{}
	for _, name := range []string{"z.service", "echo@b.service", "a.service", "echo@a.service"} {
		c.Systemd.Units = append(c.Systemd.Units, types.Unit{Name: name, Enabled: &on})
	}
	check(t, apply(t, root, c))
	raw, err := os.ReadFile(filepath.Join(root, presetFile))
	check(t, err)
	if want := "enable a.service\nenable echo@.service b a\nenable z.service\n"; string(raw) != want {
		t.Errorf("got %q, want %q", raw, want)
	}
}

// A run that was cut short is made whole by the next: what the first one made
// is what the second would.
func TestTheStageRunsAgainOnWhatItLeft(t *testing.T) {
	root, enabled, unit := t.TempDir(), true, "[Unit]\n"
	c := types.Config{}
	c.Storage.Files = []types.File{contents("/etc/one", "one"), contents("/etc/two", "two")}
	more := "and more"
	c.Storage.Files[1].Append = []types.Resource{{Source: &more}}
	c.Storage.Links = []types.Link{{Node: types.Node{Path: "/etc/link"}, LinkEmbedded1: types.LinkEmbedded1{Target: &more}}}
	c.Systemd.Units = []types.Unit{{Name: "a.service", Contents: &unit, Enabled: &enabled}}
	check(t, apply(t, root, c))
	check(t, apply(t, root, c))
	for path, want := range map[string]string{"etc/two": "twoand more", "etc/systemd/system-preset/20-ignition.preset": "enable a.service\n"} {
		if got, err := os.ReadFile(filepath.Join(root, path)); err != nil || string(got) != want {
			t.Errorf("%s: got %q, %v, want %q", path, got, err, want)
		}
	}
	check(t, os.WriteFile(filepath.Join(root, "etc/one"), []byte("oneX"), 0o644))
	if err := apply(t, root, c); !errors.Is(err, errExists) {
		t.Errorf("a longer file: got %v", err)
	}
	check(t, os.WriteFile(filepath.Join(root, "etc/one"), []byte("onX"), 0o644))
	if err := apply(t, root, c); !errors.Is(err, errExists) {
		t.Errorf("another file: got %v", err)
	}
}

// Bodies that are fetched before their turn are those of their files, and what
// is too large for that comes whole all the same.
func TestFilesFromServersAreTheirs(t *testing.T) {
	c := types.Config{}
	for i := range 50 {
		source := fmt.Sprintf("http://server/%d", i)
		c.Storage.Files = append(c.Storage.Files, contents(fmt.Sprintf("/d/%d", i), source))
	}
	root, asked := t.TempDir(), map[string]int{}
	var mu sync.Mutex
	fetch := func(_ context.Context, r types.Resource, w io.Writer) error {
		mu.Lock()
		asked[*r.Source]++
		mu.Unlock()
		size := 1
		if strings.HasSuffix(*r.Source, "7") {
			size = 3 * earlySize
		}
		body := strings.Repeat(*r.Source+"\n", size/len(*r.Source)+1)
		if len(*r.Source)%2 == 0 { // /10 to /49, as Fetch copies one without a hash
			_, err := io.Copy(w, iotest.HalfReader(strings.NewReader(body)))
			return err
		}
		_, err := io.WriteString(w, body)
		return err
	}
	s := New(Config{Root: root, State: &ignition.State{}, Fetch: fetch})
	check(t, s.Run(t.Context(), c))
	for i := range 50 {
		raw, err := os.ReadFile(filepath.Join(root, "d", fmt.Sprint(i)))
		check(t, err)
		line, rest, _ := strings.Cut(string(raw), "\n")
		if want := fmt.Sprintf("http://server/%d", i); line != want || (len(rest) > earlySize) != (i%10 == 7) {
			t.Errorf("file %d has %q and %d bytes more", i, line, len(rest))
		}
		if asked[line] > 2 || asked[line] > 1 && i%10 != 7 {
			t.Errorf("%s was asked for %d times", line, asked[line])
		}
	}
}

func TestAServersRefusalNamesItsFileAndEndsTheOthers(t *testing.T) {
	c := types.Config{}
	for _, name := range []string{"/a", "/b", "/c", "/d"} {
		c.Storage.Files = append(c.Storage.Files, contents(name, "http://server"+name))
	}
	ended := make(chan string, 4)
	fetch := func(ctx context.Context, r types.Resource, _ io.Writer) error {
		if strings.HasSuffix(*r.Source, "/a") {
			return errors.New("the server says 500")
		}
		<-ctx.Done()
		ended <- *r.Source
		return ctx.Err()
	}
	err := New(Config{Root: t.TempDir(), State: &ignition.State{}, Fetch: fetch}).Run(t.Context(), c)
	if err == nil || !strings.Contains(err.Error(), "$.storage.files[0]: file /a: the server says 500") {
		t.Errorf("got %v", err)
	}
	if len(ended) > 3 {
		t.Errorf("%d others were asked", len(ended))
	}
}
