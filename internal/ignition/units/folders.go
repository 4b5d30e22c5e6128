package units

import (
	"os"
	"path"
	"strings"

	"holdfast/internal/supervise"
)

// A folderKind is one of the kinds of folders that a service may have of its own.
type folderKind struct {
	names []string
	mode  os.FileMode
}

// folderRoots are where they are, by the word before Directory=.
var folderRoots = map[string]string{
	"Runtime": "/run", "State": "/var/lib", "Cache": "/var/cache", "Logs": "/var/log", "Configuration": "/etc",
}

func (b *builder) folder(kind string) *folderKind {
	if b.folders[kind] == nil {
		b.folders[kind] = &folderKind{mode: 0o755}
	}
	return b.folders[kind]
}

func (b *builder) allFolders() []supervise.Folder {
	var list []supervise.Folder
	for _, kind := range []string{"Runtime", "State", "Cache", "Logs", "Configuration"} {
		f := b.folders[kind]
		if f == nil {
			continue
		}
		for _, name := range f.names {
			runtime := kind == "Runtime"
			list = append(list, supervise.Folder{
				Variable: strings.ToUpper(kind) + "_DIRECTORY", Path: path.Join(folderRoots[kind], name), Mode: f.mode,
				Remove: runtime && b.preserve != "yes", Keep: b.preserve == "restart", Root: kind == "Configuration",
			})
		}
	}
	return list
}
