package butane

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"

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

func TestAnErrorInButaneNamesItsLineAndNoSecret(t *testing.T) {
	const head = "variant: fcos\nversion: 1.5.0\n"
	for _, c := range []struct {
		body, path, want string
		line             int64
	}{
		{"storage:\n  files:\n    - path: CANARY\n", "$.storage.files[0].path", "path not absolute", 5},
		{"storage:\n  files:\n    - path: /a\n      mode: CANARY\n", "$.storage.files[0].mode", "is a string, want a whole number", 6},
		{"passwd:\n  users:\n    - name: a\n      password_hash: [CANARY]\n", "$.passwd.users[0].password_hash", "is an array, want a string", 6},
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

func TestOtherButaneIsRefusedWhereItSaysWhatItIs(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"variant: CANARY\nversion: 1.0.0\n", "a.bu:1:10: $.variant: no variant of Butane is called so, want one of fcos, flatcar, openshift, r4e, fiot, holdfast"},
		{"version: 1.0.0\n", "a.bu:1:1: no variant"},
		{"variant: fcos\nversion: 9.9.9\n", "a.bu:2:10: $.version: no version of fcos is called so, want one from 1.0.0 to 1.7.0, or 1.8.0-experimental"},
		{"variant: holdfast\nversion: 9.9.9\n", "a.bu:2:10: $.version: no version of holdfast is called so, want one from 1.0.0 to 1.0.0"},
		{"hello\n", "a.bu"},
	} {
		if _, err := loader("").Load("a.bu", []byte(c.text)); err == nil || !strings.HasPrefix(err.Error(), c.want) || strings.Contains(err.Error(), "CANARY") {
			t.Errorf("%q: got %v, want %s", c.text, err, c.want)
		}
	}
}

// Each first, last and experimental version is Butane's, and none is behind the
// last.
func TestTheVariantsAreButanes(t *testing.T) {
	var unknown common.ErrUnknownVersion
	is := func(variant, version string) bool {
		_, _, err := Config{}.translate([]byte("variant: " + variant + "\nversion: " + version + "\n"))
		return !errors.As(err, &unknown)
	}
	for _, k := range known {
		major, minor, _ := strings.Cut(strings.TrimSuffix(k.last, ".0"), ".")
		n, err := strconv.Atoi(minor)
		if err != nil {
			t.Fatal(err)
		}
		if !is(k.variant, k.first) || !is(k.variant, k.last) || k.experimental != "" && !is(k.variant, k.experimental) || is(k.variant, fmt.Sprintf("%s.%d.0", major, n+1)) {
			t.Errorf("%v is not as Butane has it", k)
		}
	}
}

// Of several values of another kind each is told.
func TestEachWrongKindIsTold(t *testing.T) {
	_, err := loader("").Load("a.bu", []byte("variant: fcos\nversion: 1.5.0\nstorage:\n  files:\n    - {path: /a, mode: CANARY, overwrite: CANARY}\n    - path: /b\n      contents: CANARY\n"))
	var bad *spec.InvalidError
	if !errors.As(err, &bad) {
		t.Fatal(err)
	}
	want := []string{"a.bu:5:24: $.storage.files[0].mode: is a string, want a whole number", "a.bu:5:43: $.storage.files[0].overwrite: is a string, want a boolean",
		"a.bu:7:17: $.storage.files[1].contents: is a string, want an object"}
	for i, f := range bad.Findings {
		if i >= len(want) || f.String() != want[i] {
			t.Errorf("got %s, want %q", f, want[min(i, 2)])
		}
	}
	if len(bad.Findings) != len(want) {
		t.Errorf("got %d, want %d", len(bad.Findings), len(want))
	}
}

