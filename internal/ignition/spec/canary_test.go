package spec

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	ign "github.com/coreos/ignition/v2/config/shared/errors"
)

const canary = "CANARYsecret0123"

// broken are configs with one kind of error each, in the newest version where
// none is said. All hold the canary in every place where people put secrets.
var broken = []struct {
	err  error // upstream's
	path string
	body string // behind "ignition", on line 3
}{
	{ign.ErrDuplicate, "$.storage.files[1]", `"storage":{"files":[{"path":"/a"},{"path":"/a"}]}`},
	{ign.ErrCompressionInvalid, "$.storage.files[0].contents.compression", `"storage":{"files":[{"path":"/a","contents":{"compression":"CANARYsecret0123","source":"data:,x"}}]}`},
	{ign.ErrFileUsedSymlink, "$.storage.files[0]", `"storage":{"files":[{"path":"/a/b"}],"links":[{"path":"/a","target":"/CANARYsecret0123"}]}`},
	{ign.ErrDirectoryUsedSymlink, "$.storage.directories[0]", `"storage":{"directories":[{"path":"/a/b"}],"links":[{"path":"/a","target":"/c"}]}`},
	{ign.ErrLinkUsedSymlink, "$.storage.links[0]", `"storage":{"links":[{"path":"/a/b","target":"/d"},{"path":"/a","target":"/c"}]}`},
	{ign.ErrLinkTargetRequired, "$.storage.links[0].target", `"storage":{"links":[{"path":"/a"}]}`},
	{ign.ErrHardLinkToDirectory, "$.storage.links[0]", `"storage":{"directories":[{"path":"/b"}],"links":[{"path":"/a","target":"/b","hard":true}]}`},
	{ign.ErrDiskDeviceRequired, "$.storage.disks[0].device", `"storage":{"disks":[{"device":""}]}`},
	{ign.ErrPartitionNumbersCollide, "$.storage.disks[0].partitions[1]", `"storage":{"disks":[{"device":"/dev/a","partitions":[{"number":1,"label":"x"},{"number":1,"label":"y"}]}]}`},
	{ign.ErrPartitionsOverlap, "$.storage.disks[0].partitions[1]", `"storage":{"disks":[{"device":"/dev/a","partitions":[{"number":1,"startMiB":1,"sizeMiB":9},{"number":2,"startMiB":5,"sizeMiB":9}]}]}`},
	{ign.ErrZeroesWithShouldNotExist, "$.storage.disks[0].partitions", `"storage":{"disks":[{"device":"/dev/a","partitions":[{"number":1,"shouldExist":false},{"label":"x"}]}]}`},
	{ign.ErrNeedLabelOrNumber, "$.storage.disks[0].partitions[0]", `"storage":{"disks":[{"device":"/dev/a","partitions":[{"number":0}]}]}`},
	{ign.ErrDuplicateLabels, "$.storage.disks[0].partitions[1]", `"storage":{"disks":[{"device":"/dev/a","partitions":[{"number":1,"label":"x"},{"number":2,"label":"x"}]}]}`},
	{ign.ErrLabelTooLong, "$.storage.disks[0].partitions[0].label", `"storage":{"disks":[{"device":"/dev/a","partitions":[{"number":1,"label":"CANARYsecret0123CANARYsecret0123CANARYsecret0123"}]}]}`},
	{ign.ErrDoesntMatchGUIDRegex, "$.storage.disks[0].partitions[0].guid", `"storage":{"disks":[{"device":"/dev/a","partitions":[{"number":1,"guid":"CANARYsecret0123"}]}]}`},
	{ign.ErrShouldNotExistWithOthers, "$.storage.disks[0].partitions[0]", `"storage":{"disks":[{"device":"/dev/a","partitions":[{"number":1,"shouldExist":false,"sizeMiB":4}]}]}`},
	{ign.ErrOverwriteAndNilSource, "$.storage.files[0].overwrite", `"storage":{"files":[{"path":"/a","overwrite":true}]}`},
	{ign.ErrVerificationAndNilSource, "$.storage.files[0].contents.verification.hash", `"storage":{"files":[{"path":"/a","contents":{"verification":{"hash":"sha256-0000000000000000000000000000000000000000000000000000000000000000"}}}]}`},
	{ign.ErrFilesystemInvalidFormat, "$.storage.filesystems[0].format", `"storage":{"filesystems":[{"device":"/dev/a","path":"/x","format":"CANARYsecret0123"}]}`},
	{ign.ErrFormatNilWithOthers, "$.storage.filesystems[0].format", `"storage":{"filesystems":[{"device":"/dev/a","label":"x"}]}`},
	{ign.ErrExt4LabelTooLong, "$.storage.filesystems[0].label", `"storage":{"filesystems":[{"device":"/dev/a","format":"ext4","label":"CANARYsecret0123CANARY"}]}`},
	{ign.ErrXfsLabelTooLong, "$.storage.filesystems[0].label", `"storage":{"filesystems":[{"device":"/dev/a","format":"xfs","label":"CANARYsecret0123"}]}`},
	{ign.ErrSwapLabelTooLong, "$.storage.filesystems[0].label", `"storage":{"filesystems":[{"device":"/dev/a","format":"swap","label":"CANARYsecret0123"}]}`},
	{ign.ErrVfatLabelTooLong, "$.storage.filesystems[0].label", `"storage":{"filesystems":[{"device":"/dev/a","format":"vfat","label":"CANARYsecret0123"}]}`},
	{ign.ErrBtrfsLabelTooLong, "$.storage.filesystems[0].label", `"storage":{"filesystems":[{"device":"/dev/a","format":"btrfs","label":"` + strings.Repeat(canary, 20) + `"}]}`},
	{ign.ErrLuksLabelTooLong, "$.storage.luks[0].label", `"storage":{"luks":[{"name":"a","device":"/dev/a","label":"` + strings.Repeat(canary, 3) + `"}]}`},
	{ign.ErrLuksNameContainsSlash, "$.storage.luks[0].name", `"storage":{"luks":[{"name":"a/b","device":"/dev/a"}]}`},
	{ign.ErrInvalidLuksKeyFile, "$.storage.luks[0].keys", `"storage":{"luks":[{"name":"a","device":"/dev/a","keyFile":{"source":"CANARYsecret0123:x"}}]}`},
	{ign.ErrClevisPinRequired, "$.storage.luks[0].clevis.custom.pin", `"storage":{"luks":[{"name":"a","device":"/dev/a","clevis":{"custom":{"config":"CANARYsecret0123"}}}]}`},
	{ign.ErrUnknownClevisPin, "$.storage.luks[0].clevis.custom.pin", `3.5.0|"storage":{"luks":[{"name":"a","device":"/dev/a","clevis":{"custom":{"pin":"CANARYsecret0123","config":"{}"}}}]}`},
	{ign.ErrClevisConfigRequired, "$.storage.luks[0].clevis.custom.config", `"storage":{"luks":[{"name":"a","device":"/dev/a","clevis":{"custom":{"pin":"tang"}}}]}`},
	{ign.ErrClevisCustomWithOthers, "$.storage.luks[0].clevis", `"storage":{"luks":[{"name":"a","device":"/dev/a","clevis":{"tpm2":true,"custom":{"pin":"tang","config":"{}"}}}]}`},
	{ign.ErrTangThumbprintRequired, "$.storage.luks[0].clevis.tang[0].thumbprint", `"storage":{"luks":[{"name":"a","device":"/dev/a","clevis":{"tang":[{"url":"https://CANARYsecret0123@h"}]}}]}`},
	{ign.ErrInvalidTangAdvertisement, "$.storage.luks[0].clevis.tang[0].advertisement", `"storage":{"luks":[{"name":"a","device":"/dev/a","clevis":{"tang":[{"url":"https://h","thumbprint":"x","advertisement":"CANARYsecret0123"}]}}]}`},
	{ign.ErrCexWithClevis, "$.storage.luks[0].cex", `"storage":{"luks":[{"name":"a","device":"/dev/a","cex":{"enabled":true},"clevis":{"tpm2":true}}]}`},
	{ign.ErrCexWithKeyFile, "$.storage.luks[0].cex", `"storage":{"luks":[{"name":"a","device":"/dev/a","cex":{"enabled":true},"keyFile":{"source":"data:,CANARYsecret0123"}}]}`},
	{ign.ErrFileIllegalMode, "$.storage.files[0].mode", `"storage":{"files":[{"path":"/a","mode":99999}]}`},
	{ign.ErrBothIDAndNameSet, "$.storage.files[0].user", `"storage":{"files":[{"path":"/a","user":{"id":1,"name":"x"}}]}`},
	{ign.ErrNoPath, "$.storage.files[0].path", `"storage":{"files":[{"path":""}]}`},
	{ign.ErrPathRelative, "$.storage.files[0].path", `"storage":{"files":[{"path":"CANARYsecret0123"}]}`},
	{ign.ErrDirtyPath, "$.storage.files[0].path", `3.0.0|"storage":{"files":[{"path":"/a//CANARYsecret0123"}]}`},
	{ign.ErrModeSpecialBits, "$.storage.files[0].mode", `3.5.0|"storage":{"files":[{"path":"/a","mode":2541}]}`},
	{ign.ErrLabelNeedsFormat, "$.storage.filesystems[0].label", `3.0.0|"storage":{"filesystems":[{"device":"/dev/a","path":"/x","label":"CANARY"}]}`},
	{ign.ErrLabelContainsColon, "$.storage.disks[0].partitions[0].label", `"storage":{"disks":[{"device":"/dev/a","partitions":[{"number":1,"label":"x:CANARYsecret0123"}]}]}`},
	{ign.ErrHardLinkSpecifiesOwner, "$.storage.links[0].user.name", `"storage":{"links":[{"path":"/a","target":"/b","hard":true,"user":{"name":"CANARYsecret0123"}}]}`},
	{ign.ErrInsecureProxy, "$.ignition.proxy.httpsProxy", `"ignition":{"version":"3.7.0-experimental","proxy":{"httpsProxy":"http://CANARYsecret0123@h"}}`},
	{ign.ErrFilesystemImplicitWipe, "$.storage.filesystems[0].device", `"storage":{"disks":[{"device":"/dev/a","wipeTable":true}],"filesystems":[{"device":"/dev/a","format":"ext4","path":"/x"}]}`},
	{ign.ErrPartitionsOverwritten, "$.storage.filesystems[0].device", `"storage":{"disks":[{"device":"/dev/a","partitions":[{"number":1}]}],"filesystems":[{"device":"/dev/a","format":"ext4","path":"/x"}]}`},
	{ign.ErrRaidLevelRequired, "$.storage.raid[0].level", `"storage":{"raid":[{"name":"a","devices":["/dev/a"]}]}`},
	{ign.ErrSparesUnsupportedForLevel, "$.storage.raid[0].level", `"storage":{"raid":[{"name":"a","level":"raid0","devices":["/dev/a"],"spares":1}]}`},
	{ign.ErrUnrecognizedRaidLevel, "$.storage.raid[0].level", `"storage":{"raid":[{"name":"a","level":"CANARYsecret0123","devices":["/dev/a"]}]}`},
	{ign.ErrRaidDevicesRequired, "$.storage.raid[0].devices", `"storage":{"raid":[{"name":"a","level":"raid1"}]}`},
	{ign.ErrPathConflictsSystemd, "$.storage.files[0].path", `"storage":{"files":[{"path":"/etc/systemd/system/a.service"}]},"systemd":{"units":[{"name":"a.service","contents":"[Unit]\n"}]}`},
	{ign.ErrInvalidSystemdExt, "$.systemd.units[0].name", `"systemd":{"units":[{"name":"a.CANARYsecret0123"}]}`},
	{ign.ErrInvalidSystemdDropinExt, "$.systemd.units[0].dropins[0].name", `"systemd":{"units":[{"name":"a.service","dropins":[{"name":"CANARYsecret0123"}]}]}`},
	{nil, "$.systemd.units[0].contents", `"systemd":{"units":[{"name":"a.service","contents":"[Service]CANARYsecret0123\nx"}]}`},
	{ign.ErrInvalidScheme, "$.storage.files[0].contents.source", `"storage":{"files":[{"path":"/a","contents":{"source":"CANARYsecret0123:x"}}]}`},
	{ign.ErrInvalidUrl, "$.storage.files[0].contents.source", `"storage":{"files":[{"path":"/a","contents":{"source":"http://CANARYsecret0123:%zz"}}]}`},
	{ign.ErrSourceRequired, "$.ignition.security.tls.certificateAuthorities[0]", `"ignition":{"version":"3.7.0-experimental","security":{"tls":{"certificateAuthorities":[{}]}}}`},
	{nil, "$.storage.files[0].contents.source", `"storage":{"files":[{"path":"/a","contents":{"source":"data:text/plain;base64,CANARYsecret0123!"}}]}`},
	{ign.ErrInvalidHTTPHeader, "$.storage.files[0].contents.httpHeaders[0].value", `"storage":{"files":[{"path":"/a","contents":{"source":"https://h","httpHeaders":[{"name":"CANARYsecret0123","value":""}]}}]}`},
	{ign.ErrEmptyHTTPHeaderName, "$.storage.files[0].contents.httpHeaders[0].name", `"storage":{"files":[{"path":"/a","contents":{"source":"https://h","httpHeaders":[{"name":"","value":"CANARYsecret0123"}]}}]}`},
	{ign.ErrUnsupportedSchemeForHTTPHeaders, "$.storage.files[0].contents.httpHeaders", `"storage":{"files":[{"path":"/a","contents":{"source":"data:,x","httpHeaders":[{"name":"a","value":"CANARYsecret0123"}]}}]}`},
	{ign.ErrHashMalformed, "$.storage.files[0].contents.verification.hash", `"storage":{"files":[{"path":"/a","contents":{"source":"data:,x","verification":{"hash":"CANARYsecret0123"}}}]}`},
	{ign.ErrHashWrongSize, "$.storage.files[0].contents.verification.hash", `"storage":{"files":[{"path":"/a","contents":{"source":"data:,x","verification":{"hash":"sha256-CANARYsecret0123"}}}]}`},
	{ign.ErrHashUnrecognized, "$.storage.files[0].contents.verification.hash", `"storage":{"files":[{"path":"/a","contents":{"source":"data:,x","verification":{"hash":"CANARYsecret0123-00"}}}]}`},
	{ign.ErrInvalidS3ARN, "$.storage.files[0].contents.source", `"storage":{"files":[{"path":"/a","contents":{"source":"arn:aws:CANARYsecret0123:::b/k"}}]}`},
	{ign.ErrInvalidS3ObjectVersionId, "$.storage.files[0].contents.source", `"storage":{"files":[{"path":"/a","contents":{"source":"s3://CANARYsecret0123/k?versionId="}}]}`},
	{ign.ErrInvalidProxy, "$.ignition.proxy.httpProxy", `"ignition":{"version":"3.7.0-experimental","proxy":{"httpProxy":"ftp://CANARYsecret0123@h"}}`},
	{nil, "$.passwd.users[0].passwordHash", `"passwd":{"users":[{"name":"core","passwordHash":{"CANARYsecret0123":1}}]}`},
	{nil, "$.storage.files[0].mode", `"storage":{"files":[{"path":"/a","mode":"CANARYsecret0123"}]}`},
	{nil, "$", `"storage":CANARYsecret0123`},
}

