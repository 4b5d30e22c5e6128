package minimal

import (
	"strings"
	"testing"

	"github.com/coreos/ignition/v2/config/v3_7_experimental/types"

	"holdfast/internal/ignition/spec"
	"holdfast/internal/ignition/units"
)

func config(t *testing.T, body string) types.Config {
	t.Helper()
	d, err := spec.Loader{}.Load("a.ign", []byte(`{"ignition":{"version":"3.6.0"},`+body+`}`))
	if err != nil {
		t.Fatal(err)
	}
	return d.Config
}

func TestWhatTheImageCannotDoIsRefusedWithItsPath(t *testing.T) {
	const luks = `"storage":{"luks":[{"name":"a","device":"/dev/vdb","clevis":`
	for _, c := range []struct{ body, path, want string }{
		{`"kernelArguments":{"shouldExist":["quiet"]}`, "$.kernelArguments", "signed with the machine image"},
		{luks + `{"tang":[{"url":"https://a","thumbprint":"b"}]}}]}`, "$.storage.luks[0].clevis.tang", "Tang"},
		{luks + `{"custom":{"pin":"sss","config":"{}"}}}]}`, "$.storage.luks[0].clevis.custom.pin", "tpm2"},
		{`"storage":{"files":[{"path":"/usr/bin/a"}]}`, "$.storage.files[0].path", "read-only"},
		{`"storage":{"files":[{"path":"/etc/a","contents":{"source":"http://a/b"}}]}`, "$.storage.files[0].contents.source", "verification.hash"},
		{`"systemd":{"units":[{"name":"a.service","enabled":true}]}`, "$.systemd.units[0].enabled", "neither the config nor the machine image"},
		{`"systemd":{"units":[{"name":"a.socket","contents":"[Socket]\nListenStream=1\n"}]}`, "$.systemd.units[0].contents", "started by a socket"},
		{`"systemd":{"units":[{"name":"a.mount","contents":"[Mount]\nWhat=/dev/vda\n"}]}`, "$.systemd.units[0].contents", "holdfast-node mounts"},
		{`"systemd":{"units":[{"name":"a.service","contents":"[Service]\nExecStart=/a\nSystemCallFilter=@io\n"}]}`, "$.systemd.units[0].contents", "line 3: unit a.service: [Service] SystemCallFilter=: is outside"},
		{`"systemd":{"units":[{"name":"a.service","dropins":[{"name":"b.conf","contents":"\n[Service]\nSlice=x\n"}]}]}`, "$.systemd.units[0].dropins[0].contents", "line 3: unit a.service: [Service] Slice="},
		{`"storage":{"files":[{"path":"/etc/systemd/system/a.service","contents":{"source":"data:,%5BService%5D%0AExecStart%3D%2Fa%0ATTYPath%3Dx"}}]}`, "$.storage.files[0].contents", "line 3: unit a.service: [Service] TTYPath="},
		{`"storage":{"files":[{"path":"/etc/tmpfiles.d/a.conf","contents":{"source":"data:,d%20/a%0Ab%20/dev/x"}}]}`, "$.storage.files[0].contents", "line 2: a.conf: the type \"b\" is outside"},
		{`"systemd":{"units":[{"name":"a.service","enabled":true,"contents":"[Unit]\nRequires=b.service\n[Service]\nExecStart=/a\n[Install]\nWantedBy=multi-user.target\n"}]}`, "$.systemd.units[0].contents", "line 2: unit a.service: [Unit] Requires=: b.service: there is no such unit"},
	} {
		list, err := Check{}.Issues(config(t, c.body))
		if err != nil || len(list) == 0 {
			t.Errorf("%s: got %v, %v, want %s", c.body, list, err, c.want)
			continue
		}
		if got := spec.Path(list[0].Path); got != c.path || !strings.Contains(list[0].Text(), c.want) || list[0].Warning {
			t.Errorf("%s: got %s: %s, want %s: %s", c.body, got, list[0].Text(), c.path, c.want)
		}
	}
}

func TestWhatItCanDoPasses(t *testing.T) {
	c := config(t, `"storage":{"files":[{"path":"/etc/a","contents":{"source":"https://a/b"}},{"path":"/var/b"}],"luks":[{"name":"a","device":"/dev/vdb","clevis":{"tpm2":true}}]},
		"systemd":{"units":[{"name":"a@.service","contents":"[Service]\nExecStart=/a %i\n[Install]\nWantedBy=multi-user.target\n"},{"name":"a@b.service","enabled":true},
			{"name":"c.service","mask":true},{"name":"of-the-image.service","enabled":true}]}`)
	image := units.Files{Contents: map[string][]byte{"/usr/lib/systemd/system/of-the-image.service": []byte("[Service]\nExecStart=/b\n[Install]\nWantedBy=multi-user.target\n")}}
	list, err := Check{Image: image}.Issues(c)
	if err != nil || len(list) != 0 {
		t.Errorf("got %+v, %v, want nothing", list, err)
	}
}

func TestWhatNothingLooksAtIsAWarning(t *testing.T) {
	list, err := Check{}.Issues(config(t, `"passwd":{"users":[{"name":"a","passwordHash":"CANARY","sshAuthorizedKeys":["CANARY"]}]}`))
	if err != nil || len(list) != 2 || !list[0].Warning || !list[1].Warning {
		t.Errorf("got %+v, %v, want two warnings", list, err)
	}
	for _, i := range list {
		if strings.Contains(i.Text(), "CANARY") {
			t.Errorf("tells a secret: %s", i.Text())
		}
	}
}

// What the image has no program or module for is a warning while the image may
// be another than ours, and an error once its recipe is known.
func TestWhatTheRecipeLacksIsNamed(t *testing.T) {
	own := Recipe{Packages: append([]string{"xfsprogs"}, Stock.Packages...), Modules: append([]string{"dm_crypt", "raid456"}, Stock.Modules[1:]...)}
	for _, c := range []struct {
		body, path, want string
		own              string // what is still missing in a recipe of one's own
	}{
		{`"storage":{"filesystems":[{"device":"/dev/vdb","format":"ext4"},{"device":"/dev/vdc","format":"xfs"}]}`, "$.storage.filesystems[1].format",
			"has no xfs: its recipe would have to add the package xfsprogs (mkfs.xfs) and the module xfs", "add the module xfs"},
		{`"storage":{"filesystems":[{"device":"/dev/vdb","format":"swap"}]}`, "$.storage.filesystems[0].format", "the package util-linux (mkswap)", "util-linux"},
		{`"storage":{"raid":[{"name":"a","level":"raid5","devices":["/dev/vdb","/dev/vdc","/dev/vdd"]}]}`, "$.storage.raid[0].level", "has no raid5: its recipe would have to add the module raid456", ""},
		{`"storage":{"raid":[{"name":"a","level":"mirror","devices":["/dev/vdb","/dev/vdc"]}],"luks":[{"name":"a","device":"/dev/md/a","clevis":{"tpm2":true}}]}`, "", "", ""},
	} {
		for _, r := range []*Recipe{nil, &own} {
			want := c.want
			if r != nil {
				want = c.own
			}
			list, err := Check{Recipe: r}.Issues(config(t, c.body))
			switch {
			case err != nil:
				t.Error(err)
			case want == "" && len(list) > 0:
				t.Errorf("%s: got %+v, want nothing", c.body, list)
			case want != "" && (len(list) != 1 || spec.Path(list[0].Path) != c.path || !strings.Contains(list[0].Problem, want) || list[0].Warning != (r == nil)):
				t.Errorf("%s: got %+v, want %s: %s", c.body, list, c.path, want)
			}
		}
	}
}