// Of several values on a line, the one is told that yaml.v3 means, by what Butane
// wants there; where that cannot be seen, the line is.
func TestAWrongKindAmongOthersIsTold(t *testing.T) {
	const head, many = "variant: fcos\nversion: 1.5.0\n", 40
	crowd := "storage: {files: [" + strings.Repeat("{path: /a}, ", many) + "{path: {x: 1}}]}\n"
	for body, want := range map[string]string{
		"storage:\n  files:\n    - {path: /a, contents: {inline: {x: 1}}}\n": "a.bu:5:37: $.storage.files[0].contents.inline: is an object, want a string",
		"storage:\n  links: [{path: /a, target: [x]}]\n":                     "a.bu:4:30: $.storage.links[0].target: is an array, want a string",
		"storage: {links: [{path: [x], target: [y]}]}\n":                     "a.bu:3:26: $.storage.links[0].path: is an array, want a string\na.bu:3:39: $.storage.links[0].target: is an array, want a string",
		"storage:\n  files:\n    - {path: no-number, mode: no-number}\n":     "a.bu:5:31: $.storage.files[0].mode: is a string, want a whole number",
		"storage:\n  files:\n    - {path: /a, mode: 99999999999999999999}\n": "a.bu:5:24: $.storage.files[0].mode: is too large, want a whole number below 2^63",
		"storage:\n  files:\n    - {path: /a, mode: 0xffffffffffffffff}\n":   "a.bu:5:24: $.storage.files[0].mode: is too large, want a whole number below 2^63",
		"storage:\n  files:\n    - {path: /a, mode: .nan, overwrite: 1}\n":   "a.bu:5:24: $.storage.files[0].mode: is a number, want a whole number\na.bu:5:41: $.storage.files[0].overwrite: is a number, want a boolean",
		"storage:\n  files: {a: {b: 1}}\n":                                   "a.bu:4:10: $.storage.files: is an object, want an array",
		"ignition: {proxy: {no_proxy: [{a: 1}]}}\n":                          "a.bu:3:31: $.ignition.proxy.no_proxy[0]: is an object, want a string",
		"storage: {raid: [{name: a, options: [{b: 1}], devices: {c: 1}}]}\n": "a.bu:3:38: $.storage.raid[0].options[0]: is an object, want a string\na.bu:3:56: $.storage.raid[0].devices: is an object, want an array",
		"storage: {luks: [{name: a, clevis: x, device: {}}]}\n":              "a.bu:3:36: $.storage.luks[0].clevis: is a string, want an object\na.bu:3:47: $.storage.luks[0].device: is an object, want a string",
		"storage:\n  links:\n    - path: &p [x]\n      target: *p\n":         "a.bu:5:13: $.storage.links[0].path: is an array, want a string",
		"storage:\n  links: [{path: /a, [target]: {b: 1}}]\n":                "a.bu:4:1: a value on this line is an array, want another kind",
		crowd: "a.bu:3:1: a value on this line is an object, want another kind",
	} {
		_, err := loader("").Load("a.bu", []byte(head+body))
		var bad *spec.InvalidError
		if !errors.As(err, &bad) {
			t.Fatalf("%s: got %v, want an InvalidError", body, err)
		}
		var got []string
		for _, f := range bad.Findings {
			got = append(got, f.String())
		}
		if strings.Join(got, "\n") != want {
			t.Errorf("%s: got %s, want %s", body, got, want)
		}
	}
}

// Neither a long line of what fits nor a deep one takes more than its length asks
// for.
func TestALargeTextIsNotTriedForEver(t *testing.T) {
	deep := "variant: fcos\nversion: 1.5.0\nstorage: " + strings.Repeat("[", 5_000) + strings.Repeat("]", 5_000) + "\n"
	if _, err := loader("").Load("a.bu", []byte(deep)); err == nil || err.Error() != "a.bu:3:1: a value on this line is an array, want another kind" {
		t.Errorf("got %v", err)
	}
	body := "variant: fcos\nversion: 1.5.0\nstorage: {files: [" + strings.Repeat("{path: /a, mode: x}, ", 5_000) + "{}]}\n"
	_, err := loader("").Load("a.bu", []byte(body))
	var bad *spec.InvalidError
	if !errors.As(err, &bad) || len(bad.Findings) != 5_000 {
		t.Errorf("got %d findings", len(bad.Findings))
	}
}

//fuzz:parser butane.go kinds.go unknown.go place.go
func FuzzTranslate(f *testing.F) {
	f.Add([]byte(example))
	f.Add([]byte("variant: flatcar\nversion: 1.0.0\n"))
	f.Add([]byte("variant: fcos\nversion: 1.5.0\nstorage:\n  files: [{path: /a, mode: x, mdoe: 1}]\npasswd: 3\n"))
	f.Add([]byte("variant: fcos\nversion: 9.9.9\n"))
	f.Add([]byte("variant: fcos\nversion: 1.5.0\nstorage: {disks: [{partitions: [{number: 99999999999999999999}, []]}]}\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		_, err := loader("").Load("f", text)
		var bad *spec.InvalidError
		if err != nil && !errors.As(err, &bad) && !errors.Is(err, spec.ErrEmpty) {
			t.Errorf("got %T, want an InvalidError", err)
		}
	})
}