// canaries is a user whose every secret is the canary.
const canaries = `,
"passwd":{"users":[{"name":"u","passwordHash":"CANARYsecret0123","sshAuthorizedKeys":["CANARYsecret0123"]}]}`

func TestEachErrorHasAPlaceAndNoSecret(t *testing.T) {
	for _, b := range broken {
		version, body := Newest, b.body
		if v, rest, ok := strings.Cut(body, "|"); ok {
			version, body = v, rest
		}
		if !strings.Contains(body, `"passwd"`) {
			body += canaries
		}
		text := fmt.Sprintf("{\n\"ignition\":{\"version\":%q},\n%s}", version, body)
		findings := findingsOf(t, text)
		if !tells(findings, b.err, b.path) {
			t.Errorf("%v: got %q, want it at %s", b.err, findings, b.path)
		}
		for _, f := range findings {
			if strings.Contains(f.String(), canary[:6]) {
				t.Errorf("%v: tells the secret: %s", b.err, f)
			}
		}
	}
}

func findingsOf(t *testing.T, text string) []Finding {
	t.Helper()
	d, err := Loader{}.Load("c.ign", []byte(text))
	var bad *InvalidError
	switch {
	case errors.As(err, &bad):
		return bad.Findings
	case err != nil:
		t.Fatalf("got %v, want an InvalidError, of %s", err, text)
	}
	return d.Findings
}

