package provision

import (
	"strings"
	"testing"

	"holdfast/internal/ignition/spec"
)

const storage = `{"disks":[{"device":"/dev/vdb","partitions":[{"number":1,"label":"s"}]}],
 "luks":[{"name":"state","device":"/dev/disk/by-partlabel/s","clevis":{"tpm2":true}},{"name":"late","device":"/dev/vdc","clevis":{"tpm2":true}}],
 "filesystems":[{"device":"/dev/mapper/state","format":"ext4","label":"state"},{"device":"/dev/mapper/late","format":"ext4","path":"/var/lib/late"}]}`

// What a machine image cannot do is refused, by the field that asks for it.
func TestWhatNoMachineImageCanDoIsRefused(t *testing.T) {
	change := func(from, to string) string {
		if !strings.Contains(storage, from) {
			t.Fatalf("no %s", from)
		}
		return `"storage":` + strings.Replace(storage, from, to, 1)
	}
	for _, c := range []struct{ part, want string }{
		{`"storage":` + storage, ""},
		{`"storage":{"files":[{"path":"/etc/a","contents":{"source":"https://a/b"}}],"directories":[{"path":"/usr/local/b"}]}`, ""},
		{`"kernelArguments":{"shouldExist":["quiet"]}`, "$.kernelArguments: the kernel's command line is signed"},
		{`"storage":{"files":[{"path":"/etc/a"},{"path":"/etcetera"}]}`, "$.storage.files[1].path: /etcetera is on the machine image's own root"},
		{`"storage":{"links":[{"path":"/usr/bin/x","target":"y"}]}`, "$.storage.links[0].path:"},
		{`"storage":{"directories":[{"path":"/boot"}]}`, "$.storage.directories[0].path:"},
		{`"storage":{"files":[{"path":"/etc/a","contents":{"source":"http://a/b"}}]}`, "$.storage.files[0].contents.source: http proves nothing"},
		{`"storage":{"files":[{"path":"/etc/a","append":[{"source":"tftp://a/b"}]}]}`, "$.storage.files[0].append[0].source: tftp proves nothing"},
		{`"storage":{"files":[{"path":"/etc/a","contents":{"source":"http://a/b","verification":{"hash":"sha256-` + strings.Repeat("0", 64) + `"}}}]}`, ""},
		{change(`,"label":"state"`, ``), `$.storage: the disks of a machine need one file system with the label "state"`},
		{change(`"label":"state"`, `"label":"state","path":"/var/x"`), "$.storage.filesystems[0]: the state is mounted by the machine itself"},
		{change(`"format":"ext4","label"`, `"format":"vfat","label"`), "$.storage.filesystems[0]: the state needs a format of Linux"},
		{change(`/dev/mapper/state`, `/dev/vdb1`), "$.storage.filesystems[0]: the state lies on the first encrypted volume"},
		{change(`"clevis":{"tpm2":true}`, `"keyFile":{"source":"data:,x"}`), "the volume of the state opens by the TPM alone"},
		{change(`/var/lib/late`, `/home/late`), "$.storage.filesystems[1].path:"},
		{`"systemd":{"units":[{"name":"a.service","enabled":true,"contents":"[Service]\nExecStart=/bin/x\nRootImage=/y\n[Install]\nWantedBy=multi-user.target\n"}]}`,
			"$.systemd.units[0].contents: line 3: unit a.service: [Service] RootImage="},
		{change(`"format":"ext4","path":"/var/lib/late"`, `"format":"swap"`), ""},
		{`"storage":` + strings.Replace(strings.Replace(storage, `"format":"ext4","path":"/var/lib/late"`, `"format":"swap"`, 1), "/dev/mapper/late", "/dev/vdc", 1), "$.storage.filesystems[1]: memory would be written to a disk"},
		{`"systemd":{"units":[{"name":"a.service","enabled":true,"contents":"[Service]\nExecStart=/bin/x\n[Install]\nWantedBy=multi-user.target\n"}]}`, ""},
	} {
		d, err := spec.Loader{}.Load("c", []byte(`{"ignition":{"version":"3.4.0"},`+c.part+`}`))
		if err != nil {
			t.Fatalf("%s: %v", c.part, err)
		}
		err = Check("c", d.Config)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: got %v, want %q", c.part, err, c.want)
		}
	}
}
