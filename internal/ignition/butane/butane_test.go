package butane

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"

	butane "github.com/coreos/butane/config"
	"github.com/coreos/butane/config/common"

	"holdfast/internal/ignition/spec"
)

const example = `variant: fcos
version: 1.5.0
passwd:
  users:
    - name: core
      ssh_authorized_keys: [ssh-ed25519 AAAA]
storage:
  disks:
    - device: /dev/vda
      wipe_table: true
      partitions: [{number: 1, label: var, size_mib: 512}]
  filesystems:
    - {device: /dev/disk/by-partlabel/var, path: /var, format: ext4, with_mount_unit: true}
  files:
    - path: /etc/hello
      mode: 0644
      contents: {inline: hello}
systemd:
  units:
    - {name: hello.service, enabled: true, contents: "[Service]\nExecStart=/bin/true\n[Install]\nWantedBy=multi-user.target\n"}
`

func loader(files string) spec.Loader { return spec.Loader{Butane: Config{Files: files}.Translate} }

func TestButaneMeansWhatButaneSays(t *testing.T) {
	d, err := loader("").Load("a.bu", []byte(example))
	if err != nil {
		t.Fatal(err)
	}
	want, _, err := butane.TranslateBytes([]byte(example), common.TranslateBytesOptions{Raw: true})
	if err != nil {
		t.Fatal(err)
	}
	got, err := spec.Convert(d, d.Version)
	if err != nil {
		t.Fatal(err)
	}
	var a, b any
	if json.Unmarshal(got, &a) != nil || json.Unmarshal(want, &b) != nil || !reflect.DeepEqual(a, b) {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestAnErrorInButaneNamesItsLineAndNoSecret(t *testing.T) {
	const head = "variant: fcos\nversion: 1.5.0\n"
	for _, c := range []struct {
		body, path, want string
		line             int64
	}{
		{"storage:\n  files:\n    - path: CANARY\n", "$.storage.files[0].path", "path not absolute", 5},
		{"storage:\n  files:\n    - path: /a\n      mode: CANARY\n", "$", "is a string", 6},
		{"passwd:\n  users:\n    - name: a\n      password_hash: [CANARY]\n", "$", "is an array", 6},
		{"storage:\n  files:\n    - path: /a\n      contents: {inline: CANARY, source: 'data:,CANARY'}\n", "$.storage.files[0].contents.source", "only one of", 6},
		{"storage:\n  files:\n    - path: /a\n      contents: {source: 'data:;base64,CANARY!'}\n", "$.storage.files[0].contents.source", "does not decode", 6},
		{"storage:\n  files:\n    - path: /a\n      contents: {local: CANARY}\n", "$.storage.files[0].contents.local", "", 6},
		{"storage: {CANARY: [\n", "$", "", 0},
		{"passwd: *CANARY\n", "$", "", 0},
	} {
		_, err := loader("").Load("a.bu", []byte(head+c.body))
		var bad *spec.InvalidError
		if !errors.As(err, &bad) {
			t.Errorf("%s: got %v, want an InvalidError", c.body, err)
			continue
		}
		f := bad.Findings[0]
		if f.Path != c.path || c.line != 0 && f.Line != c.line || !strings.Contains(f.Problem, c.want) {
			t.Errorf("%s: got %s, want %s at line %d, %s", c.body, f, c.want, c.line, c.path)
		}
		if strings.Contains(err.Error(), "CANARY") {
			t.Errorf("tells a secret: %v", err)
		}
	}
}

func TestOtherButaneIsRefusedByName(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"variant: other\nversion: 1.0.0\n", "other"},
		{"version: 1.0.0\n", "variant"},
		{"variant: fcos\nversion: 9.9.9\n", "9.9.9"},
		{"hello\n", "a.bu"},
	} {
		if _, err := loader("").Load("a.bu", []byte(c.text)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: got %v, want %s named", c.text, err, c.want)
		}
	}
}

func FuzzTranslate(f *testing.F) {
	f.Add([]byte(example))
	f.Add([]byte("variant: flatcar\nversion: 1.0.0\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		_, err := loader("").Load("f", text)
		var bad *spec.InvalidError
		if err != nil && !errors.As(err, &bad) && !errors.Is(err, spec.ErrEmpty) {
			t.Errorf("got %T, want an InvalidError", err)
		}
	})
}
