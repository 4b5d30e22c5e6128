package units

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"holdfast/internal/supervise"
)

// tree is a root folder with files; "-> TARGET" is a link.
func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		at := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		if target, ok := strings.CutPrefix(text, "-> "); ok {
			err = os.Symlink(target, at)
		} else {
			err = os.WriteFile(at, []byte(text), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func load(t *testing.T, files map[string]string) *Set {
	t.Helper()
	set, err := Load(tree(t, files), Host{Name: "node-1.example", MachineID: "0123", BootID: "4567"})
	if err != nil {
		t.Fatal(err)
	}
	return set
}

const etc, lib = "etc/systemd/system/", "usr/lib/systemd/system/"

const serve = "[Service]\nExecStart=/bin/serve\n[Install]\nWantedBy=multi-user.target\n"

func TestAPresetEnables(t *testing.T) {
	set := load(t, map[string]string{
		"etc/systemd/system-preset/20-ignition.preset": "enable a.service\nenable web@.service one two\ndisable c.service\n",
		etc + "a.service": serve, etc + "b.service": serve, etc + "c.service": serve,
		etc + "web@.service": "[Service]\nExecStart=/bin/web %i\n[Install]\nWantedBy=multi-user.target\n",
	})
	want := []string{"a.service", "basic.target", "local-fs.target", "multi-user.target", "swap.target", "sysinit.target", "timers.target", "web@one.service", "web@two.service"}
	var got []string
	for _, s := range set.Services() {
		got = append(got, s.Name)
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if args := set.Units["web@two.service"].Service.Start[0].Args; !slices.Equal(args, []string{"/bin/web", "two"}) {
		t.Errorf("got %q", args)
	}
	if set.Goal != "multi-user.target" || !slices.Contains(set.Units["multi-user.target"].Service.After, "a.service") {
		t.Errorf("got %+v, want it behind a.service", set.Units["multi-user.target"].Service)
	}
}

func TestLinksEnableAndMask(t *testing.T) {
	set := load(t, map[string]string{
		etc + "multi-user.target.wants/a.service": "-> ../a.service", etc + "a.service": serve,
		etc + "multi-user.target.wants/b.service": "-> /usr/lib/systemd/system/b.service", lib + "b.service": serve, etc + "b.service": "-> /dev/null",
		etc + "multi-user.target.requires/d.service": "-> ../d.service", lib + "d.service": serve,
		etc + "default.target.wants/e.service": "-> ../e.service", etc + "e.service": "-> real.service", etc + "real.service": serve,
	})
	for name, want := range map[string]bool{"a.service": true, "b.service": false, "d.service": true, "e.service": false, "real.service": true} {
		if got := set.Units[name] != nil; got != want {
			t.Errorf("%s: got %v, want %v", name, got, want)
		}
	}
	if r := set.Units["multi-user.target"].Service.Requires; !slices.Contains(r, "d.service") {
		t.Errorf("got %q, want d.service required", r)
	}
}

func TestDropInsApplyInTheirOrder(t *testing.T) {
	set := load(t, map[string]string{
		etc + "multi-user.target.wants/app-web@x.service": "-> /usr/lib/systemd/system/app-web@.service",
		lib + "app-web@.service":                          "[Unit]\nDescription=0\n[Service]\nExecStart=/bin/a\nEnvironment=A=0 B=0\n",
		lib + "app-web@.service.d/20.conf":                "[Service]\nEnvironment=A=20\n",
		etc + "app-web@x.service.d/10.conf":               "[Unit]\nDescription=10\n[Service]\nEnvironment=A=10\nExecStart=\nExecStart=/bin/b\n",
		etc + "app-web@.service.d/20.conf":                "[Service]\nEnvironment=A=20e\n",
		etc + "app-.service.d/30.conf":                    "[Service]\nEnvironment=B=30\n",
		lib + "service.d/05.conf":                         "[Unit]\nDescription=5\n",
		"run/systemd/system/service.d/40.conf":            "[Service]\nEnvironment=C=40\n",
		lib + "app-web@x.service.d/90-none.conf":          "[Service]\nEnvironment=A=90\n",
		etc + "app-web@x.service.d/90-none.conf":          "-> /dev/null",
		etc + "app-web@x.service.d/README.ignore":         "[",
	})
	s := set.Units["app-web@x.service"].Service
	if want := []string{"A=0", "B=0", "A=10", "A=20e", "B=30", "C=40"}; !slices.Equal(s.Process.Env, want) || s.Description != "10" || s.Start[0].Path != "/bin/b" {
		t.Errorf("got %q, %s, %s; want %q, 10, /bin/b", s.Process.Env, s.Description, s.Start[0].Path, want)
	}
}

func TestAllOfAServiceIsRead(t *testing.T) {
	set := load(t, map[string]string{
		"etc/systemd/system-preset/1.preset": "enable *\n",
		etc + "a.service": `# comment
[Unit]
Description=Serve on %H
After=network-online.target absent.service
Wants=network-online.target
StartLimitIntervalSec=1min
StartLimitBurst=9
ConditionPathExists=/proc
ConditionPathExists=!/absent
[Service]
Type=notify
Environment="ONE=a b" TWO=%p
EnvironmentFile=-/etc/a.env
ExecStartPre=-+/bin/mkdir -p /run/x
ExecStart=@/bin/serve server --dir "%S/my dir" \
# a comment between
  --tab 'a\tb' ${ONE} $$
ExecStop=/bin/stop ; /bin/really
Restart=on-failure
RestartSec=1min 30s
TimeoutSec=infinity
KillMode=mixed
KillSignal=INT
LimitNOFILE=1024:65536
LimitMEMLOCK=64M
LimitCORE=infinity
UMask=0077
User=nobody
RuntimeDirectory=a a/b
StateDirectory=a
StandardOutput=append:/var/log/a
X-Other=1
[X-Section]
Anything=goes
[Install]
WantedBy=multi-user.target
`})
	s := set.Units["a.service"].Service
	if s.Description != "Serve on node-1.example" || s.Kind != supervise.Notify || s.RestartDelay != 90*time.Second || s.StartTimeout != 0 || s.StopTimeout != 0 || s.StartLimit != 9 || s.StartInterval != time.Minute {
		t.Errorf("got %+v", s)
	}
	c := s.Start[0]
	if want := []string{"server", "--dir", "/var/lib/my dir", "--tab", "a\tb", "${ONE}", "$$"}; c.Path != "/bin/serve" || !slices.Equal(c.Args, want) {
		t.Errorf("got %q, want %q", c.Args, want)
	}
	if pre := s.StartPre[0]; !pre.IgnoreFailure || !pre.Privileged || pre.Path != "/bin/mkdir" {
		t.Errorf("got %+v", pre)
	}
	if len(s.Stop) != 2 || s.Stop[1].Path != "/bin/really" {
		t.Errorf("got %+v", s.Stop)
	}
	if want := []string{"ONE=a b", "TWO=a"}; !slices.Equal(s.Process.Env, want) {
		t.Errorf("got %q, want %q", s.Process.Env, want)
	}
	if l := s.Process.Limits; len(l) != 3 || l[0].Soft != 1024 || l[0].Hard != 65536 || l[1].Soft != 64<<20 {
		t.Errorf("got %+v", l)
	}
	if f := s.Process.Folders; len(f) != 3 || f[1].Path != "/run/a/b" || !f[1].Remove || f[2].Path != "/var/lib/a" || f[2].Remove {
		t.Errorf("got %+v", f)
	}
	if s.Condition() != "" {
		t.Errorf("got %q, want the conditions to hold", s.Condition())
	}
}

func TestWhatIsWrongIsNamedByItsLine(t *testing.T) {
	const head = "[Unit]\nDescription=a\n[Service]\nExecStart=/bin/a\n"
	for _, c := range []struct{ text, want string }{
		{head + "SystemCallFilter=@system-service\n", "a.service:5: unit a.service: [Service] SystemCallFilter=: is outside the subset"},
		{head + "Type=dbus\n", "a.service:5: unit a.service: [Service] Type=: dbus is outside the subset: there is no D-Bus"},
		{head + "\n\nEnvironment=\\\n CANARY\n", "a.service:7: unit a.service: [Service] Environment=: a word is not NAME=VALUE"},
		{head + "ExecStart=/bin/b\n", "a.service: unit a.service: has 2 ExecStart= commands"},
		{"[Service]\nType=oneshot\n", "a.service: unit a.service: has no ExecStart="},
		{head + "ExecStop=bin/x\n", "ExecStop=: has a program whose path is not absolute"},
		{head + "ExecStop=/bin/x \"CANARY\n", "ExecStop=: the quote \" is not closed"},
		{head + "ExecStop=/bin/x \\q\n", "ExecStop=: the escape \\q is not known"},
		{head + "ExecStop=|/bin/x\n", "the prefix | is outside the subset"},
		{head + "ExecStop=+!/bin/x\n", "has a program whose path is not absolute"},
		{head + "PrivateNetwork=yes\n", "PrivateNetwork=: is outside the subset but for no"},
		{head + "PrivateTmp=disconnected\n", "PrivateTmp=: is neither yes nor no"},
		{head + "ProtectHome=strict\n", "ProtectHome=: \"strict\" is outside the subset: want yes, no, read-only, tmpfs"},
		{head + "ProtectProc=none\n", "ProtectProc=: \"none\" is outside the subset"},
		{head + "ReadWritePaths=/a ../b\n", "ReadWritePaths=: a word is no absolute path"},
		{head + "CapabilityBoundingSet=CAP_ALL\n", "CapabilityBoundingSet=: \"CAP_ALL\" is no capability"},
		{"[Unit]\nConditionCapability=CAP\n" + head, "ConditionCapability=: \"CAP\" is no capability"},
		{head + "ExecStop=/bin/x %y\n", "the specifier %y is outside the subset"},
		{head + "[Socket]\nListenStream=1\n", "a.service:6: unit a.service: [Socket] ListenStream=: the section is outside the subset for a service"},
		{head + "TimeoutSec=CANARY\n", "is no time span"},
		{head + "LimitNOFILE=5:4\n", "has a soft limit above the hard one"},
		{head + "RemainAfterExit=perhaps\n", "is neither yes nor no"},
		{head + "nonsense\n", "a.service:5: unit a.service: [Service]: the line has no ="},
		{"A=b\n", "a.service:1: unit a.service: the line stands before any section"},
		{head + "A\x00=b\n", "a.service:5: unit a.service: has a NUL"},
		{head + "Environment=A=" + strings.Repeat("x", 1<<20) + "\n", "a.service:5: unit a.service: [Service]: the line has more than 1048576 bytes"},
		{"[Unit]\nRequires=absent.service\n" + head, "a.service:2: unit a.service: [Unit] Requires=: absent.service: there is no such unit"},
		{"[Unit]\nRequires=data.mount\n" + head, "holdfast-node mounts the filesystems"},
		{"[Unit]\nConflicts=absent.service sysinit.target\n" + head, "a.service:2: unit a.service: [Unit] Conflicts=: \"sysinit.target\" is started too, and services do not stop one another"},
		{"[Unit]\nRequiresMountsFor=/var srv\n" + head, "RequiresMountsFor=: a word is no absolute path"},
		{head + "TasksMax=101%\n", "TasksMax=: is neither a number of tasks"},
		{head + "IgnoreSIGPIPE=yes\n", "IgnoreSIGPIPE=: \"yes\" is outside the subset: want no"},
		{head + "StateDirectory=../x\n", "a word is no path below /var/lib"},
		{head + "WatchdogSec=1\n", "there is no watchdog"},
	} {
		_, err := Load(tree(t, map[string]string{etc + "a.service": c.text, etc + "multi-user.target.wants/a.service": "-> ../a.service"}), Host{})
		var bad *InvalidError
		if !errors.As(err, &bad) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%.80q: got %v, want %s", c.text, err, c.want)
		}
	}
}

func TestACycleIsNamed(t *testing.T) {
	files := map[string]string{"etc/systemd/system-preset/1.preset": "enable *\n"}
	for name, after := range map[string]string{"a": "b", "b": "c", "c": "a"} {
		files[etc+name+".service"] = "[Unit]\nAfter=" + after + ".service\n" + serve
	}
	_, err := Load(tree(t, files), Host{})
	if err == nil || !strings.Contains(err.Error(), "the order has a cycle: c.service before b.service before a.service before c.service") {
		t.Errorf("got %v", err)
	}
}

func TestATimerPullsItsServiceIn(t *testing.T) {
	set := load(t, map[string]string{
		"etc/systemd/system-preset/1.preset": "enable *.timer\n",
		etc + "a.timer":                      "[Timer]\nOnCalendar=Mon *-*-* 02:00:00\nOnBootSec=5min\nPersistent=yes\n[Install]\nWantedBy=timers.target\n",
		etc + "a.service":                    "[Service]\nType=oneshot\nExecStart=/bin/a\n",
	})
	timer := set.Units["a.timer"]
	if timer == nil || set.Units["a.service"] == nil || timer.Timer.Unit != "a.service" || timer.Timer.Boot[0] != 5*time.Minute || len(timer.Timer.Calendar) != 1 {
		t.Fatalf("got %+v", timer)
	}
	if !slices.Contains(set.Units["timers.target"].Service.Wants, "a.timer") || slices.Contains(set.Units["multi-user.target"].Service.Wants, "a.service") {
		t.Error("the timer is not wanted, or its service is")
	}
}

// From the units of Debian's tor, postgresql-common and man-db.
func TestAForkingServiceIsRead(t *testing.T) {
	host := Host{MachineID: "0123"}
	set, err := Load(tree(t, map[string]string{
		"etc/systemd/system-preset/1.preset": "enable a.service\nenable b.timer\n",
		etc + "a.service": "[Unit]\nConflicts=absent.service shutdown.target\nRequiresMountsFor=/etc/a /var/lib/a\nReloadPropagatedFrom=b.service\nRequisite=sysinit.target\n" +
			"[Service]\nType=forking\nPIDFile=/var/run/a/%p.pid\nGuessMainPID=no\nPermissionsStartOnly=yes\nTasksMax=20%\nUser=nobody\nExecStartPre=/bin/pre\nExecStart=/bin/a\n[Install]\nWantedBy=multi-user.target\n",
		etc + "b.timer":   "[Timer]\nOnCalendar=daily\nRandomizedDelaySec=12h\nFixedRandomDelay=true\n[Install]\nWantedBy=timers.target\n",
		etc + "b.service": "[Service]\nExecStart=/bin/b\nPIDFile=b.pid\n",
	}), host)
	if err != nil {
		t.Fatal(err)
	}
	a, b := set.Units["a.service"].Service, set.Units["b.service"].Service
	if a.Kind != supervise.Forking || a.PIDFile != "/run/a/a.pid" || b.PIDFile != "/run/b.pid" || !a.NoGuess || a.Tasks != "20%" || !slices.Equal(a.ReloadFrom, []string{"b.service"}) || !slices.Equal(a.Requisite, []string{"sysinit.target"}) {
		t.Errorf("got %+v and %s", a, b.PIDFile)
	}
	if !a.StartPre[0].Privileged || a.Start[0].Privileged {
		t.Errorf("got %+v and %+v, want only the first as root", a.StartPre, a.Start)
	}
	first, other := set.Units["b.timer"].Timer, Timer{}
	again, _, err := LoadTree(Files{Contents: map[string][]byte{etcDir + "default.target": []byte("[Unit]\nWants=b.timer\n"), etcDir + "b.service": []byte("[Service]\nExecStart=/bin/b\n"),
		etcDir + "b.timer": []byte("[Timer]\nOnCalendar=daily\nRandomizedDelaySec=12h\nFixedRandomDelay=true\n")}}, Host{MachineID: "4567"})
	if err != nil {
		t.Fatal(err)
	}
	if other = *again.Units["b.timer"].Timer; first.FixedDelay == nil || *first.FixedDelay >= 12*time.Hour || *first.FixedDelay == *other.FixedDelay {
		t.Errorf("got delays %v and %v, want one for each machine", first.FixedDelay, other.FixedDelay)
	}
}

const etcDir = "/" + etc

func TestPowerIsFromOutsideUnlessItIsKnownNotToBe(t *testing.T) {
	for want, supplies := range map[bool][]map[string]string{
		true: {{}, {"AC/type": "Mains", "AC/online": "1", "BAT/type": "Battery", "BAT/status": "Discharging"}, {"BAT/type": "Battery", "BAT/status": "Full"},
			{"mouse/type": "Battery", "mouse/scope": "Device", "mouse/status": "Discharging"}},
		false: {{"AC/type": "Mains", "AC/online": "0"}, {"BAT/type": "Battery", "BAT/status": "Discharging"}},
	} {
		for _, files := range supplies {
			if got := onPower(tree(t, files)); got != want {
				t.Errorf("%v: got %v, want %v", files, got, want)
			}
		}
	}
}
