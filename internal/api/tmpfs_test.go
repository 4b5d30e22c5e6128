package api

import (
	"strings"
	"testing"
)

func TestATmpfsIsMountedWhereItHidesNothing(t *testing.T) {
	good := Tmpfs{Path: "/data", Size: 1 << 20, Mode: "0750"}
	if err := good.Check(); err != nil {
		t.Error(err)
	}
	for want, change := range map[string]func(*Tmpfs){
		"want the absolute path":                     func(t *Tmpfs) { t.Path = "data" },
		`"/": want the absolute path`:                func(t *Tmpfs) { t.Path = "/" },
		`"/a/../b": want the absolute path`:          func(t *Tmpfs) { t.Path = "/a/../b" },
		"the machine itself fills /proc":             func(t *Tmpfs) { t.Path = "/proc/sys" },
		"the machine itself fills /run/secrets":      func(t *Tmpfs) { t.Path = "/run/secrets" },
		"size of 0 bytes: want 4096 to":              func(t *Tmpfs) { t.Size = 0 },
		"size of -1 bytes":                           func(t *Tmpfs) { t.Size = -1 },
		`mode "rwx": want octal digits`:              func(t *Tmpfs) { t.Mode = "rwx" },
		`mode "1777,uid=0": want octal digits`:       func(t *Tmpfs) { t.Mode = "1777,uid=0" },
		"tmpfs \"/a\\x00b\": want the absolute path": func(t *Tmpfs) { t.Path = "/a\x00b" },
	} {
		bad := good
		change(&bad)
		if err := bad.Check(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: got %v, want %q", bad, err, want)
		}
	}
	for _, path := range []string{"/run", "/run/secretsx", "/tmp", "/var/lib/x"} {
		if err := (Tmpfs{Path: path, Size: MinTmpfs}).Check(); err != nil {
			t.Error(err)
		}
	}
	if err := (GuestConfig{Tmpfs: []Tmpfs{good, good}}).Check(); err == nil || !strings.Contains(err.Error(), "twice") {
		t.Errorf("got %v, want the second refused", err)
	}
}

func TestProcessOverridesThatNoMachineCouldDoAreRefused(t *testing.T) {
	for _, p := range []Process{{Hostname: "a b"}, {Hostname: "-a"}, {Hostname: strings.Repeat("a", 64)}, {Workdir: "here"}, {Workdir: "/a\x00"}} {
		if p.Check() == nil {
			t.Errorf("%+v was taken", p)
		}
	}
	if err := (Process{Hostname: "db-1", Workdir: "/srv/../x", User: "redis:ssl", ReadOnly: true}).Check(); err != nil {
		t.Error(err)
	}
}
