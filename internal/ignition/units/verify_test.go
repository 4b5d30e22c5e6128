package units

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// samples are values that are right for each directive that takes no plain words.
var samples = map[string]string{
	"Type": "simple", "Restart": "always", "NotifyAccess": "all", "KillMode": "mixed", "KillSignal": "SIGINT", "FinalKillSignal": "SIGABRT",
	"Environment": "A=b", "EnvironmentFile": "-/etc/absent", "WorkingDirectory": "-/tmp", "User": "nobody", "Group": "nogroup", "SupplementaryGroups": "nogroup",
	"UMask": "0027", "StandardInput": "null", "StandardOutput": "journal", "StandardError": "inherit", "RuntimeDirectoryPreserve": "restart",
	"Conflicts": "shutdown.target", "After": "basic.target", "Before": "shutdown.target", "Requires": "sysinit.target", "BindsTo": "sysinit.target",
	"Wants": "network.target", "PartOf": "multi-user.target", "OnFailure": "multi-user.target", "OnCalendar": "daily", "Unit": "all.service",
	"RestartPreventExitStatus": "1 SIGHUP", "SuccessExitStatus": "TEMPFAIL 250", "Documentation": "man:true(1)", "WantedBy": "multi-user.target", "RequiredBy": "multi-user.target",
	"Alias": "other.KIND", "Also": "all.timer", "DefaultInstance": "x", "Description": "all of it", "Delegate": "yes", "PassEnvironment": "TERM", "UnsetEnvironment": "A",
	"RestartSteps": "5", "Requisite": "sysinit.target", "ReloadPropagatedFrom": "multi-user.target", "RequiresMountsFor": "/var /srv", "PIDFile": "all.pid", "TasksMax": "20%", "IgnoreSIGPIPE": "no", "OOMPolicy": "continue",
	"RestrictAddressFamilies": "AF_INET AF_UNIX", "RestrictNamespaces": "~user net", "SystemCallArchitectures": "native", "ProtectProc": "invisible", "ProcSubset": "pid", "ProtectHome": "tmpfs", "ProtectSystem": "strict", "CapabilityBoundingSet": "~CAP_CHOWN CAP_KILL", "AmbientCapabilities": "CAP_KILL",
	"ConditionCapability": "CAP_CHOWN", "AssertCapability": "CAP_CHOWN", "ConditionACPower": "yes", "AssertACPower": "yes", "StartLimitInterval": "5min", "ConditionFirstBoot": "no", "AssertFirstBoot": "no", "ConditionHost": "*", "AssertHost": "*", "ConditionArchitecture": "native", "AssertArchitecture": "native",
	"ConditionKernelCommandLine": "quiet", "AssertKernelCommandLine": "!quiet", "SyslogIdentifier": "x", "OOMScoreAdjust": "10", "Nice": "5", "StartLimitBurst": "3",
}

func sample(section, name string) string {
	v, ok := samples[name]
	switch {
	case ok:
		return v
	case slices.Contains(unprotected, name):
		return "no"
	case strings.HasSuffix(name, "Paths"), strings.HasSuffix(name, "Directories"):
		return "/srv -/absent"
	case strings.HasPrefix(name, "Exec"):
		return "/bin/true"
	case strings.HasPrefix(name, "Condition"), strings.HasPrefix(name, "Assert"):
		return "/"
	case strings.HasSuffix(name, "DirectoryMode"):
		return "0700"
	case strings.HasSuffix(name, "Directory"):
		return "all"
	case strings.HasSuffix(name, "Sec"):
		return "5min"
	case strings.HasPrefix(name, "Limit"):
		return "1024"
	}
	return "yes"
}

// whole is a unit in which every directive of the subset is.
func whole(kind string) string {
	var b strings.Builder
	for _, section := range sections[kind] {
		fmt.Fprintf(&b, "[%s]\n", section)
		for _, name := range slices.Sorted(maps.Keys(directives[section])) {
			fmt.Fprintf(&b, "%s=%s\n", name, strings.ReplaceAll(sample(section, name), ".KIND", kind))
		}
	}
	return b.String()
}

// newer are directives that systemd 252 does not know yet.
var newer = map[string]bool{"RestartSteps": true, "RestartMaxDelaySec": true}

var unknownKey = regexp.MustCompile(`(?m)^.*:\d+: (Unknown key '(\w+)'.*|.*ignoring.*|.*[Ff]ailed to parse.*)$`)

