package blackbox

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// asked are the words for upstream's program.
func asked() []string {
	if words := strings.Fields(os.Getenv("HOLDFAST_BLACKBOX")); len(words) > 0 {
		return words
	}
	return []string{"-test.short"}
}

// The tests whose disks a kernel without dm and vfat can give: on this machine,
// in mounts of their own, each at the lowest version of the config where
// nothing else is asked for.
func TestUpstreamsOwnTestsPassOnLoopDevices(t *testing.T) {
	tests := program(t)
	if os.Getuid() != 0 {
		t.Skip("makes loop devices as root: run make test")
	}
	bin := t.TempDir()
	engine(t, bin)
	wrappers, err := filepath.Abs("testdata/bin")
	check(t, err)
	args := []string{"--mount", tests, "-test.v", "-test.parallel", "2", "-test.skip", rest}
	cmd := exec.CommandContext(t.Context(), "unshare", append(args, asked()...)...)
	cmd.Env = append(os.Environ(), "SOURCE_DATE_EPOCH=1497398400", "PATH="+bin+":"+wrappers+":"+os.Getenv("PATH"))
	var out bytes.Buffer
	cmd.Stdout = io.MultiWriter(&out, kept(t))
	cmd.Stderr = cmd.Stdout
	err = cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	judge(t, verdicts(t, &out))
}
