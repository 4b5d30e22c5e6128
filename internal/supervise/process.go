package supervise

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// A Process is how the programs of a service run.
type Process struct {
	Env         []string // NAME=VALUE
	EnvFiles    []EnvFile
	PassEnv     []string // names of process 1's own
	UnsetEnv    []string // names, or NAME=VALUE
	Dir         string   // "~" is the user's home
	DirOptional bool
	User, Group string
	Groups      []string // beside those that the user has
	Limits      []Limit
	UMask       *int   // nil: 0022
	LogName     string // of its lines; empty: the service's
	Nice        *int
	OOMScore    *int
	NoNewPrivs  bool
	Stdout      Output
	Stderr      Output // zero: as Stdout
	Folders     []Folder
	Sandbox     Sandbox
}

// An EnvFile holds lines NAME=VALUE.
type EnvFile struct {
	Path     string
	Optional bool
}

// A Limit is one of setrlimit(2).
type Limit struct {
	Resource   int
	Soft, Hard uint64
}

// Outputs of a process.
const (
	ToSink   = ""       // lines with the service's name
	ToNull   = "null"   // nowhere
	ToFile   = "file"   // Path, from its beginning
	ToAppend = "append" // behind the end of Path
	ToFresh  = "truncate"
)

// An Output is where a process writes.
type Output struct{ Kind, Path string }

// A Folder belongs to the service and is made before it starts.
type Folder struct {
	Variable string // that names all of its kind, as RUNTIME_DIRECTORY
	Path     string
	Mode     os.FileMode
	Remove   bool // when the service has stopped
	Keep     bool // over restarts
	Root     bool // it stays root's
}

// searchPath is systemd's for programs and for PATH.
var searchPath = []string{"/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"}

// find names the program of a command.
func find(path string) (string, error) {
	if filepath.IsAbs(path) {
		return path, executable(path)
	}
	for _, dir := range searchPath {
		if at := filepath.Join(dir, path); executable(at) == nil {
			return at, nil
		}
	}
	return "", fmt.Errorf("%s: %w in %s", path, fs.ErrNotExist, strings.Join(searchPath, ":"))
}

func executable(path string) error {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return err
	case info.IsDir() || info.Mode()&0o111 == 0:
		return fmt.Errorf("%s: is no program", path)
	}
	return nil
}

// An identity is whom a process runs as.
type identity struct {
	UID, GID    uint32
	Groups      []uint32
	name, home  string
	set, logins bool
}

// identify looks a service's user and groups up when it starts: what it comes
// behind may have made them.
func (p Process) identify() (identity, error) {
	id := identity{home: "/root", name: "root"}
	if p.User != "" {
		if err := id.user(p.User); err != nil {
			return id, err
		}
	}
	if p.Group != "" {
		gid, err := groupID(p.Group)
		if err != nil {
			return id, err
		}
		id.GID, id.set = gid, true
	}
	for _, name := range p.Groups {
		gid, err := groupID(name)
		if err != nil {
			return id, err
		}
		id.Groups, id.set = append(id.Groups, gid), true
	}
	return id, nil
}

func (id *identity) user(name string) error {
	u, err := user.Lookup(name)
	if _, number := strconv.ParseUint(name, 10, 32); number == nil {
		u, err = user.LookupId(name)
	}
	if err != nil {
		return err
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return err
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	if err != nil {
		return err
	}
	groups, err := u.GroupIds()
	if err != nil {
		return err
	}
	for _, g := range groups {
		if n, err := strconv.ParseUint(g, 10, 32); err == nil {
			id.Groups = append(id.Groups, uint32(n))
		}
	}
	id.UID, id.GID, id.name, id.home, id.set, id.logins = uint32(uid), uint32(gid), u.Username, u.HomeDir, true, true
	return nil
}

func groupID(name string) (uint32, error) {
	text := name
	if _, err := strconv.ParseUint(name, 10, 32); err != nil {
		g, err := user.LookupGroup(name)
		if err != nil {
			return 0, err
		}
		text = g.Gid
	}
	n, err := strconv.ParseUint(text, 10, 32)
	return uint32(n), err
}

func (id identity) credential() *syscall.Credential {
	if !id.set {
		return nil
	}
	return &syscall.Credential{Uid: id.UID, Gid: id.GID, Groups: id.Groups}
}

// prepare makes a service's folders, owned by its user.
func (p Process) prepare(id identity) error {
	for _, f := range p.Folders {
		if err := os.MkdirAll(f.Path, 0o755); err != nil {
			return err
		}
		uid, gid := int(id.UID), int(id.GID)
		if f.Root {
			uid, gid = 0, 0
		}
		if err := errors.Join(os.Chmod(f.Path, f.Mode), os.Lchown(f.Path, uid, gid)); err != nil {
			return err
		}
	}
	return nil
}

// tidy removes the folders that end with the service.
func (p Process) tidy(again bool) error {
	var errs []error
	for _, f := range p.Folders {
		if f.Remove && !(again && f.Keep) {
			errs = append(errs, os.RemoveAll(f.Path))
		}
	}
	return errors.Join(errs...)
}

// open is the file that an output writes to, nil for the sink.
func (o Output) open(umask int) (*os.File, error) {
	flags := os.O_WRONLY | os.O_CREATE | unix.O_NOCTTY
	switch o.Kind {
	case ToNull:
		return os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	case ToAppend:
		flags |= os.O_APPEND
	case ToFresh:
		flags |= os.O_TRUNC
	case ToFile:
	default:
		return nil, nil
	}
	return os.OpenFile(o.Path, flags, os.FileMode(0o666&^umask))
}

// folderVariables name a service's folders, as RUNTIME_DIRECTORY.
func (p Process) folderVariables() []string {
	paths := map[string][]string{}
	for _, f := range p.Folders {
		if !slices.Contains(paths[f.Variable], f.Path) {
			paths[f.Variable] = append(paths[f.Variable], f.Path)
		}
	}
	var env []string
	for variable, list := range paths {
		env = append(env, variable+"="+strings.Join(list, ":"))
	}
	return env
}