// TestSystemdKnowsTheWholeSubset asks systemd-analyze for the truth.
func TestSystemdKnowsTheWholeSubset(t *testing.T) {
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("wants systemd-analyze: make test installs it")
	}
	dir := t.TempDir()
	for _, kind := range kinds {
		if err := os.WriteFile(filepath.Join(dir, "all"+kind), []byte(whole(kind)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, kind := range kinds {
		out, _ := exec.Command(analyze, "verify", "--man=no", filepath.Join(dir, "all"+kind)).CombinedOutput()
		for _, m := range unknownKey.FindAllStringSubmatch(string(out), -1) {
			if !newer[m[2]] {
				t.Errorf("%s: systemd says %s", kind, m[0])
			}
		}
	}
}

func TestTheWholeSubsetIsRead(t *testing.T) {
	for _, kind := range kinds {
		files := Files{Contents: map[string][]byte{}}
		for _, k := range kinds {
			files.Contents["/etc/systemd/system/all"+k] = []byte(whole(k))
		}
		problems, err := Check(files, Host{})
		if err != nil || len(problems) > 0 {
			t.Errorf("%s: got %v, %v", kind, problems, err)
		}
	}
}

// TestWhatSystemdRefusesWeRefuse: of each wrong value systemd-analyze says that
// it is ignored, or that the unit is.
func TestWhatSystemdRefusesWeRefuse(t *testing.T) {
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("wants systemd-analyze: make test installs it")
	}
	const head = "[Service]\nExecStart=/bin/true\n"
	for i, text := range []string{
		head + "Type=nonsense\n", head + "Restart=perhaps\n", head + "RestartSec=5 fortnights\n", head + "KillSignal=SIGNONE\n", head + "KillMode=all\n",
		head + "LimitNOFILE=x\n", head + "LimitNOFILE=5:4\n", head + "UMask=9\n", head + "Nice=50\n", head + "OOMScoreAdjust=5000\n", head + "RemainAfterExit=maybe\n",
		head + "Environment=A\n", head + "Environment=1A=b\n", head + "WorkingDirectory=a\n", head + "EnvironmentFile=a\n", head + "NotifyAccess=you\n",
		head + "ExecStartPre=bin/true\n", head + "ExecStartPre=/bin/true \"a\n", head + "ExecStartPre=/bin/true %z\n", head + "ExecStartPre=/bin/\n", head + "ExecStartPre=@/bin/true\n",
		head + "ExecStartPre=!!!/bin/true\n", head + "ExecStartPre=!!!!/bin/true\n", head + "ExecStartPre=+!!/bin/true\n", head + "ExecStartPre=!!+/bin/true\n", head + "ExecStartPre=!+/bin/true\n",
		head + "StateDirectory=../a\n", head + "StateDirectory=/a\n", head + "StandardOutput=file:a\n", head + "NoSuchThing=1\n", head + "nonsense\n", head + "[Service\nNice=1\n",
		head + "ExecStart=/bin/true\n", "[Service]\nType=oneshot\n", "[Service]\nExecStart=/bin/true ; /bin/true\n", head + "Type=oneshot\nRestart=always\n", head + "SuccessExitStatus=300\n",
		head + "PIDFile=../a\n", head + "TasksMax=some\n", head + "TasksMax=0\n", head + "ProtectSystem=perhaps\n", head + "ProtectHome=full\n", head + "PrivateTmp=perhaps\n", head + "ProtectProc=none\n", head + "ProcSubset=none\n",
		head + "RestrictNamespaces=perhaps\n", head + "RestrictAddressFamilies=AF_NONE\n", head + "SystemCallArchitectures=z80\n", head + "LockPersonality=x\n", head + "ReadWritePaths=a\n", head + "InaccessiblePaths=/a/../b\n", head + "GuessMainPID=maybe\n", head + "OOMPolicy=perhaps\n", head + "ProtectClock=x\n",
		head + "Type=forking\nExecStart=/bin/false\n", "[Unit]\nRequiresMountsFor=a\n" + head, "[Unit]\nStartLimitInterval=x\n" + head,
		"[Unit]\nConditionPathExists=a\n" + head, "[Unit]\nStartLimitBurst=-1\n" + head, "[Unit]\nAfter=\"a.service\n" + head, "Nice=1\n" + head,
	} {
		name := fmt.Sprintf("case%d.service", i)
		at := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(at, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command(analyze, "verify", "--man=no", at).CombinedOutput()
		if err == nil && !strings.Contains(string(out), name) {
			t.Errorf("%q: systemd accepts it, so this test shows nothing: %s", text, out)
		}
		problems, err := Check(Files{Contents: map[string][]byte{"/etc/systemd/system/" + name: []byte(text)}}, Host{})
		if err != nil || reject(problems) == nil {
			t.Errorf("%q: got %v, %v, want it refused; systemd: %s", text, problems, err, out)
		}
	}
}
