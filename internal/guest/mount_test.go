package guest

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"holdfast/internal/api"
)

// What is mounted below a folder of the machine is seen as the folder is: a
// mark of read only on the top alone would leave it open.
func TestAMachinesFolderIsSeenWithAllThatIsMountedInIt(t *testing.T) {
	s := spec{mounts: []api.Mount{{Source: "/var/lib/data", Path: "/z"}, {Source: "/etc", Path: "/a", ReadOnly: true}}}
	got := s.machineMounts()
	if len(got) != 2 || got[0].Source != "/etc" || got[1].Source != "/var/lib/data" {
		t.Fatalf("got %+v", got)
	}
	for i, want := range []string{"rbind rnosuid rnodev rro", "rbind rnosuid rnodev"} {
		if have := strings.Join(got[i].Options, " "); have != want {
			t.Errorf("%s: got %q, want %q", got[i].Source, have, want)
		}
	}
	if slices.Contains(got[1].Options, "rro") {
		t.Error("nothing can be written")
	}
}

func TestOnlyAFolderIsMounted(t *testing.T) {
	needRoot(t)
	_, tree := unpacked(t, archive(t, file("etc/passwd", "")))
	at := t.TempDir()
	link := filepath.Join(at, "link")
	if err := os.Symlink("/", link); err != nil {
		t.Fatal(err)
	}
	for source, want := range map[string]string{at: "", at + "/absent": "no such file", link: "is no folder"} {
		err := prepareMounts(tree, []api.Mount{{Source: source, Path: "/m"}})
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: got %v, want %q", source, err, want)
		}
	}
}
