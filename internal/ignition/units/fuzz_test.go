package units

import (
	"errors"
	"strings"
	"testing"
)

func FuzzLoad(f *testing.F) {
	for _, text := range []string{
		serve, "[Unit]\nAfter=b.service\n[Service]\nExecStart=-@/bin/a b 'c d' \\\n; /bin/e %i\n", "[Timer]\nOnCalendar=daily\n",
		"[Service]\nEnvironment=\"A=b\\x20c\"\nLimitNOFILE=1:2\n", "[Unit]\nConditionPathExists=|!/a\n\x00", "\ufeff[Unit]\r\nDescription=%%\r\n",
		"[Unit]\nConflicts=b.service\nRequiresMountsFor=/a\nConditionCapability=CAP_KILL\n[Service]\nType=forking\nPIDFile=a/%i.pid\nTasksMax=9%\nExecStart=!!/bin/a\n",
		"[Service]\nExecStart=!/bin/a\nProtectSystem=strict\nProtectHome=tmpfs\nReadWritePaths=-/a +/b\nCapabilityBoundingSet=~CAP_KILL\nAmbientCapabilities=CAP_CHOWN\nPrivateTmp=1\nProtectProc=noaccess\n",
	} {
		f.Add("a@b.service", text, "enable *\n", "[Service]\nExecStart=\n")
	}
	f.Fuzz(func(t *testing.T, name, unit, presets, dropin string) {
		files := Files{Contents: map[string][]byte{
			"/etc/systemd/system/" + name: []byte(unit), "/etc/systemd/system-preset/1.preset": []byte(presets), "/etc/systemd/system/" + name + ".d/1.conf": []byte(dropin),
		}, Links: map[string]string{"/etc/systemd/system/multi-user.target.wants/" + name: "../" + name}}
		set, problems, err := LoadTree(files, Host{})
		if err != nil {
			return
		}
		for _, p := range problems {
			if strings.ContainsRune(p.Unit, '\n') && p.Line > 0 {
				t.Errorf("got a problem of %q", p.Unit)
			}
		}
		var bad *InvalidError
		if err := reject(problems); err != nil && !errors.As(err, &bad) {
			t.Errorf("got %T", err)
		}
		if reject(problems) == nil {
			for _, s := range set.Services() {
				if s.Kind == "" || s.Name == "" {
					t.Errorf("got a service %+v", s)
				}
			}
		}
	})
}