func tells(findings []Finding, want error, path string) bool {
	for _, f := range findings {
		placed := f.Path == path && f.Line == 3 && f.Column > 0
		if placed && (want == nil || f.Problem == want.Error() && f.Want != "") {
			return true
		}
	}
	return false
}

// never are errors that no config of a version that is read can have: upstream
// does not use them any more, or says them of the whole text.
var never = []error{
	ign.ErrDeprecated, ign.ErrPartitionsMisaligned, ign.ErrNoSystemdExt, ign.ErrInvalidInstantiatedUnit,
	ign.ErrFilePermissionsUnset, ign.ErrDirectoryPermissionsUnset,
}

func TestEveryKindOfErrorIsShown(t *testing.T) {
	shown := map[error]bool{}
	for _, b := range broken {
		shown[b.err] = true
	}
	for _, err := range never {
		shown[err] = true
	}
	for err := range wanted {
		if !shown[err] {
			t.Errorf("no config shows %v", err)
		}
	}
}

func TestAVersionThatIsNotReadIsNamed(t *testing.T) {
	for _, version := range []string{"2.3.0", "3.9.0", "4.0.0", "3.7.0", "x"} {
		f := findingsOf(t, "{\n \"ignition\": {\"version\": \""+version+"\"}}")
		if len(f) != 1 || f[0].Line != 2 || f[0].Column != 26 || !strings.Contains(f[0].String(), version) {
			t.Errorf("%s: got %v, want it named at 2:26", version, f)
		}
	}
}

func TestAConfigIsBoundedBeforeItIsParsed(t *testing.T) {
	deep := findingsOf(t, `{"a":`+strings.Repeat("[", 1<<20))
	if len(deep) != 1 || !strings.Contains(deep[0].Problem, "deeper") {
		t.Errorf("got %v, want its depth refused", deep)
	}
	large := findingsOf(t, strings.Repeat(" ", MaxSize+1))
	if len(large) != 1 || !strings.Contains(large[0].Problem, "64 MiB") {
		t.Errorf("got %v, want its size refused", large)
	}
}

func FuzzLoad(f *testing.F) {
	for _, b := range broken {
		f.Add([]byte("{\"ignition\":{\"version\":\"3.4.0\"}," + b.body + "}"))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		_, err := Loader{}.Load("f", raw)
		var bad *InvalidError
		if err != nil && !errors.As(err, &bad) && !errors.Is(err, ErrEmpty) {
			t.Errorf("got %T, want an InvalidError", err)
		}
	})
}
