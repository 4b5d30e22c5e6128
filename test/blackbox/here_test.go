package blackbox

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// The tests whose disks a kernel without dm and vfat can give: on this machine,
// in mounts of their own, each at the lowest version of the config.
func TestUpstreamsOwnTestsPassOnLoopDevices(t *testing.T) {
	tests := program(t)
	if os.Getuid() != 0 {
		t.Skip("makes loop devices as root: run make test")
	}
	bin := t.TempDir()
	engine(t, bin)
	wrappers, err := filepath.Abs("testdata/bin")
	check(t, err)
	cmd := exec.CommandContext(t.Context(), "unshare", "--mount", tests, "-test.v", "-test.short", "-test.parallel", "2", "-test.skip", "/.*(luks|vfat)")
	cmd.Env = append(os.Environ(), "SOURCE_DATE_EPOCH=1497398400", "PATH="+bin+":"+wrappers+":"+os.Getenv("PATH"))
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	judge(t, read(t, bytes.NewReader(out)))
}
