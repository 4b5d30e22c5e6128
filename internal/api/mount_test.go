package api

import (
	"strings"
	"testing"
)

func TestOnlyAMachinesOwnFoldersAreMounted(t *testing.T) {
	for _, c := range []struct {
		list []Mount
		want string
	}{
		{[]Mount{{Source: "/var/lib/a", Path: "/a"}, {Source: "/etc", Path: "/b/etc"}}, ""},
		{[]Mount{{Source: "/", Path: "/a"}}, "below /etc or /var"},
		{[]Mount{{Source: "/run/state", Path: "/a"}}, "below /etc or /var"},
		{[]Mount{{Source: "/variety", Path: "/a"}}, "below /etc or /var"},
		{[]Mount{{Source: "/var/../proc", Path: "/a"}}, "below /etc or /var"},
		{[]Mount{{Source: "/var/a", Path: "/proc/a"}}, "the machine itself fills /proc"},
		{[]Mount{{Source: "/var/a", Path: "/"}}, "want the absolute path"},
		{[]Mount{{Source: "/var/a", Path: "/a"}, {Source: "/var/b", Path: "/a"}}, "is there twice"},
	} {
		err := GuestConfig{Mounts: c.list}.Check()
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%+v: got %v, want %q", c.list, err, c.want)
		}
	}
}
